"""Kernels that are left out as a whole, for groups of outputs: transformed kernels leave them out, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from everyframe.native.build import link
from everyframe.native.choice import Geometry, default, space
from everyframe.native.emit import Source
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import TARGETS, Target, target
from everyframe.pruning.pattern import Pattern
from native.operators import CPUS, QUICK, Sketch, reference

PRODUCTS = [name for name in CPUS if TARGETS[name].product]
#: scheme, group, pruned share -> is F(2x2, 3x3) worth it?
PATTERNS = (
    ("plane", (16, 1), 0.75, True),
    ("vanilla", (16, 4), 0.5, True),
    ("kgs", (16, 4), 0.7, False),
    ("kgs", (16, 4), 0.2, True),
)


def pruned(scheme: str, group: tuple[int, int], rate: float, kernel: tuple[int, int, int] = (3, 3, 3)) -> Sketch:
    sketch = Sketch((1, 32, 3, 14, 15))
    weight = sketch.rng.standard_normal((48, 32, *kernel), np.float32)
    pattern = Pattern(scheme, group)  # type: ignore[arg-type]
    weight *= pattern.spread(pattern.keep(pattern.scores(weight), rate), weight.shape)
    made = sketch.op("Conv", "frames", sketch.constant(weight), sketch.normal(48), pads=[k // 2 for k in kernel] * 2)
    sketch.answer(sketch.op("Relu", made))
    return sketch


def generated(sketch: Sketch, cpu: str) -> tuple[Source, Target]:
    source, _, fitting = generate(sketch.model(), (), target(cpu), where="sketch")
    return source, fitting


@pytest.mark.parametrize(("scheme", "group", "rate", "transformed"), PATTERNS)
@pytest.mark.parametrize("cpu", PRODUCTS)
def test_the_faster_way_is_the_default(cpu: str, scheme: str, group: tuple[int, int], rate: float, transformed: bool) -> None:
    source, _ = generated(pruned(scheme, group, rate), cpu)
    assert (source.text.count("Winograd F(2x2, 3x3)") > 0) == transformed


@pytest.mark.parametrize("cpu", PRODUCTS)
def test_planes_of_zeros_take_no_work_and_change_nothing(cpu: str, tmp_path: Path) -> None:
    """A quarter of the planes is left, for whole vectors of outputs: a quarter of the multiplications, and of the weights."""
    sparse, dense = (pruned("plane", (16, 1), rate) for rate in (0.75, 0.0))
    (source, fitting), (whole, _) = (generated(sketch, cpu) for sketch in (sparse, dense))
    assert [round(layer.kept, 2) for layer in source.layers] == [0.25]
    assert source.macs == whole.macs / 4
    assert len(source.weights) < 0.3 * len(whole.weights)
    frames = np.random.default_rng(1).standard_normal(sparse.shape, np.float32)
    wanted = reference(sparse.model(), frames)
    made = Library(link(source, fitting, sparse.model(), tmp_path / "sparse.so", QUICK))
    one, two = (made.start(threads).step(frames) for threads in (1, 2))
    assert float(np.abs(one - wanted).max()) <= 3e-6 * float(np.abs(wanted).max())
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("cpu", PRODUCTS)
def test_what_is_measured(cpu: str) -> None:
    """Weights are measured as ones, so transforms only where no kernel has zeros of its own."""
    chosen = target(cpu)
    dense = Geometry(0, 3, 3, 3, 1, 1, 192, 64, 28, 28, 100, 8)
    planes, places = replace(dense, kept=25, kernels=25), replace(dense, kept=33)
    assert {0, 2, 4} == {choice.tile for choice in space(chosen, dense)} == {choice.tile for choice in space(chosen, planes)}
    assert {0} == {choice.tile for choice in space(chosen, places)}
    few = replace(dense, kept=80)
    assert default(chosen, few).tile == 2 and space(chosen, few) == [default(chosen, few)]
