"""Compares a step network with its clip network over a stream, from the very first frame.

The reference is the clip network itself, run once on a longer video (lengthen.py): its own operators, none of the step
network's. Compared are the wires at which time ends, on every frame whose right context is complete, and the logits of every
step (partial windows included).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.facts import Fact, Facts, HeadWindow, common
from everyframe.conversion.lengthen import Reference, lengthen
from everyframe.conversion.result import Conversion
from everyframe.conversion.rules import reduce
from everyframe.conversion.windows import is_window
from everyframe.errors import ConversionMismatch, ModelError
from everyframe.modelfile.session import run, session
from everyframe.modelfile.walk import Walk

TOLERANCE = 1e-5
#: what is streamed, by input: (its frames, C, H, W); of one without frames its value in a step, (1, ...)
Video = Mapping[str, np.ndarray]


def verify(
    made: Conversion,
    tolerance: float = TOLERANCE,
    frames: int | None = None,
    seed: int = 0,
    video: Callable[[Facts, int, int], Video] | None = None,
) -> float:
    """Largest difference relative to the largest reference value. Raises ConversionMismatch beyond `tolerance` or 3 times the
    noise floor (what a relative input change of 1e-7 does to the clip network), whichever is larger. video: what to stream
    instead of `make_video`'s noise."""
    facts = made.facts
    _check_prepared(made, seed)
    seen = frames or default_frames(facts, made.metadata.feature_delay)
    # the reference goes on behind what is streamed, so that its right edge (zeros, cut frames) touches nothing compared here
    shown = (video or make_video)(facts, seen + _whole_hops(facts, default_frames(facts, 0)), seed)
    reference = lengthen(made.clip, facts, len(shown[facts.clock]))
    features = _features(reference, facts, shown)
    streamed, answers = stream_all(made, shown, reference, seen)
    differences = {name: _difference(streamed[name], features[name], facts[name], facts) for name in reference.wires}
    for name, found in answers.items():
        differences[f"output {name}"] = _answers_difference(reference, name, facts, features, found, shown)
    worst = max(differences, key=lambda name: np.nan_to_num(differences[name], nan=np.inf))
    if differences[worst] <= tolerance:
        return differences[worst]
    floor = noise_floor(reference, facts, shown, features)
    if not differences[worst] <= 3 * floor:
        raise ConversionMismatch(
            "The step network disagrees with the clip network, so nothing was written.",
            where=worst if worst.startswith("output ") else f"tensor {worst!r}",
            expected=f"a relative difference up to {max(tolerance, 3 * floor):.1e}",
            got=f"{differences[worst]:.1e}",
            hint="please report it with the clip model; --rate, --se or --taps may avoid it",
        )
    return differences[worst]


def _check_prepared(made: Conversion, seed: int) -> None:
    """Folding and cutting taps must not change what the network says about a clip of its own length."""
    facts = made.facts
    clip = clip_input(facts, make_video(facts, facts.length, seed))
    try:
        before = run(made.source, clip, facts.graph.outputs)
    except ModelError as error:
        raise ConversionMismatch(
            "The clip network itself does not run, so there is nothing to compare with, and nothing was written.",
            got=error.got or error.what, hint="make it run in onnxruntime, then convert it",
        ) from None  # fmt: skip
    after = run(made.clip, clip, facts.graph.outputs)
    for output in facts.graph.outputs:
        if not np.isfinite(before[output]).all():
            raise ConversionMismatch(
                "Nothing can be compared with the clip network, so nothing was written: on random frames it is not finite.",
                where=f"output {output!r}", got="NaN or infinity",
                hint="look for a division by 0, the root or the logarithm of what may be negative",
            )  # fmt: skip
        difference = relative(after[output], before[output])
        if not difference <= TOLERANCE:
            raise ConversionMismatch(
                "The network changed while it was prepared, so nothing was written.", where=f"output {output!r}",
                expected=f"a relative difference up to {TOLERANCE:.0e}", got=f"{difference:.1e}",
                hint="please report it with the clip model; --taps all may avoid it",
            )  # fmt: skip


