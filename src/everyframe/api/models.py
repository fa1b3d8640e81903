"""Models as files and in memory: opened, converted, described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from everyframe.api.given import File, Model, paths, several, source, there
from everyframe.progress import TextProgress

if TYPE_CHECKING:
    from everyframe.api.outcomes import ModelList
    from everyframe.api.results import ClipModel, Converted, Imported, Info
    from everyframe.modelfile.schema import Preprocess, Pruned, Task
    from everyframe.runtime.program import Program


@paths
def open(
    model: Model,
    engine: str = "auto",
    threads: int | None = None,
    labels: Sequence[str] | None = None,
    overlap: bool = False,
    steady: str | None = None,
    task: Task | None = None,
    threshold: float | None = None,
    refractory: float | None = None,
    *,
    wait: bool = False,
) -> Program:
    """Opens a step or clip model for prediction; its weights are shared by all of its streams.

    model: a path (.onnx, a compiled .so, the folder of a split model, `builtin`), or the bytes of an ONNX file or an
    onnx.ModelProto. engine: auto (the fastest of ort, native and openvino), ort, native, openvino or
    reference. threads: of the engine (default: one per core). labels: one per logit, instead of the model's
    own. overlap: the stages of a split model work at the same time. steady: the rule for a label to show (`tsm`).
    task: what the network's answer is (classify, multilabel, regress, frames), instead of what the model says. threshold:
    from which score on a label is shown (multilabel, 0.5), or can be an event. refractory: how many seconds after an event there
    is no other. Both instead of what the model's event rule says. wait: when a model is first opened with `auto`, until it is
    compiled and the fastest engine is known; else it starts on ONNX Runtime, and that happens in the background.
    A stream's `step` takes frames (N, C, H, W) float32, N the model's hop, and gives logits (classes,) float32.
    Raises ModelError, EngineError, UsageError.

    >>> program = ef.open("builtin", engine="ort")
    >>> program.labels[1]
    'swipe_left'
    """
    from everyframe.runtime.program import open

    given = there(model) if isinstance(model, str) else source(model)
    names = None if labels is None else several("labels", labels)
    return open(given, engine, threads, names, overlap, steady, task, threshold, refractory, wait)


@paths
def convert(
    model: Model,
    output: File | None = None,
    *,
    rate: str = "native",
    window: int | None = None,
    se: str = "frame",
    taps: str = "trained",
    layout: str | Mapping[str, str] | None = None,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    labels: Sequence[str] | None = None,
    task: Task | None = None,
    heads: Sequence[str] = (),
    bind: Mapping[str, Any] | None = None,
    state: str = "fp32",
    tail: str = "refuse",
    progress: TextProgress | None = None,
) -> Converted:
    """A clip network, (1, C, T, H, W) -> logits (1, classes), becomes a step network: N new frames (N, C, H, W) and states
    in, logits and states out. It is compared with the clip network over a stream before it is given or written.

    rate: `native` steps take as many frames as the temporal strides multiply to; `dense` predicts at every frame. window:
    feature frames that the head averages (default: the clip's own). se: squeeze-and-excite sees one `frame` or the `window`
    of the clip. taps: `trained` removes kernel taps that never met a frame in the clip, `all` keeps them. layout: the axes of
    the clip network's input (None: NCTHW, and a question where the shape contradicts it), or of each by name; one without a T
    has no frames. bind: name -> value (a number, an array or a .npy file) of inputs that are to be constants. frames, size: T
    and (H, W) of an input that leaves them open. labels: one per logit. task: what the main output is (classify, multilabel,
    regress, frames), instead of what its last operators tell. heads: of several outputs, the main one first (default: all of
    them). state: `fp16` keeps what is remembered as float16, half the memory; how much the answers differ is measured. tail:
    layers that look at all frames of the clip (attention over time, a softmax or the best of its frames) are refused, or with
    `window` computed anew in each step, of the newest frames.
    output: the file to write; None keeps the result in memory.
    Raises ModelError, UnsupportedOperator, ConversionMismatch, OutputError, UsageError.

    >>> step = ef.convert("clip.onnx")
    >>> step.metadata.hop, step.difference < 1e-4
    (1, True)
    >>> ef.open(step.model, engine="ort").labels
    ('still', 'left', 'right')
    """
    from everyframe import conversion
    from everyframe.api.results import Converted

    made = conversion.stream(
        source(model), output, rate=rate, window=window, se=se, taps=taps, layout=_layout(layout), frames=frames, size=size,
        labels=None if labels is None else several("labels", labels), task=task, heads=several("heads", heads),
        values=bind or {}, state=state, tail=tail, progress=progress,
    )  # fmt: skip
    return Converted(**vars(made))


def _layout(given: str | Mapping[str, str] | None) -> str | None:
    return ",".join(f"{name}={axes}" for name, axes in given.items()) if isinstance(given, Mapping) else given


def stream(model: Model, output: File | None = None, **options: Any) -> Converted:
    """The former name of `convert`."""
    import warnings

    from everyframe.version import RenamedWarning

    warnings.warn("everyframe.stream is now called everyframe.convert", RenamedWarning, stacklevel=2)
    return convert(model, output, **options)


@paths
def info(model: Model, *, rate: str = "native", layout: str | Mapping[str, str] | None = None) -> Info:
    """What a model is and what it costs: frames, delay, multiply-adds, parameters, state and memory, layer by layer.

    model: a clip or step model, a compiled one, or the folder of a split one. rate, layout: of a clip network, as for
    `convert`. Keys name their units (`delay_frames`, `delay_ms`, `state_floats`, `macs_per_step`, `memory_bytes`);
    docs/info.md explains them. Raises ModelError, UnsupportedOperator, UsageError.

    >>> found = ef.info("builtin")
    >>> found["kind"], found["hop"], found["delay_frames"]
    ('step', 1, 7)
    """
    from everyframe.api.results import Info
    from everyframe.conversion.account import info, info_split
    from everyframe.conversion.facts import Options
    from everyframe.modelfile.manifest import is_split
    from everyframe.native import artifact

    file = source(model)
    if is_split(file):
        return Info(info_split(file))
    if artifact.is_library(file):
        return Info(_library(file))
    return Info({**info(file, Options(rate=rate, layout=_layout(layout))), "compiled": _compiled(file)})


def _library(file: File) -> dict[str, Any]:
    """What a compiled model says of itself."""
    from everyframe.modelfile.file import metadata_of
    from everyframe.native import artifact

    facts = artifact.read(file)
    metadata = metadata_of(facts.pop("model"), file)
    return {"file": str(file), "kind": metadata.kind if metadata else "clip" if facts["clip"] else "step", **facts}


def _compiled(file: File) -> dict[str, Any]:
    """Memory of the model when it is compiled for this machine, or why it cannot be."""
    from pathlib import Path

    from everyframe.errors import ModelError
    from everyframe.modelfile.file import load, metadata_of
    from everyframe.native.generate import planned
    from everyframe.native.memory import account
    from everyframe.native.target import target

    model = load(file)
    metadata = metadata_of(model, file)
    try:
        return account(*planned(model, metadata.states if metadata else (), target("native"), Path(file).name))
    except ModelError as error:
        return {"refused": " ".join(str(part) for part in (error.what, error.where) if part)}


def list_models(pattern: str = "*") -> ModelList:
    """The networks of the zoo whose name fits the pattern, with what they cost: (1, C, T, H, W), multiply-adds (MACs),
    parameters, and as streams frames and floats of state. Needs no torch. What a broken package hides is in `broken`.
    Raises UsageError where no name fits, PluginError where all that do are broken.

    >>> ef.list_models("x3d_*").names
    ['x3d_l', 'x3d_m', 'x3d_s', 'x3d_xs']
    >>> ef.list_models("x3d_s")[0].measured.native.hop
    1
    """
    from fnmatch import fnmatchcase

    from everyframe.api.outcomes import ModelList
    from everyframe.errors import PluginError
    from everyframe.models.cards.card import card
    from everyframe.models.registry import describe, names

    found, broken = [], []
    # widths between those of the list have a card too, and a name that is none is told the closest ones
    for name in [name for name in names() if fnmatchcase(name, pattern)] or [describe(pattern).name]:
        try:
            found.append(card(name))
        except PluginError as error:
            broken.append(error)
    if broken and not found:
        raise broken[0]
    return ModelList(found, broken)


@paths
def export(
    model: str | Any,
    output: File | None = None,
    *,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    labels: File | Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    weights: File | None = None,
    num_classes: int | None = None,
    options: Mapping[str, str] | None = None,
    pruned: Pruned | None = None,
    seed: int = 0,
) -> ClipModel:
    """A torch network as a clip model: `clip` (1, C, T, H, W) float32 in, `logits` (1, classes) out, T fixed, compared with
    torch before it is given. Needs `pip install 'everyframe[train]'`.

    model: a name from the zoo, or a network of yours from (1, C, T, H, W) to (1, classes), which brings its own weights and
    needs frames (T) and size (H = W, or (H, W), pixels). C is 1 where `preprocess` asks for gray frames, else 3. labels: names
    of the classes, or a text file with one a line. weights: a file, or a tag of published weights. options: what
    `models.describe(name).choices` offers. pruned: what of the weights is zero, for the metadata. seed: of random weights and
    of the clips that the file is checked with. output: the file to write; None keeps the model in memory.
    Raises UsageError, WeightsError, OutputError, EngineError (torch is missing), ModelError, ConversionMismatch.

    >>> clip = ef.export("motionnet_1.0x", size=32)
    >>> ef.convert(clip.model).metadata.hop
    1
    """
    from everyframe.api.results import ClipModel
    from everyframe.models import export

    made = export(
        model, output, frames=frames, size=size, labels=labels, preprocess=preprocess, weights=weights, num_classes=num_classes,
        options=options, pruned=pruned, seed=seed,
    )  # fmt: skip
    return ClipModel(**vars(made))


@paths
def import_model(model: Model, mapping: File | Mapping[str, Any], output: File | None = None) -> Imported:
    """A network of others with the metadata that everything else needs: which tensors are frames, states and logits, the
    preprocessing, the labels. It is tried on noise for a few steps.

    mapping: a TOML file, or the same keys as plain values (docs/bundle.md has them); files that it names lie beside it, or in
    the current folder. The layout names the axes of the frames, letters of NTCHW. output: the file to write; None keeps the
    model in memory. Raises ModelError, OutputError.

    >>> mapping = {"frames": {"input": "clip", "layout": "NCTHW"}, "logits": {"output": "logits"}, "labels": ["a", "b", "c"]}
    >>> ef.import_model("clip.onnx", mapping).metadata.kind
    'clip'
    """
    from pathlib import Path

    from everyframe.api.results import Imported
    from everyframe.files import check_writable
    from everyframe.modelfile import importer
    from everyframe.modelfile.file import load, save
    from everyframe.modelfile.interface import metadata_or_raise

    if output is not None:
        check_writable(output, read=[each for each in (model, mapping) if isinstance(each, str | Path)])
    if isinstance(mapping, Mapping):
        found, folder = importer.parse_mapping(dict(mapping)), Path()
    else:
        found, folder = importer.read_mapping(Path(mapping)), Path(mapping).parent
    made = importer.import_model(load(source(model)), found, folder)
    metadata = metadata_or_raise(made, output or "model")
    return Imported(made, metadata, None if output is None else save(made, output))
