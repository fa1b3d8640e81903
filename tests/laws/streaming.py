"""The law, checked: a plain host loop around a step network, and the comparison with the network run on the whole video."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime as ort

from everyframe.conversion import memory
from everyframe.conversion.facts import Fact
from everyframe.conversion.step import Conversion, Options, convert
from everyframe.errors import ModelError
from laws.nets import Net
from laws.sketch import Sketch, Wire

TOLERANCE = 1e-5


class NotComparable(Exception):
    """There is nothing to compare with: onnxruntime itself cannot run the network, or its values are not finite."""


class Broken(AssertionError):
    """The law does not hold."""


def expect(holds: bool, message: str) -> None:
    if not holds:
        raise Broken(message)


def session(model: onnx.ModelProto, optimize: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def make_video(frames: int, net: Net, seed: int = 0) -> np.ndarray:
    """(T, C, H, W); no value is 0."""
    video = np.random.default_rng(seed).standard_normal((frames, net.c, *net.picture)).astype(np.float32)
    return np.where(video == 0, np.float32(1), video)


def clip_input(net: Net, video: np.ndarray) -> np.ndarray:
    """(T, C, H, W) -> the network's own layout, (1, C, T, H, W) for most."""
    made = np.einsum("TCHW->" + net.layout.strip("N"), video)  # H is 1 where the layout has none
    return np.ascontiguousarray(made[None] if "N" in net.layout else made)


def by_frame(array: np.ndarray, wire: Wire) -> np.ndarray:
    """(t, the wire's other axes in their order)."""
    return np.moveaxis(array, wire.axis("T"), 0).reshape(wire.t, *(wire.size(a) for a in wire.layout if a not in "NT"))


def run_plainly(model: onnx.ModelProto, clip: np.ndarray) -> dict[str, np.ndarray]:
    """A network as onnxruntime runs it without any optimization. It stumbles over its own shapes behind some ceil_mode pools."""
    names = [o.name for o in model.graph.output]
    try:
        return dict(zip(names, session(model, optimize=False).run(names, {"clip": clip}), strict=True))
    except Exception as error:  # onnxruntime has a dozen types of its own
        raise NotComparable("onnxruntime cannot run the network itself") from error


def run_reference(net: Net, video: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Wire]]:
    """Every wire of the network run once over the video, without any optimization: {name: its frames}, {name: wire}."""
    model, wires = net.reference(len(video))
    values = run_plainly(model, clip_input(net, video))
    values["clip"] = clip_input(net, video)
    return {name: by_frame(values[name], wire) for name, wire in wires.items()}, wires


def convert_net(net: Net) -> Conversion:
    """The conversion; raises NotComparable where onnxruntime cannot load the clip network either."""
    clip = net.clip()[0]
    try:
        with patch.object(memory, "_SLOT_FLOATS", 1 if net.slots else memory._SLOT_FLOATS):
            return convert(clip, Options(net.rate, net.window, net.se, net.taps, net.layout))
    except ModelError as error:
        if "onnxruntime does not accept" not in error.what:
            raise
        try:
            session(clip, optimize=True)
        except Exception as own:  # onnxruntime has a dozen types of its own
            raise NotComparable("onnxruntime cannot run the network itself") from own
        raise


@dataclass
class Streamed:
    wires: dict[str, dict[int, np.ndarray]]  # wire -> frame number -> frame
    logits: list[np.ndarray]  # one a step