def make_video(facts: Facts, frames: int, seed: int) -> dict[str, np.ndarray]:
    """Random frames of every input: coarse blocks and noise, so that pooling does not average everything away."""
    rng, made = np.random.default_rng(seed), {}
    for name in facts.graph.inputs:
        fact = facts[name]
        shape = (1 if fact.static else frames // int(fact.spacing), *ax.step_shape(fact.axes))
        video = 0.5 * rng.standard_normal(shape)
        if len(shape) == 4:
            height, width = shape[2:]
            coarse = rng.standard_normal((*shape[:2], 4, 4))
            video += coarse[:, :, np.arange(height) * 4 // height][..., np.arange(width) * 4 // width]
        made[name] = video.astype(np.float32)
    return made


def default_frames(facts: Facts, feature_delay: int) -> int:
    """A video long enough for several predictions; its length differs from the clip's by whole hops (dynamic pads)."""
    clip = facts.length
    wanted = feature_delay + max(_whole_hops(facts, 1) * 3, 20)
    return clip + _whole_hops(facts, max(0, wanted - clip))


def _whole_hops(facts: Facts, frames: int) -> int:
    """`frames` rounded up to whole hops. Only at whole hops from the clip's length are branches of a strided network, with
    the right padding that belongs to that length, as long as each other."""
    hop = common(fact.spacing for fact in facts.table.values())
    return -(-frames // hop) * hop


def clip_input(facts: Facts, video: Video) -> dict[str, np.ndarray]:
    """(frames, C, H, W) of each input -> the clip network's own layouts."""
    made = {}
    for name, given in video.items():
        axes = facts[name].axes
        rest = [i for i, axis in enumerate(axes) if not ax.is_frame_axis(axis)]
        shape = [1] * len(axes)
        for i, size in zip(rest, given.shape[1:], strict=True):
            shape[i] = size
        frames = [frame.reshape(shape) for frame in given]
        made[name] = np.ascontiguousarray(np.concatenate(frames, axis=ax.time_axis(axes) or 0) if axes else given[0])
    return made


def _features(reference: Reference, facts: Facts, video: Video) -> dict[str, np.ndarray]:
    """Each wire as (its frames, frame shape of the step network)."""
    outputs = run(reference.body, clip_input(facts, video), reference.wires)
    return {name: _by_frame(outputs[name], facts[name]) for name in reference.wires}


def _by_frame(array: np.ndarray, fact: Fact) -> np.ndarray:
    time, place, sizes = ax.time_axis(fact.axes), *_atoms(fact)
    if time is None or place is None:
        return array.reshape(1, *ax.step_shape(fact.axes))
    frames = array.shape[time] // ax.rest(fact.axes[time])
    apart = array.reshape([*sizes[:place], frames, *sizes[place + 1 :]])
    return np.moveaxis(apart, place, 0).reshape(frames, *ax.step_shape(fact.axes))


def _atoms(fact: Fact) -> tuple[int | None, list[int]]:
    """(which of the atoms of all axes is time, their sizes)."""
    atoms = [atom for axis in fact.axes for atom in axis]
    return next((i for i, atom in enumerate(atoms) if atom.kind == "T"), None), [atom.size for atom in atoms]


def stream_all(
    made: Conversion, video: Video, reference: Reference, seen: int
) -> tuple[dict[str, np.ndarray], dict[str, list[np.ndarray]]]:
    """Runs the step network over the first `seen` frames of a video. Returns (wire -> frames with index >= 0, output with a tail
    -> its values by step).
    """
    facts, hop = made.facts, made.metadata.hop
    tensors = {wire: made.tensors[wire] for wire in reference.wires}
    answers: dict[str, list[np.ndarray]] = {name: [] for name in reference.tails}
    walk = Walk(made.step, tensors.values(), states=made.metadata.states)
    collected: dict[str, list[np.ndarray]] = {wire: [] for wire in reference.wires}
    counts = {name: (facts.m(facts[name]), facts[name].unit) for name in video}
    for t in range(seen // hop):
        # at rate "dense" a slower input has a frame for each of the stream's
        out = walk.step(
            {
                made.inputs[name]: frames if facts[name].static else _step_frames(frames, t * counts[name][0], *counts[name])
                for name, frames in video.items()
            }
        )
        for name, values in answers.items():
            values.append(out[made.answers[name]])
        for wire, tensor in tensors.items():
            fact = facts[wire]
            m = int(hop // fact.every)
            collected[wire] += [out[tensor][q] for q in range(m) if t * m - fact.lag + q >= 0]
    return {wire: np.array(values) for wire, values in collected.items()}, answers


def _step_frames(frames: np.ndarray, first: int, count: int, unit: int) -> np.ndarray:
    """count frames from number `first` on, each `unit` times in a row."""
    return frames[np.arange(first, first + count) // unit]


def _difference(streamed: np.ndarray, reference: np.ndarray, fact: Fact, facts: Facts) -> float:
    """Dense streams are compared where the strided clip network has a frame (phase 0)."""
    early = max(0, -fact.lag)  # a Pad's frames never arrive
    streamed, reference = streamed[-early % fact.unit :: fact.unit], reference[-(-early // fact.unit) :]
    n = min(len(streamed), len(reference))
    if n == 0:
        return math.nan
    return relative(streamed[:n].reshape(n, -1), reference[:n].reshape(n, -1))


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """max |a - b| / max |b|; NaN if anything is not finite."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.nan
    if a.dtype.kind in "bui":  # yes and no cannot be subtracted, counts would run over
        a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def expected_answers(
    reference: Reference, output: str, facts: Facts, features: dict[str, np.ndarray], steps: int, video: Video
) -> dict[int, np.ndarray]:
    """An output's values by step: the head's window over the reference features, then the clip network's own tail."""
    tail = session(reference.tails[output], optimize=False)
    wires = [value.name for value in tail.get_inputs() if value.name in reference.wires]
    given = clip_input(facts, {v.name: video[v.name] for v in tail.get_inputs() if v.name not in wires})
    heads = {node.inputs[0]: node for node in facts.heads}
    # the step in which a value that is not averaged was there, less the step in which the output shows it
    first = facts[output].lag
    ahead = {wire: 0 if wire in heads else max(0, facts[wire].lag) // facts.m(facts[wire]) - first for wire in wires}
    made: dict[int, np.ndarray] = {}
    for t in range(first, steps):
        feeds = dict(given)
        for wire in wires:
            fact = facts[wire]
            head = facts.head(heads[wire]) if wire in heads else HeadWindow(1)
            m = facts.m(fact)
            newest = (t + ahead[wire]) * m - max(0, fact.lag) - head.wait + m - 1
            if newest < 0 or newest % fact.unit or newest // fact.unit >= len(features[wire]):
                break
            window = features[wire][max(0, newest // fact.unit - head.frames + 1) : newest // fact.unit + 1]
            if wire in heads and is_window(heads[wire]):
                feeds[wire] = _as_clip(np.concatenate([window[:1]] * (head.frames - len(window)) + [window]), fact)
                continue
            kind = reduce.KINDS[heads[wire].op if wire in heads else "ReduceMean"]
            feeds[wire] = _tile(kind.over_frames(window), fact)
        else:
            made[t] = tail.run(None, feeds)[0]
    return made


def _as_clip(frames: np.ndarray, fact: Fact) -> np.ndarray:
    """Frames of a wire (T, ...) as the clip network has them."""
    place, sizes = _atoms(fact)
    inside = [size for i, size in enumerate(sizes) if i != place]
    return np.ascontiguousarray(np.moveaxis(frames.reshape(len(frames), *inside), 0, place or 0)).reshape(fact.clip_shape)


def _tile(frame: np.ndarray, fact: Fact) -> np.ndarray:
    """One frame, repeated to a whole clip of this wire: a mean over it is the frame itself."""
    place, sizes = _atoms(fact)
    if place is None:
        return frame.reshape(fact.clip_shape)
    one = frame.reshape([*sizes[:place], 1, *sizes[place + 1 :]])
    return np.ascontiguousarray(np.broadcast_to(one, sizes)).reshape(fact.clip_shape)


def _answers_difference(
    reference: Reference, output: str, facts: Facts, features: dict[str, np.ndarray], found: list[np.ndarray], video: Video
) -> float:
    expected = expected_answers(reference, output, facts, features, len(found), video)
    if not expected:
        return math.nan
    return relative(np.stack([found[t].reshape(-1) for t in expected]), np.stack([v.reshape(-1) for v in expected.values()]))


def noise_floor(reference: Reference, facts: Facts, video: Video, features: dict[str, np.ndarray]) -> float:
    """What a relative change of 1e-7 of the input does to the features: the least difference two float32 programs may show."""
    rng, signs = np.random.default_rng(1), np.array([-1, 1], np.float32)
    noisy = {name: (given * (1 + 1e-7 * rng.choice(signs, given.shape))).astype(np.float32) for name, given in video.items()}
    shaken = _features(reference, facts, noisy)
    return max(
        relative(shaken[name].reshape(len(shaken[name]), -1), features[name].reshape(len(features[name]), -1))
        for name in reference.wires
    )
