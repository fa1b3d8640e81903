"""Patterns and masks: laws on random weights, against direct loops over the weights."""

from __future__ import annotations

import itertools
import tempfile
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everyframe.errors import RecipeError, WeightsError
from everyframe.pruning.mask import LayerMask, Mask
from everyframe.pruning.pattern import Pattern
from everyframe.recipes.pruning import SCHEMES

shapes = st.tuples(
    st.integers(1, 21), st.integers(1, 9), st.sampled_from([(), (1, 1, 1), (3, 3, 3), (1, 3, 3), (3, 1, 1), (2, 5, 4), (3, 3)])
).map(lambda parts: (parts[0], parts[1], *parts[2]))
patterns = st.builds(Pattern, st.sampled_from(SCHEMES), st.tuples(st.integers(1, 8), st.integers(1, 5)))
rates = st.floats(0, 0.99)


def drawn(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def members(pattern: Pattern, shape: tuple[int, ...]) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    """Unit -> its weights, as the paper says it, one weight after another."""
    (m, n), found = pattern.group, {}
    for index in np.ndindex(*shape):
        location = int(np.ravel_multi_index(index[2:], shape[2:])) if shape[2:] else 0
        unit = {
            "vanilla": (index[0] // m, index[1] // n, 0),
            "kgs": (index[0] // m, index[1] // n, location),
            "balanced": (index[0] // m, index[1] // n, location),
            "plane": (index[0] // m, index[1] // n, location // prod(shape[2:][-2:])),
            "filter": (index[0], 0, 0),
        }[pattern.scheme]
        found.setdefault(unit, []).append(index)
    return found


@given(patterns, shapes)
def test_units_cover_every_weight_once(pattern: Pattern, shape: tuple[int, ...]) -> None:
    weight, units = drawn(shape), members(pattern, shape)
    assert set(np.ndindex(*pattern.units(shape))) == set(units)
    norms, sizes = pattern.norms(weight), pattern.sizes(shape)
    numbers = pattern.spread(np.arange(norms.size).reshape(norms.shape), shape)
    for unit, indices in units.items():
        values = [weight[index] for index in indices]
        assert sizes[unit] == len(values)
        assert norms[unit] == pytest.approx(np.linalg.norm(values), rel=1e-6)
        assert {int(numbers[index]) for index in indices} == {int(np.ravel_multi_index(unit, norms.shape))}


@given(patterns, shapes, rates)
def test_the_weakest_units_go_and_as_many_as_asked(pattern: Pattern, shape: tuple[int, ...], rate: float) -> None:
    scores = pattern.scores(drawn(shape))
    kept = pattern.keep(scores, rate)
    pools = (
        [(scores[p, q], kept[p, q]) for p, q in itertools.product(*map(range, scores.shape[:2]))]
        if pattern.scheme == "balanced"
        else [(scores.ravel(), kept.ravel())]
    )
    for score, left in pools:
        assert (~left).sum() == min(round(rate * score.size), score.size - 1)
        assert left.any() and (left.all() or score[~left].max() <= score[left].min())


@given(shapes, st.tuples(st.integers(1, 8), st.integers(1, 5)), rates)
def test_kernels_of_a_group_share_their_locations(shape: tuple[int, ...], group: tuple[int, int], rate: float) -> None:
    mask = Mask.choose(Pattern("kgs", group), {"conv": drawn(shape)}, {"conv": rate})
    if rate == 0:
        assert not mask.layers
        return
    kept = mask.weights("conv")
    for p, q in itertools.product(range(0, shape[0], group[0]), range(0, shape[1], group[1])):
        kernels = kept[p : p + group[0], q : q + group[1]].reshape(-1, *shape[2:])
        assert (kernels == kernels[0]).all()


@given(patterns, shapes, st.tuples(rates, rates))
def test_a_mask_is_a_value(pattern: Pattern, shape: tuple[int, ...], two: tuple[float, float]) -> None:
    one, other = (
        Mask(pattern, {"conv": LayerMask(shape, pattern.keep(pattern.scores(drawn(shape, seed)), rate))})
        for seed, rate in enumerate(two)
    )
    with tempfile.TemporaryDirectory() as folder:
        one.save(Path(folder) / "mask.npz")
        again = Mask.load(Path(folder) / "mask.npz")
    assert again.pattern == pattern and np.array_equal(again.layers["conv"].kept, one.layers["conv"].kept)
    assert one.density() == pytest.approx(one.weights("conv").mean())
    assert one.scale({"conv": 12.0, "dense": 5.0}) == pytest.approx(12 * one.density() + 5)
    a, b = one.weights("conv"), other.weights("conv")
    assert np.array_equal((one | other).weights("conv"), a | b)
    assert np.array_equal((one & other).weights("conv"), a & b)


def test_layers_of_two_masks() -> None:
    pattern = Pattern("kgs", (2, 2))
    weights = {name: drawn((4, 4, 3)) for name in "abc"}
    one, other = Mask.choose(pattern, weights, {"a": 0.5, "b": 0.5}), Mask.choose(pattern, weights, {"b": 0.5, "c": 0.5})
    assert set((one | other).layers) == {"b"} and set((one & other).layers) == {"a", "b", "c"}
    with pytest.raises(WeightsError, match="different patterns"):
        one & Mask.choose(Pattern("kgs", (4, 4)), weights, {"a": 0.5})


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    mask = Mask.choose(Pattern("kgs", (2, 2)), {"conv": drawn((4, 4, 3))}, {"conv": 0.5})
    mask.check({"conv": (4, 4, 3), "other": (9, 9)})
    for shapes_there in ({}, {"conv": (4, 5, 3)}):
        with pytest.raises(WeightsError, match="another network"):
            mask.check(shapes_there)
    with pytest.raises(RecipeError, match="larger than the layer"):
        Pattern("kgs", (16, 4)).check((64, 3, 3, 3, 3), "conv1a")
    for rate in (1.0, -0.1, float("nan")):
        with pytest.raises(RecipeError, match="cannot be pruned"):
            Mask.choose(mask.pattern, {"conv": drawn((4, 4, 3))}, {"conv": rate})
    for scheme, group in (("diagonal", (4, 4)), ("kgs", (0, 4))):
        with pytest.raises(RecipeError, match="no such pattern"):
            Pattern(scheme, group)  # type: ignore[arg-type]
    (tmp_path / "not.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    for name in ("not.npz", "other.npz", "missing.npz"):
        with pytest.raises(WeightsError, match="not a mask"):
            Mask.load(tmp_path / name)
