"""clip ONNX -> step ONNX: the road from file to file, and the three layout passes.

load -> bind -> fold -> canonical -> cut dead taps -> facts -> plan (twice) -> build -> attach metadata -> check -> verify -> save
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from types import MappingProxyType
from typing import get_args

import onnx

from everyframe import modelfile
from everyframe.conversion.bind import bind
from everyframe.conversion.builder import Builder
from everyframe.conversion.canonical import apart, canonical
from everyframe.conversion.described import default_preprocess, described, frame_axes
from everyframe.conversion.facts import Facts, MeetsPicks, Options, Place
from everyframe.conversion.half import KEPT, compared, halved
from everyframe.conversion.heads import check_scores, keeps_frames, last_stage, single, stages, with_heads
from everyframe.conversion.inputs import Told, Value, bound, check_layout, layouts, real_inputs
from everyframe.conversion.lowering import build, lower
from everyframe.conversion.memory import MemoryPlan
from everyframe.conversion.natural import natural
from everyframe.conversion.picked import average_picks
from everyframe.conversion.propagate import propagate
from everyframe.conversion.refusals import following
from everyframe.conversion.result import Conversion
from everyframe.conversion.rolled import roll
from everyframe.conversion.taps import cut_dead_taps
from everyframe.conversion.verify import verify
from everyframe.conversion.windows import gather_before, offered, told
from everyframe.errors import ConversionMismatch, ModelError, UsageError
from everyframe.files import check_writable
from everyframe.modelfile.bounds import check_bounds
from everyframe.modelfile.ending import Ending, ending
from everyframe.modelfile.fold import fold
from everyframe.modelfile.graph import Graph
from everyframe.modelfile.schema import Metadata, OutputSpec, Task

RATES, SE_MODES, TAP_MODES, TAILS = ("native", "dense"), ("frame", "window"), ("trained", "all"), ("refuse", "window")


@dataclass(frozen=True)
class Prepared:
    """source: the network, bound. clip: folded, dead taps cut. notes: for the user. cut: there were dead taps."""

    source: onnx.ModelProto
    clip: onnx.ModelProto
    facts: Facts
    notes: list[str]
    cut: bool


def prepare(model: onnx.ModelProto, options: Options) -> Prepared:
    """Binds (see bind.py) and folds a clip network, removes taps that never saw a frame, and propagates facts."""
    if modelfile.metadata_of(model) is None:
        _check_order(model, Told.of(options.layout))
    source, changed = bind(model, options)
    if source is not model:
        check_bounds(source, "the clip network")
    clip, notes = fold(roll(source)), []
    natural(clip)
    if canonical(clip):
        clip = fold(clip)
    apart(clip)
    facts = _followed(clip, options)
    if options.taps == "trained":
        notes = cut_dead_taps(clip, facts)
        if notes:
            facts = propagate(Graph.of(clip), options)
    return Prepared(source, clip, facts, [*changed, *notes, *facts.notes, *_carried(facts), *told(facts)], cut=bool(notes))


def _followed(clip: onnx.ModelProto, options: Options) -> Facts:
    """Facts; picked frames that meet an average are made heads, and what looks at all frames gets windows if it may, in place."""
    place = Place()
    try:
        return _streamed(clip, options, place)
    except ModelError as refusal:
        if options.tail == "window":
            if (facts := _windowed(clip, options, place)) is None:
                raise
            return facts
        copy = onnx.ModelProto()
        copy.CopyFrom(clip)
        if (facts := _windowed(copy, replace(options, tail="window", window=None), place)) is not None:
            refusal.hint = f"{refusal.hint}; or say --tail window: {offered(facts)}"
        raise


def _windowed(clip: onnx.ModelProto, options: Options, place: Place) -> Facts | None:
    """Facts with windows before what is refused, put in place; None where there can be none."""
    while gather_before(clip, place):
        with suppress(ModelError):
            return _streamed(clip, options, place)
    return None


def _streamed(clip: onnx.ModelProto, options: Options, place: Place) -> Facts:
    while True:
        try:
            facts = propagate(Graph.of(clip), options, place)
            lower(facts, MemoryPlan(depths={}, sums={}), place)
            return facts
        except MeetsPicks as met:
            if not met.wires or not average_picks(clip, met.facts, met.wires):
                raise


def _carried(facts: Facts) -> list[str]:
    """A line about state that the network has by itself, if it has any."""
    names = [node.label for node in facts.graph.nodes if node.op in ("Scan", "CumSum") and facts.timed(node)]
    if not names:
        return []
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    length = facts.length
    return [f"{shown}: the state goes on from step to step for ever; the clip network begins anew with every {length}-frame clip"]


def convert(
    model: onnx.ModelProto,
    options: Options = Options(),
    *,
    labels: tuple[str, ...] | None = None,
    task: Task | None = None,
    heads: Sequence[str] = (),
    values: Mapping[str, Value] = MappingProxyType({}),
) -> Conversion:
    """Converts a clip network held in memory; nothing is verified numerically yet. heads: of its outputs, the main one first;
    none: all of them. values: of inputs that are to be constants. Raises ModelError and its children."""
    _check(options, task)
    with following():
        check_bounds(model, "the clip network")
        return _convert(with_heads(bound(model, values), heads), options, labels, task)


def _convert(model: onnx.ModelProto, options: Options, labels: tuple[str, ...] | None, task: Task | None) -> Conversion:
    given = modelfile.metadata_of(model)
    if given is not None and given.kind != "clip":
        raise ModelError(
            f"This is a {given.kind} network already.",
            expected="a clip network",
            hint="`everyframe info FILE` shows it",
        )
    made = prepare(model, options)
    if (count := stages(made.facts, made.facts.graph.outputs[0])) > 1:
        made = prepare(model := last_stage(model), options)
        made.notes.append(f"the output has {count} stages, each made of the one before it: the last of them answers")
    clip, facts, notes = made.clip, made.facts, made.notes
    check_scores(model, facts.graph.outputs[0])
    step, builder = build(facts)
    out = facts[facts.graph.outputs[0]]
    feature_delay = ceil(out.feature_delay if out.pooled else out.since)
    found = layouts(options.layout, {name: len(facts.graph.shapes[name]) for name in facts.graph.inputs})
    source = given or Metadata(
        kind="clip",
        frames=facts.length,
        preprocess=default_preprocess(builder.frame_shape(facts.clock), _takes_bytes(model)),
        axes=frame_axes(found[facts.clock]),
    )
    told = _ending(model, facts, facts.graph.outputs[0], source, task)
    if options.window and not facts.heads:
        raise UsageError(
            "--window needs a network that averages over time before its classifier.",
            got="no such average in this network",
            hint="leave --window away",
        )
    metadata = source.model_copy(
        update={
            "kind": "step",
            "hop": facts.hop,
            "rate": options.rate,
            "se": options.se,
            "taps": options.taps,
            "labels": labels or source.labels,
            "states": tuple(builder.states),
            "feature_delay": feature_delay,
            "delay": max(feature_delay, ceil(out.right - out.early)),
            "receptive_field": ceil(out.left + out.right) + 1,
            "unbounded": out.unbounded,
            "window": _window(facts),
            "task": told.task,
            "scores": told.scores,
            "inputs": described(found, builder, source),
            "outputs": tuple(
                _output(model, facts, builder, wire, name) for wire, name in builder.answers.items() if name != "logits"
            ),
            "features": tuple(f.model_copy(update={"wire": builder.tensors[f.wire]}) for f in source.features),
            "provenance": source.provenance.model_copy(
                update={
                    "weights_sha256": source.provenance.weights_sha256 or _weights_digest(clip),
                    "tool": f"everyframe {_version()}",
                    "passes": (*source.provenance.passes, "fold", *(["cut-dead-taps"] if made.cut else []), "step"),
                    "notes": (*source.provenance.notes, *notes),
                }
            ),
        }
    )
    modelfile.attach(step, metadata)
    return Conversion(
        step,
        made.source,
        clip,
        facts,
        metadata,
        builder.tensors,
        notes,
        inputs=builder.given,
        answers=builder.answers,
        assumed=_assumed(given, metadata, told),
    )


def _ending(model: onnx.ModelProto, facts: Facts, wire: str, source: Metadata | None, task: Task | None = None) -> Ending:
    """What an output of the clip network is; classes are those of each frame where the output keeps its frames."""
    told = ending(model, wire, source, task)
    if not keeps_frames(facts, wire) or told.task != "classify" or task is not None:
        return told
    return replace(told, task="regress" if told.assumed and single(facts, wire) else "frames")


def _output(model: onnx.ModelProto, facts: Facts, builder: Builder, wire: str, name: str) -> OutputSpec:
    fact, told = facts[wire], _ending(model, facts, wire, None)
    delay = fact.feature_delay if fact.pooled else fact.since
    shape = (builder.m(fact) if keeps_frames(facts, wire) else 1, *builder.frame_shape(wire))
    every = fact.every if keeps_frames(facts, wire) else facts.hop
    return OutputSpec(name=name, shape=shape, task=told.task, scores=told.scores, every=ceil(every), delay=ceil(delay))


def _assumed(given: Metadata | None, made: Metadata, told: Ending) -> dict[str, str]:
    """What nobody said, in words, and what says it."""
    pictures = made.axes == "CHW"
    size = "x".join(map(str, made.preprocess.resize)) if isinstance(made.preprocess.resize, tuple) else "their own size"
    said = (
        (f"{made.preprocess.color} pictures resized to {size}, values 0 to 1", given is None and pictures, "`everyframe import`"),
        ("every frame of a video", given is None, "`everyframe import`"),
        ("no labels (class 0, class 1, ...)", made.labels is None, "--labels"),
        (f"the output is {told}", told.assumed, "--task"),
    )
    return {what: how for what, assumed, how in said if assumed}


def stream(
    clip: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    *,
    rate: str = "native",
    window: int | None = None,
    se: str = "frame",
    taps: str = "trained",
    layout: str | None = None,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    labels: tuple[str, ...] | None = None,
    task: Task | None = None,
    heads: Sequence[str] = (),
    values: Mapping[str, Value] = MappingProxyType({}),
    state: str = "fp32",
    tail: str = "refuse",
    progress: Callable[[str], None] | None = None,
) -> Conversion:
    """Converts CLIP.onnx to STEP.onnx. The result is compared with the clip network over a stream before it is written; None
    writes nothing.

    rate: "native" steps take as many frames as the temporal strides multiply to; "dense" gives a prediction at every frame.
    window: feature frames averaged by the head (default: the clip's own; may be longer). se: squeeze-and-excite sees one
    "frame" (no state) or the "window" of the clip. taps: "trained" removes kernel taps that never met a frame in the clip.
    layout: axes of the clip network's inputs (`inputs`); None is NCTHW, and a question where the shape contradicts it. frames,
    size: T and (H, W) of inputs that leave them open. task: what the main output is, instead of what its last operators tell.
    heads: of several outputs, the main one first. values: of inputs that are to be constants, by name. state: "fp16" halves what
    the states take, once the network with "fp32" is found to be right (`half`). tail: layers that look at all frames of the clip
    (attention over time) are refused, or computed anew in each step of a "window" of the newest frames.
    Raises ModelError, UnsupportedOperator, ConversionMismatch, OutputError, UsageError.
    """
    say = progress or (lambda _: None)
    if output is not None:
        check_writable(output, read=(clip,))  # before the long work
    say("converting")
    options = Options(rate, window, se, taps, layout, frames, size, tail)
    _check(options, task, state)
    given = modelfile.load(clip)
    with following():
        made = _convert(with_heads(bound(given, values), heads), options, labels, task)
        onnx.checker.check_model(made.step, full_check=True)
        say("comparing with the clip network over a stream")
        made.difference = _compared(made)
        if KEPT[state] == "float16":
            say("comparing with states of halves")
            _halve(made)
    if output is not None:
        modelfile.save(made.step, output)
    return made


def _halve(made: Conversion) -> None:
    """States of float16 instead, in place."""
    half, told = halved(made.step, made.metadata)
    onnx.checker.check_model(half, full_check=True)
    made.state_difference = compared(made.step, half, made.metadata.delay // made.metadata.hop)
    made.step, made.metadata = half, told


def _compared(made: Conversion) -> float:
    """`verify` says when the clip network itself does not run: what else onnxruntime refuses is of our making."""
    try:
        return verify(made)
    except ConversionMismatch:
        raise
    except ModelError as error:
        raise ConversionMismatch(
            "The step network that was made of it does not run, so nothing was written.", got=error.got or error.what,
            hint="please report it with the clip model; --rate, --se or --taps may avoid it",
        ) from None  # fmt: skip


def _check(options: Options, task: Task | None, state: str = "fp32") -> None:
    if task is not None and task not in get_args(Task):
        raise UsageError(f"Unknown --task {task!r}.", expected=", ".join(get_args(Task)))
    for name, value, allowed in (
        ("rate", options.rate, RATES),
        ("se", options.se, SE_MODES),
        ("taps", options.taps, TAP_MODES),
        ("tail", options.tail, TAILS),
        ("state", state, tuple(KEPT)),
    ):
        if value not in allowed:
            raise UsageError(f"Unknown --{name} {value!r}.", expected=" or ".join(allowed))
    if options.window is not None and not 1 <= options.window <= 4096:
        raise UsageError("--window is out of range.", expected="1 to 4096 frames", got=options.window)
    told = Told.of(options.layout)
    for layout in told:
        timed = "T" in layout or layout in told.named.values()  # what is named may have no frames
        if not timed or set(layout) - set("NTCHWVM") or len(set(layout)) != len(layout):
            raise UsageError("--layout does not say where time is.", expected="e.g. NCTHW, NTCHW or TCHW", got=layout)
    for name, number in [("frames", options.frames), *(("size", n) for n in options.size or ())]:
        if number is not None and not 1 <= number <= 8192:
            raise UsageError(f"--{name} is out of range.", expected="1 to 8192", got=number)


def _window(facts: Facts) -> int:
    """Frames that the head averages; of several heads, the one that averages most."""
    return max((facts.head(node).frames for node in facts.heads), default=1)


def _weights_digest(model: onnx.ModelProto) -> str:
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        digest.update(tensor.name.encode() + tensor.SerializeToString())
    return digest.hexdigest()


def _takes_bytes(model: onnx.ModelProto) -> bool:
    return any(value.type.tensor_type.elem_type == onnx.TensorProto.UINT8 for value in model.graph.input)


def _check_order(model: onnx.ModelProto, told: Told) -> None:
    for value in real_inputs(model):
        if told.common is None and value.name not in told.named:
            check_layout(tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim), f"input {value.name!r}")


def _version() -> str:
    from everyframe.version import __version__

    return __version__


__all__ = ["Conversion", "Options", "build", "convert", "prepare", "stream"]
