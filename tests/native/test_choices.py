"""Whatever is chosen for a convolution, its results are the same: random networks with random choices, compiled as they ship."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from everyframe.errors import UsageError
from everyframe.native.build import link
from everyframe.native.choice import Choice, Geometry, default, space, transformable
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import TARGETS, Target, target
from native.operators import CPUS, QUICK, Sketch, reference
from native.test_int8 import Quantized, compare, exactly

VECTORS = [name for name in CPUS if not TARGETS[name].scalar]
#: kernel, stride, size, output channels, share of groups of 16 x 4 weights that are zero
LAYERS = (
    ((3, 3, 3), 1, 15, 40, 0.0), ((3, 3, 3), 1, 15, 40, 0.7), ((1, 3, 3), 2, 15, 24, 0.5), ((3, 1, 1), 1, 15, 33, 0.6),
    ((1, 1, 1), 1, 15, 40, 0.0), ((3, 3, 3), 1, 4, 24, 0.3),
)  # fmt: skip
COUNT = 4  # choices for each


def drawn(rng: np.random.Generator, chosen: Target, geometry: Geometry) -> Choice:
    heights = [0, *(height for height, _ in chosen.runs)]
    tiles = (0, *transformable(chosen, geometry)) if geometry.int8 else (0,)
    return Choice(
        int(rng.choice([1, 7, 48, 144, 5000])), int(rng.choice([1, 14, 60, 784])), int(rng.integers(2)), int(rng.choice(heights)),
        int(rng.choice([0, 1, 3, 5])), int(rng.choice(tiles)), why="drawn",
    )  # fmt: skip


def library(sketch: Sketch, cpu: str, folder: Path) -> tuple[Library, str]:
    """Each convolution with a choice of its own."""
    rng = np.random.default_rng(3)
    source, _, fitting = generate(
        sketch.model(), (), target(cpu), where="sketch", choose=lambda chosen, geometry, _label: drawn(rng, chosen, geometry)
    )
    return Library(link(source, fitting, sketch.model(), folder / "sketch.so", QUICK)), source.text


@pytest.mark.parametrize("cpu", VECTORS)
def test_results_do_not_depend_on_choices(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((1, 16, 3, 15, 15))
    small = sketch.op("AveragePool", "frames", kernel_shape=[1, 4, 4], strides=[1, 4, 4], pads=[0, 0, 0, 0, 1, 1])
    for kernel, stride, size, cout, zeros in LAYERS * COUNT:
        kept = np.repeat(np.repeat(sketch.rng.random((-(-cout // 16), 4, *kernel)) >= zeros, 16, 0)[:cout], 4, 1)
        weight = sketch.constant(sketch.rng.standard_normal((cout, 16, *kernel)) * kept)
        made = sketch.op(
            "Conv", "frames" if size == 15 else small, weight, sketch.normal(cout), pads=[k // 2 for k in kernel] * 2,
            strides=[1, stride, stride],
        )  # fmt: skip
        sketch.answer(sketch.op("Relu", made))
    made, text = library(sketch, cpu, tmp_path)
    frames = np.random.default_rng(1).standard_normal(sketch.shape, np.float32)
    wanted = reference(sketch.model(), frames)
    streams = [made.start(threads) for threads in (1, 3)]
    one, three = (stream.step(frames) for stream in streams)
    np.testing.assert_allclose(one, wanted, rtol=1e-5, atol=1e-5 * float(np.abs(wanted).max()))
    np.testing.assert_array_equal(one, three)
    assert text.count("(drawn)") >= len(LAYERS), "the C says what each convolution carries"


@pytest.mark.parametrize("cpu", VECTORS)
def test_bytes_do_not_depend_on_choices(cpu: str, tmp_path: Path) -> None:
    sketch = Quantized((1, 16, 9, 8))
    bytes_in = sketch.grid("frames", 0.03, 128)
    for kernel, out in (((3, 3), 40), ((1, 1), 24), ((3, 3), 17)) * COUNT:
        zero = np.repeat(sketch.rng.random((out, 4, *kernel)) < 0.5, 4, 1)
        made = sketch.op("Conv", bytes_in, sketch.random_weight(out, 16, *kernel, zero=zero), pads=[k // 2 for k in kernel] * 2)
        sketch.steps(sketch.grid(made, 0.05, 100), 0.05)
    frames = np.random.default_rng(1).standard_normal(sketch.shape, np.float32)
    made, _ = library(sketch, cpu, tmp_path)
    stream = made.start(2)
    compare(stream.step(frames), exactly(sketch.model(), frames))
    stream.close()


@pytest.mark.parametrize("cpu", [name for name, row in TARGETS.items() if not row.scalar])
@pytest.mark.parametrize("int8", [0, 1])
def test_the_space_is_small_valid_and_begins_with_the_default(cpu: str, int8: int) -> None:
    chosen, geometry = TARGETS[cpu], Geometry(int8, 3, 3, 3, 1, 1, 192, 64, 56, 56, 33)
    choices = space(chosen, geometry)
    assert choices[0] == default(chosen, geometry)
    assert len({choice.numbers for choice in choices}) == len(choices) <= 120
    for choice in choices:
        choice.check(chosen, "test")


@pytest.mark.parametrize(("name", "value"), [("slice", 0), ("block", 0), ("fetch", 2), ("tallest", 7), ("longest", -1)])
def test_impossible_choices_are_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError) as caught:
        replace(Choice(), **{name: value}).check(TARGETS["x86-64-v3"], "row 3")
    assert "row 3" in str(caught.value) and str(value) in str(caught.value)
