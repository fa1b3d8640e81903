"""The same answers before and after: both run in onnxruntime, on noise and on frames of a real video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from everyframe import modelfile
from everyframe.conversion.axes import step_shape
from everyframe.conversion.facts import Facts
from everyframe.conversion.step import Conversion
from everyframe.conversion.verify import TOLERANCE, Video, make_video, relative, verify
from everyframe.errors import ConversionMismatch
from everyframe.modelfile.noise import noise
from everyframe.modelfile.schema import Metadata, Preprocess
from everyframe.modelfile.walk import Walk

VIDEO = Path(__file__).resolve().parents[1] / "assets" / "sample.mp4"
_MOST_STEPS = 60
_NOISE = 1e-7  # relative change of the input whose effect on the answers is the least difference that can be asked for


@dataclass(frozen=True)
class Proof:
    """on: "noise" or "video". runs: clips, or steps of a stream. difference: largest, relative to the largest answer."""

    on: str
    runs: int
    difference: float


def prove_step(made: Conversion) -> list[Proof]:
    """The step network says over a stream what the clip network says, see `conversion.verify`."""
    proofs = []
    for on, video in (("noise", make_video), ("video", _of_facts(made))):
        if video is not None:
            proofs.append(Proof(on, 1, verify(made, video=video)))
    return proofs


def prove(before: onnx.ModelProto, after: onnx.ModelProto, *, steps: int | None = None) -> list[Proof]:
    """Raises ConversionMismatch if the answers differ by more than rounding does. steps: of a step network; default: until
    predictions begin and some more, at most 60.
    """
    proofs = []
    for on, feeds in _inputs(before, steps):
        one = answers(before, feeds, optimize=False)
        other = answers(after, feeds, optimize=True)
        difference = _difference(other, one)
        if not difference <= TOLERANCE:
            shaken = answers(before, [_shaken(frames) for frames in feeds], optimize=False)
            allowed = max(TOLERANCE, 3 * _difference(shaken, one))
            if not difference <= allowed:
                raise ConversionMismatch(
                    "The rewritten model disagrees with the model before, so nothing was written.", where=f"on {on}",
                    expected=f"a relative difference up to {allowed:.1e}", got=f"{difference:.1e}",
                    hint="please report it with the model",
                )  # fmt: skip
        proofs.append(Proof(on, len(feeds), difference))
    return proofs


def _difference(other: dict[str, np.ndarray], one: dict[str, np.ndarray]) -> float:
    """The largest between two models' answers; infinite where there are not as many values."""
    return max(relative(other[name], one[name]) if other[name].size == one[name].size else np.inf for name in one)


def answers(model: onnx.ModelProto, feeds: list[dict[str, np.ndarray]], *, optimize: bool) -> dict[str, np.ndarray]:
    """The values of every output that is no state, for all feeds in turn; states go from one to the next."""
    walk = Walk(model, how="fast" if optimize else "plain")
    found = [walk.step(feed) for feed in feeds]
    made = {name: np.concatenate([np.ravel(values[name]) for values in found]) for name in walk.answers}
    return {name: array if array.dtype.kind == "f" else array.astype(np.float64) for name, array in made.items()}


def _shaken(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        name: (array * (1 + _NOISE * rng.choice((-1.0, 1.0), array.shape))).astype(array.dtype)
        if array.dtype.kind == "f" else array for name, array in feed.items()
    }  # fmt: skip


def _inputs(model: onnx.ModelProto, steps: int | None) -> Iterator[tuple[str, list[dict[str, np.ndarray]]]]:
    """Noise for every input that is no state; frames of a real video where there is one that takes pictures."""
    metadata = modelfile.metadata_of(model)
    held = {spec.input for spec in metadata.states} if metadata else set()
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in held | weights]
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in inputs}
    types = {v.name: onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type) for v in inputs}
    runs = 2
    if metadata and metadata.kind == "step":
        runs = steps or min(_MOST_STEPS, metadata.feature_delay // metadata.hop + 6)
    rng = np.random.default_rng(0)
    yield "noise", [{name: noise(shape, types[name], rng) for name, shape in shapes.items()} for _ in range(runs)]
    if len(inputs) == 1 and (frames := _frames_of(metadata, shapes[inputs[0].name], runs)) is not None:
        yield "video", [{inputs[0].name: batch.astype(types[inputs[0].name])} for batch in frames]


def _frames_of(metadata: Metadata | None, shape: list[int], runs: int) -> list[np.ndarray] | None:
    """`runs` batches of real frames in the input's shape: (N, C, H, W), or a clip (1, C, T, H, W); None for other inputs."""
    channels = 1 if len(shape) < 4 else shape[1]
    if len(shape) not in (4, 5) or channels not in (1, 3) or (len(shape) == 5 and shape[0] != 1):
        return None
    count = shape[2] if len(shape) == 5 else shape[0]
    preprocess = metadata.preprocess if metadata else Preprocess(color="gray" if channels == 1 else "rgb")
    video = real_frames(preprocess, (shape[-2], shape[-1]), count * runs)
    batches = video.reshape(runs, count, *video.shape[1:])
    return [batch.transpose(1, 0, 2, 3)[None] if len(shape) == 5 else batch for batch in batches]


def _of_facts(made: Conversion) -> Callable[[Facts, int, int], Video] | None:
    """A maker of real video for `verify`; None where the network takes no pictures, or something beside them."""
    clock = made.facts.clock
    shape = step_shape(made.facts[clock].axes)

    def video(facts: Facts, frames: int, seed: int) -> Video:
        return {clock: real_frames(made.metadata.preprocess, shape[1:], frames)}

    pictures = len(shape) == 3 and shape[0] == made.metadata.preprocess.channels
    return video if pictures and len(made.facts.graph.inputs) == 1 else None


def real_frames(preprocess: Preprocess, size: tuple[int, ...], count: int) -> np.ndarray:
    """(count, C, H, W) of the sample video, forwards and backwards in turn, at the network's size whatever its crop."""
    from everyframe.video.preprocess import normalize
    from everyframe.video.reader import Reader
    from everyframe.video.sources import resolve

    whole = preprocess.model_copy(update={"resize": (size[0], size[1]), "crop": None, "fps": None, "sample_every_n": None})
    pictures = []
    with Reader(resolve(VIDEO)[0], whole) as reader:
        for frame in reader:
            pictures.append(frame.data)
            if len(pictures) == count:
                break
    there_and_back = [*pictures, *pictures[-2:0:-1]] or pictures
    order = [there_and_back[i % len(there_and_back)] for i in range(count)]
    return normalize(np.stack(order), whole)