def run_steps(made: Conversion, video: np.ndarray, names: Iterable[str], initial: float | None = None) -> Streamed:
    """Steps through the video from its first frame. initial: what float states hold at first, instead of their fill."""
    facts, meta = made.facts, made.metadata
    probe = onnx.ModelProto()
    probe.CopyFrom(made.step)
    tensors = {name: made.tensors[name] for name in names if name in made.tensors}
    present = {o.name for o in probe.graph.output} | {i.name for i in probe.graph.input}
    for tensor in set(tensors.values()) - present:
        probe.graph.output.append(onnx.ValueInfoProto(name=tensor))
    runner = session(probe, optimize=True)
    taken = next(i.shape for i in runner.get_inputs() if i.name == "frames")
    outputs = [o.name for o in runner.get_outputs()]
    states = {
        s.input: np.full(s.shape, s.fill if initial is None or s.dtype == "int64" else initial, s.dtype) for s in meta.states
    }
    streamed = Streamed({name: {} for name in tensors}, [])
    for t in range(len(video) // meta.hop):
        feeds = {"frames": video[t * meta.hop : (t + 1) * meta.hop].reshape(taken)} | states
        out = feeds | dict(zip(outputs, runner.run(outputs, feeds), strict=True))
        states = {s.input: out[s.output] for s in meta.states}
        streamed.logits.append(out["logits"])
        for name, tensor in tensors.items():
            fact, m = facts[name], meta.hop // facts[name].every
            first = t * m - fact.lag
            streamed.wires[name] |= {first + q: out[tensor][q] for q in range(m) if first + q >= 0}
    return streamed


def difference(a: np.ndarray, b: np.ndarray, scale: float = 1e-12) -> float:
    """max |a - b| / max |b| (or `scale`, if that is larger); infinite if anything is not finite."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.inf
    return float(np.abs(a.astype(np.float64) - b).max() / max(np.abs(b).max(), scale))


def stack(frames: Iterable[np.ndarray]) -> np.ndarray:
    return np.stack([np.reshape(frame, -1) for frame in frames])


def scale_of(features: dict[str, np.ndarray]) -> float:
    """What counts as a small value: where a ReLU leaves next to nothing of large ones, only their rounding is left."""
    return 0.03 * max(float(np.abs(value[np.isfinite(value)]).max(initial=0)) for value in features.values())


def video_length(net: Net, wires: Iterable[Wire]) -> int:
    """T and a whole number of hops, so that strided branches of the clip have as many frames as each other here too."""
    wanted = max(max(w.delay, 0) for w in wires) + 3 * net.hop + 8
    return net.T + -(-max(0, wanted - net.T) // net.hop) * net.hop


def check(net: Net, made: Conversion, count: Counter, seed: int = 0, initial: float | None = None) -> float:
    """Raises Broken unless the law holds for every wire and the logits. Returns the worst relative difference."""
    _, clip, read = net.clip()
    hop = made.metadata.hop
    expect(hop == (1 if net.rate == "dense" else net.hop), f"hop is {hop}, not {net.hop}")
    video = make_video(video_length(net, clip.wires.values()), net, seed)
    features, wires = run_reference(net, video)
    if not all(np.isfinite(value).all() for value in features.values()):
        raise NotComparable("the network's values are not finite")
    streamed = run_steps(made, video, wires, initial)
    count["head's wire folded away"] += any(w.name not in streamed.wires for w in read)
    for name, frames in streamed.wires.items():
        check_schedule(wires[name], made.facts[name], sorted(frames), len(video) // hop * hop)
    worst = check_wires(made, features, wires, streamed, count)
    worst = max(worst, check_logits(net, made, clip, tuple(wires[w.name] for w in read), features, streamed, count))
    check_causal(net, made, video, wires, streamed)
    if net.rate == "dense":
        worst = max(worst, check_phases(net, made, video, streamed, count))
    return worst


def check_wires(made: Conversion, features: dict[str, np.ndarray], wires: dict[str, Wire], streamed: Streamed, count: Counter,
                phase: int = 0) -> float:  # fmt: skip
    """Every frame that saw nothing of the video's end. phase: of a dense stream, whose frames between are another video's."""
    worst, scale = 0.0, scale_of(features)
    for name, frames in streamed.wires.items():
        wire = wires[name]
        apart = wire.spacing // made.facts[name].every  # 1, but in dense streams
        shift = phase // made.facts[name].every
        numbers = [j for j in range(wire.clear if phase else 0, min(wire.t, wire.whole)) if shift + j * apart in frames]
        if not numbers:
            continue
        found = difference(stack(frames[shift + j * apart] for j in numbers), stack(features[name][numbers]), scale)
        expect(found <= TOLERANCE, f"wire {name}: {found:.1e} over {len(numbers)} frames, phase {phase}")
        worst = max(worst, found)
        count["wires"] += 1
        count["frames"] += len(numbers)
    return worst


def check_schedule(wire: Wire, fact: Fact, came: list[int], seen: int) -> None:
    """Frame j is there as soon as stream frame j*every + delay is, and not later."""
    expect(fact.spacing == wire.spacing, f"wire {wire.name}: a frame every {fact.spacing} stream frames, not {wire.spacing}")
    if fact.delay < 0:
        return  # directly behind a Pad
    low, high = max(0, wire.delay - wire.padded), max(0, wire.delay) + wire.padded
    expect(low <= fact.delay <= high, f"wire {wire.name}: delay {fact.delay}, not {wire.delay}")
    due = [j for j in range(seen) if j * fact.every + fact.delay < seen]
    expect(came == due, f"wire {wire.name}: {len(came)} frames came, {len(due)} were due")


def check_causal(net: Net, made: Conversion, video: np.ndarray, wires: dict[str, Wire], streamed: Streamed) -> None:
    """What came by some step is what the clip network says whatever comes later: here NaN (noise, where taps are cut)."""
    hop = made.metadata.hop
    steps = len(video) // hop * 2 // 3
    tail = video.copy()
    tail[steps * hop :] = np.nan if net.taps == "all" else 10
    features, _ = run_reference(net, tail)
    scale = scale_of(features)
    for name, frames in streamed.wires.items():
        fact, wire = made.facts[name], wires[name]
        apart = wire.spacing // fact.every
        came = steps * (hop // fact.every) - fact.lag
        numbers = [j for j in range(min(wire.t, wire.whole)) if j * apart < came and j * apart in frames]
        if numbers:
            found = difference(stack(frames[j * apart] for j in numbers), stack(features[name][numbers]), scale)
            expect(found <= TOLERANCE, f"wire {name} depends on later frames: {found:.1e}")


def check_phases(net: Net, made: Conversion, video: np.ndarray, streamed: Streamed, count: Counter) -> float:
    """Between the frames of the strided network a dense stream shows the same network on video[phase:], from the frame on
    that sees nothing of its beginning."""
    worst = 0.0
    for phase in range(1, min(net.hop, 4)):
        part = video[phase : phase + net.T + (len(video) - phase - net.T) // net.hop * net.hop]
        if len(part) >= net.T:
            features, wires = run_reference(net, part)
            count["phases"] += 1
            worst = max(worst, check_wires(made, features, wires, streamed, count, phase))
    return worst


def check_logits(net: Net, made: Conversion, clip: Sketch, read: tuple[Wire, ...], features: dict[str, np.ndarray],
                 streamed: Streamed, count: Counter) -> float:  # fmt: skip
    """The head over the newest window of frames, of those that exist, from the step on that the metadata promises (for a frame
    that a Slice numbered away see test_picks.py: the reference has frames from 0 on)."""
    known = [fact.delay for wire in read if (fact := made.facts.get(wire.name))]
    hop, first = made.metadata.hop, max(made.metadata.feature_delay, *known, 0) // made.metadata.hop
    expected, found = [], []
    for t in range(first, len(streamed.logits)):
        ends = _newest(net, made, read, t, first)
        frames = [_read(net, features, streamed, wire, *end) for wire, end in zip(read, ends, strict=True)]
        if all(frame is not None for frame in frames):
            expected.append(net.head.logits(clip, frames))
            found.append(streamed.logits[t])
        else:
            expect(net.rate == "dense" or t > first, f"nothing to predict from at step {t}, after {(t + 1) * hop} frames")
    if not expected:
        count["no logits"] += 1
        return 0.0
    worst = difference(stack(found), stack(expected), scale_of(features))
    expect(worst <= TOLERANCE, f"logits: {worst:.1e} over {len(expected)} predictions")
    count["logits"] += len(expected)
    return worst


def _newest(net: Net, made: Conversion, read: tuple[Wire, ...], t: int, first: int) -> list[tuple[int, int]]:
    """(newest stream frame that counts, how many frames of the wire) for each wire that the head reads in step t.

    Averages begin at the same stream frame on all wires, as they do in the clip: the latest at which all of them are
    complete. Wires that are not averaged wait for the latest of them, in whole steps.
    """
    hop, now = made.metadata.hop, (t + 1) * made.metadata.hop - 1
    delays = []
    for wire in read:
        fact = made.facts.get(wire.name)
        delays.append(fact.delay if fact and fact.delay >= 0 else max(0, wire.delay))
    if not net.head.averages:  # no frame that starts after the stream frame is complete
        return [((t - first + delay // hop + 1) * hop - 1 - delay, 1) for delay in delays]
    fewest = min(wire.T for wire in read)
    frames = [max(1, (net.window or fewest) * wire.T // fewest) for wire in read]
    dense = net.rate == "dense"
    grid = 1 if dense else math.lcm(*(wire.spacing for wire in read))
    starts = []
    for wire, delay, n in zip(read, delays, frames, strict=True):
        last = now - delay if dense else (now - delay) // wire.spacing * wire.spacing
        starts.append(last - (n - 1) * wire.spacing)
    start = min(starts) // grid * grid
    return [(start + (n - 1) * wire.spacing, n) for wire, n in zip(read, frames, strict=True)]


def _read(net: Net, features: dict[str, np.ndarray], streamed: Streamed, wire: Wire, newest: int, n: int) -> np.ndarray | None:
    """The mean of the newest n frames of a wire; None if it is not known."""
    if net.rate == "dense" and newest % wire.spacing:  # between the frames of the strided network: the stream itself
        frames = streamed.wires.get(wire.name, {})
        chosen = [frames.get(i) for i in range(newest, -1, -wire.spacing)][:n]
    else:
        j = newest // wire.spacing
        chosen = [features[wire.name][i] if i < wire.whole else None for i in range(j, -1, -1)][:n]
    if not chosen or any(frame is None for frame in chosen):
        return None
    return np.mean(chosen, axis=0, dtype=np.float64).reshape([wire.size(a) for a in wire.layout if a not in "NT"])


def check_prepared(net: Net, made: Conversion, seed: int = 1) -> None:
    """Folding and cutting dead taps change nothing of what the clip network says about a clip of its own length."""
    clip = clip_input(net, make_video(net.T, net, seed))
    before, after = (next(iter(run_plainly(model, clip).values())) for model in (net.clip()[0], made.clip))
    if not np.isfinite(before).all():
        raise NotComparable("the network's values are not finite")
    expect(difference(after, before) <= TOLERANCE, "the clip network changed while it was prepared")
