"""Values that are moved and moved back are read where they were: nothing is copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everyframe.native import ir
from everyframe.native.build import link
from everyframe.native.generate import generate, planned
from everyframe.native.library import Library
from everyframe.native.target import target
from native.operators import CPUS, QUICK, Sketch, reference
from native.quantized import ALL_CPUS, Quantized, agree

TAPS, CHANNELS, HEIGHT, WIDTH = 3, 12, 6, 7


def side_by_side(sketch: Sketch, frames: list[str]) -> str:
    """Frames on an axis of time, by way of the axis of height: (1, C, T, H, W)."""
    sides = sketch.constant([1, CHANNELS, len(frames), HEIGHT, WIDTH], np.int64)
    return sketch.op("Reshape", sketch.op("Concat", *frames, axis=2), sides)


def moves(sketch: Sketch, cpu: str) -> int:
    graph, _, _ = planned(sketch.model(), (), target(cpu), "sketch")
    return sum(isinstance(op, ir.Move) for op in graph.ops)


def test_frames_side_by_side_are_no_copy() -> None:
    sketch = Sketch((1, CHANNELS, HEIGHT, WIDTH))
    frames = [sketch.op("Mul", "frames", sketch.constant(factor)) for factor in (1, 2, 3)]
    volume = side_by_side(sketch, frames)
    sketch.answer(sketch.op("Conv", volume, sketch.normal(CHANNELS, 1, TAPS, 3, 3), group=CHANNELS, pads=[0, 1, 1] * 2))
    assert moves(sketch, "generic") == 0


@pytest.mark.parametrize("cpu", CPUS)
def test_moves_of_moves(cpu: str, tmp_path: Path) -> None:
    """One copy for several moves; one there and back is none, and zeros from nowhere stay zeros."""
    sketch = Sketch((1, CHANNELS, HEIGHT, WIDTH))
    relu = sketch.op("Relu", "frames")
    turned = sketch.op("Transpose", relu, perm=[0, 1, 3, 2])
    sketch.answer(sketch.op("Conv", sketch.op("Transpose", turned, perm=[0, 1, 3, 2]), sketch.normal(4, CHANNELS, 3, 3)))
    assert moves(sketch, cpu) == 0
    sketch.answer(sketch.op("Transpose", sketch.op("Transpose", turned, perm=[0, 3, 2, 1]), perm=[0, 2, 1, 3]))
    tall = sketch.op("Concat", turned, sketch.op("Mul", turned, sketch.constant(3)), axis=3)
    sketch.answer(sketch.op("Reshape", tall, sketch.constant([1, CHANNELS, 2 * HEIGHT, WIDTH], np.int64)))
    sketch.answer(sketch.op("Trilu", sketch.op("Trilu", turned), upper=0))
    model, frames = sketch.model(), np.random.default_rng(1).standard_normal(sketch.shape, np.float32)
    source, _, fitting = generate(model, (), target(cpu), where="sketch")
    stream = Library(link(source, fitting, model, tmp_path / "moves.so", QUICK)).start(threads=1)
    np.testing.assert_allclose(stream.step(frames), reference(model, frames), rtol=1e-5, atol=1e-5)
    stream.close()


@pytest.mark.parametrize("cpu", ALL_CPUS)
def test_one_sum_over_frames_of_bytes(cpu: str, tmp_path: Path) -> None:
    """As `quantize` writes a depthwise kernel over several frames."""
    sketch, scale = Quantized((1, CHANNELS, HEIGHT, WIDTH)), 0.02
    frames = [sketch.grid(sketch.op("Mul", "frames", sketch.constant(factor)), scale, 120) for factor in (0.4, 0.7, 0.9)]
    volume = sketch.grid(side_by_side(sketch, frames), scale, 120)
    kernel = sketch.random_weight(CHANNELS, 1, TAPS, 3, 3)
    made = sketch.op("Conv", volume, kernel, group=CHANNELS, pads=[0, 1, 1] * 2)
    made = sketch.op("Squeeze", sketch.grid(sketch.op("Relu", made), 0.01, 0), sketch.constant([2], np.int64))
    sketch.steps(sketch.grid(made, 0.01, 0), 0.01)
    agree(sketch, tmp_path, cpu)
