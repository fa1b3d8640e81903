"""Convolutions of few channels, whose frames lie as planes: they say what blocks of channels say, and leave no place empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from everyframe.modelfile.file import load, metadata_of
from everyframe.native import planar
from everyframe.native.build import link
from everyframe.native.generate import generate, planned
from everyframe.native.ir import Conv
from everyframe.native.library import Library
from everyframe.native.target import TARGETS, target
from everyframe.runtime import BUILTIN
from helpers import relative
from native.operators import CPUS, QUICK, Sketch, distance, reference, sanitized

VECTORS = [name for name in CPUS if not TARGETS[name].scalar]
#: what follows a convolution, that it may take along or not; and who else reads what it makes
THEN = ("", "Relu", "Clip", "Sigmoid", "Tanh", "silu", "residual", "residual last")
READERS = ("conv", "wide", "strided", "depthwise", "pool", "joined", "shuffled", "mean")
#: kernel, its dilation, and how much of the padding that keeps the size lies before
KERNELS = (((1, 1), 1, 0), ((3, 3), 1, 1), ((3, 5), 1, 2), ((3, 5), 1, 0), ((3, 3), 2, 2), ((5, 1), 1, 4), ((2, 2), 1, 1))


def network(seed: int, width: int) -> Sketch:
    """Chains of few channels, of any kind, from one to three frames; each link is read by something else, too."""
    sketch, rng = Sketch((1, 3, 3, 9, width), seed), np.random.default_rng(seed)
    for n in range(3):
        channels = int(rng.choice([1, 2, 2, 4, 8]))
        taps = int(rng.integers(1, 4))
        first = sketch.op("Conv", "frames", sketch.normal(channels, 3, taps, 1, 1), sketch.normal(channels))
        part = sketch.op("Slice", first, *(sketch.constant([v], np.int64) for v in (0, 1, 2)))
        x = sketch.op("Squeeze", part, sketch.constant([2], np.int64))
        for _ in range(int(rng.integers(1, 4))):
            x = convolved(sketch, rng, x, channels)
            read(sketch, rng, x, channels, READERS[(seed + n) % len(READERS)])
    return sketch


def convolved(sketch: Sketch, rng: np.random.Generator, x: str, channels: int) -> str:
    (kh, kw), dilation, before = KERNELS[int(rng.integers(len(KERNELS)))]
    weight = sketch.rng.standard_normal((channels, channels, kh, kw)) * (rng.random((1, channels, kh, kw)) < 0.8)
    high, wide = (kh - 1) * dilation, (kw - 1) * dilation  # as much padding as keeps the size, on either side
    top, left = min(before, high), min(before, wide)
    pads = [top, left, high - top, wide - left]
    made = sketch.op("Conv", x, sketch.constant(weight), sketch.normal(channels), pads=pads, dilations=[dilation] * 2)
    then = THEN[int(rng.integers(len(THEN)))]
    if then == "Clip":
        return sketch.op("Clip", made, sketch.constant(-0.5), sketch.constant(1.5))
    if then == "silu":
        return sketch.op("Mul", made, sketch.op("Sigmoid", made))
    if then == "residual":
        return sketch.op("Relu", sketch.op("Add", made, x))
    if then == "residual last":
        return sketch.op("Add", sketch.op("Relu", made), x)
    return sketch.op(then, made) if then else made


def read(sketch: Sketch, rng: np.random.Generator, x: str, channels: int, how: str) -> None:
    if how == "conv":
        sketch.answer(sketch.op("Conv", x, sketch.normal(1, channels, 3, 3), pads=[1] * 4))
    elif how == "wide":
        sketch.answer(sketch.op("Conv", x, sketch.normal(20, channels, 3, 3), pads=[1] * 4))
    elif how == "strided":
        sketch.answer(sketch.op("Conv", x, sketch.normal(3, channels, 3, 3), strides=[2, 3]))
    elif how == "depthwise":
        sketch.answer(sketch.op("Conv", x, sketch.normal(channels, 1, 3, 3), group=channels))
    elif how == "pool":
        sketch.answer(sketch.op("MaxPool", x, kernel_shape=[2, 2]))
    elif how == "joined":
        both = sketch.op("Concat", x, sketch.op("Relu", x), axis=1)
        sketch.answer(sketch.op("Conv", both, sketch.normal(2, 2 * channels, 3, 3), pads=[1] * 4))
    elif how == "shuffled":
        sketch.answer(sketch.op("Transpose", x, perm=[0, 1, 3, 2]))
    sketch.answer(sketch.op("ReduceMean", x, sketch.constant([2, 3], np.int64), keepdims=0) if how == "mean" else x)


def kinds(sketch: Sketch, cpu: str) -> list[str]:
    return [layer.kind for layer in generate(sketch.model(), (), target(cpu), where="sketch")[0].layers]


@pytest.mark.parametrize("cpu", VECTORS)
def test_planes_say_what_onnxruntime_says(cpu: str, tmp_path: Path) -> None:
    """Rows of one vector, of some and of a part of one more."""
    every = [network(seed, width) for seed, width in enumerate((16, 17, 31, 64, 70, 32, 33, 18))]
    assert sum(kinds(sketch, cpu).count("planes") for sketch in every) > len(every)
    for n, sketch in enumerate(every):
        assert distance(sketch, tmp_path / str(n), cpu) <= 2e-5, n


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cpu", VECTORS)
def test_nothing_is_read_or_written_beside_a_plane(cpu: str, seed: int, tmp_path: Path) -> None:
    sketch = network(seed, 33)
    assert "planes" in kinds(sketch, cpu)
    sanitized(sketch, tmp_path, cpu)


@pytest.mark.parametrize("cpu", VECTORS)
def test_threads_and_blocks_change_nothing(cpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are taken in one order, whoever takes them. Blocks of channels take them in another: the last bits differ."""
    sketch, answers = network(1, 70), []
    model, frames = sketch.model(), np.random.default_rng(2).standard_normal(sketch.shape, np.float32)
    for n, threads in enumerate((1, 2, 3, 1)):
        if n == 3:
            monkeypatch.setattr(planar, "could", lambda *_: False)
        source, _, fitting = generate(model, (), target(cpu), where="sketch")
        assert ("planes" in {layer.kind for layer in source.layers}) == (n < 3)
        with_blocks = Library(link(source, fitting, model, tmp_path / f"{n}.so", QUICK)).start(threads=threads)
        answers.append(with_blocks.step(frames))
    assert all(np.array_equal(answers[0], other) for other in answers[1:3])
    assert relative(answers[3], answers[0]) <= 1e-5 and relative(answers[0], reference(model, frames)) <= 2e-5


