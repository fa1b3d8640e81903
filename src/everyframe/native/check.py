"""Compiled code against a reference, over a stream of pictures, before anything is written: onnxruntime for float networks, exact
arithmetic for quantized ones.

The pictures have what cameras show and noise does not: parts that stand still (where a difference of frames lies between two
steps of its scale), flat ones, something that moves and stops. They last for a whole window of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import TypeVar

import numpy as np
import onnx

from everyframe.errors import ConversionMismatch, ModelError
from everyframe.modelfile.schema import Metadata
from everyframe.modelfile.walk import Walk
from everyframe.native.emit import Source
from everyframe.native.hosted import Hosted
from everyframe.native.library import Library
from everyframe.native.target import Target
from everyframe.native.tuned import Rounding, different

# N new frames a step, C channels, T frames of a clip, H height, W width

#: largest relative L2 distance of the logits
TOLERANCE = 1e-4
#: of quantized networks: a float that an operator left behind may still decide between two steps, hardly ever
QUANTIZED_TOLERANCE = 0.01
_MOST_STEPS = 100
Made = TypeVar("Made")
Code = tuple[Source, Target]


def check(
    model: onnx.ModelProto, metadata: Metadata, library: Library | Hosted, *, steps: int | None = None, tolerance: float = 0.0
) -> float:
    """The largest relative L2 distance between an answer of both over a stream. Raises ConversionMismatch above TOLERANCE
    (or QUANTIZED_TOLERANCE, or `tolerance` if that is larger), and where another label is the best one of the logits by more
    than that; ModelError where the model itself answers with what is no number.

    steps: default: until predictions begin, a window and some more, at most 100; a clip network is asked twice.
    """
    quantized = any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node)
    tolerance = max(tolerance, QUANTIZED_TOLERANCE if quantized else TOLERANCE)
    by = "exact arithmetic" if quantized else "onnxruntime"
    walk = Walk(model, states=metadata.states, how="exact" if quantized else "plain")
    main = library.answers[0][0]
    answer = main if main in walk.answers else walk.answers[0]  # libraries of earlier versions do not name it
    first = metadata.feature_delay // metadata.hop
    whole = first + -(-max(metadata.frames, metadata.window or 0) // metadata.hop) + 6
    count = steps or (2 if metadata.kind == "clip" else min(_MOST_STEPS, whole))
    worst = 0.0
    with closing(library.start(threads=1)) as stream:
        for n, frames in enumerate(_inputs(library.inputs, metadata, count)):
            whole_answer, logits = walk.step(frames), stream.step(frames)
            if unheard := [name for name in (answer, *stream.others) if not np.isfinite(whole_answer[name]).all()]:
                raise ModelError(
                    "The model answers with NaN or infinities, so compiled code cannot be compared with it.",
                    where=f"the output {unheard[0]} at step {n}", got=f"by {by}, of a picture as cameras give it",
                    hint="look for a division by zero, a logarithm or an overflow in the network; `everyframe predict` names "
                    "the first frame of a video that brings it about",
                )  # fmt: skip
            distances = {name: _distance(whole_answer[name], got) for name, got in ((answer, logits), *stream.others.items())}
            distance = max(distances.values())
            worst = max(worst, distance)
            lost = _lost(whole_answer[answer].ravel(), logits.ravel())
            if not distance <= tolerance or lost > tolerance:
                raise ConversionMismatch(
                    f"The compiled code disagrees with {by}, so nothing was written.", where=f"step {n}",
                    expected=f"a relative distance of at most {tolerance:g}, and the same best label",
                    got=f"{distance:.2g}" + (", another label" if lost > 0 else ""),
                    hint="this is a defect of everyframe; run the model with --engine ort meanwhile",
                )  # fmt: skip
    return worst


def compared(
    roundings: Sequence[Rounding],
    generated: Callable[[Rounding], Code],
    made: Callable[[Rounding, Source, Target], Made],
    first: Code | None = None,
) -> Made:
    """What is made of the first source that its comparison with the model allows. generated: the source of a rounding and its
    target, asked once for each that makes another source. made: raises ConversionMismatch where it is not allowed. first: of the
    first rounding, if it is there."""
    first = first or generated(roundings[0])
    ways = different(roundings, first[0].inexact, first[0].halved)
    for way in ways[:-1]:
        with suppress(ConversionMismatch):
            return made(way, *(first if way == roundings[0] else generated(way)))
    return made(ways[-1], *(first if ways[-1] == roundings[0] else generated(ways[-1])))


def _distance(wanted: np.ndarray, got: np.ndarray) -> float:
    found = float(np.linalg.norm(got.ravel() - wanted.ravel()) / max(float(np.linalg.norm(wanted)), 1e-6))
    return found if np.isfinite(found) else np.inf


def _lost(wanted: np.ndarray, got: np.ndarray) -> float:
    """By how much the best label of `got` is not that of `wanted`, relative to the size of all."""
    if not np.isfinite(got).all():
        return np.inf
    return float(wanted.max() - wanted[int(got.argmax())]) / max(float(np.linalg.norm(wanted)), 1e-6)


def _inputs(
    inputs: Sequence[tuple[str, tuple[int, ...]]], metadata: Metadata, count: int
) -> Iterator[np.ndarray | dict[str, np.ndarray]]:
    """What `count` steps take: (N, C, H, W) of a step, (1, C, T, H, W) of a clip network, of several inputs by name."""
    made = [_frames(shape, metadata, count) for _, shape in inputs]
    for each in zip(*made, strict=True):
        yield each[0] if len(inputs) == 1 else {name: frames for (name, _), frames in zip(inputs, each, strict=True)}


def _frames(shape: tuple[int, ...], metadata: Metadata, count: int) -> Iterator[np.ndarray]:
    clip = metadata.kind == "clip"
    if len(shape) != (5 if clip else 4):
        noise = np.random.default_rng(0)
        yield from (noise.standard_normal(shape, np.float32) for _ in range(count))
        return
    frames, channels = (shape[2], shape[1]) if clip else shape[:2]
    preprocess, scene = metadata.preprocess, _scene(channels, shape[-2], shape[-1], count * frames)
    known = len(preprocess.mean) if len(preprocess.mean) == channels else 1
    mean, std = (np.array(part[:known], np.float32).reshape(-1, 1, 1) for part in (preprocess.mean, preprocess.std))
    for _ in range(count):
        made = np.stack([(next(scene) * np.float32(preprocess.scale) - mean) / std for _ in range(frames)])  # (N, C, H, W)
        yield np.ascontiguousarray(made.transpose(1, 0, 2, 3)[None] if clip else made)


def _scene(channels: int, height: int, width: int, count: int) -> Iterator[np.ndarray]:
    """`count` pictures (C, H, W) of values as a camera has them: noise on the left above, still below; on the right a flat part
    above, and below a bright square on a slope, which stops half way."""
    random, top, left = np.random.default_rng(0), -(-height // 2), -(-width // 2)
    still = random.integers(0, 256, (channels, height, width)).astype(np.float32)
    still[:, :top, left:] = 64 * np.arange(1, channels + 1, dtype=np.float32).reshape(-1, 1, 1) % 256
    still[:, top:, left:] = np.linspace(30, 200, width - left, dtype=np.float32).round()
    side = max(1, (height - top) // 2)
    for n in range(count):
        picture = still.copy()
        picture[:, :top, :left] = random.integers(0, 256, (channels, top, left))
        at = left + (min(n, count // 2) * 2) % max(1, width - left)
        picture[:, top + side // 2 : top + side // 2 + side, at : at + side] = 240
        yield picture