@pytest.mark.parametrize("cpu", VECTORS)
def test_a_plane_has_no_empty_places(cpu: str) -> None:
    """States of gray pictures take little more than the pictures: the built-in model keeps two, and two in a mirror."""
    model = load(BUILTIN)
    metadata = metadata_of(model)
    assert metadata is not None
    source, layout, _ = generate(model, metadata.states, target(cpu), where="builtin")
    assert "planes" in {layer.kind for layer in source.layers}
    gray = [form for number, form in layout.forms.items() if (form.channels, form.height, form.width) == (1, 72, 96)]
    assert gray and all(4 * form.floats <= 1.6 * 4 * 72 * 96 and form.block == 1 for form in gray)
    assert 4 * layout.state_floats < 500_000


class TestMarks:
    """Which convolutions make planes is a fixed point: what one refuses, others must take as blocks."""

    @staticmethod
    def marked(change: Callable[[Sketch, str], str] = lambda _, x: x, out: int = 2, width: int = 32) -> list[bool]:
        sketch = Sketch((1, 2, 9, width))
        x = sketch.op("Conv", "frames", sketch.normal(out, 2, 3, 3), pads=[1] * 4)
        x = change(sketch, x)
        sketch.answer(sketch.op("Conv", x, sketch.normal(out, out, 3, 3), pads=[1] * 4))
        graph, _, _ = planned(sketch.model(), (), target("x86-64-v3"), "sketch")
        return [op.planar for op in graph.ops if isinstance(op, Conv)]

    def test_chains_of_few_channels_are(self) -> None:
        assert self.marked() == [True, True]

    @pytest.mark.parametrize("options", [{"out": 5}, {"width": 7}])
    def test_many_channels_and_short_rows_are_not(self, options: dict[str, int]) -> None:
        assert self.marked(**options) == [False, False]

    def test_what_a_pool_reads_and_makes_comes_in_blocks(self) -> None:
        pooled = self.marked(lambda sketch, x: sketch.op("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4))
        assert pooled == [False, False]

    def test_what_is_added_lies_as_the_sum_does(self) -> None:
        def added(sketch: Sketch, x: str) -> str:
            other = sketch.op("Conv", "frames", sketch.normal(2, 2, 1, 1))
            pooled = sketch.op("MaxPool", other, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
            return sketch.op("Add", sketch.op("Conv", x, sketch.normal(2, 2, 1, 1)), pooled)

        assert self.marked(added) == [True, False, False, False], "only the first is not added to what a pool made"
