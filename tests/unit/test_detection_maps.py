"""Points become pillars, and boxes maps, and both lead back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everyframe.modelfile.schema import Grid
from everyframe.tasks.detection.decode import Cells, decode, encode
from everyframe.tasks.detection.pillars import FEATURES, MOST, group

GRID = Grid(low=(0, -8, -2), high=(16, 8, 2), cell=1.0, slots=200, points=3)


def cloud(seed: int, count: int, spread: float = 9.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform((-1, -spread, -2.2), (17, spread, 2.2), (count, 3)), rng.random(count)]).astype(
        np.float32
    )


def told(frames: np.ndarray, grid: Grid) -> set[tuple[int, ...]]:
    """The points that slots hold, in millimeters, from their features; each has to stand in the cell that its slot names."""
    low, high = np.array(grid.low), np.array(grid.high)
    rows, columns = grid.cells
    found = set()
    for slot in range(grid.slots):
        cell = int(frames[FEATURES, slot, 0])
        assert (frames[FEATURES, slot] == cell).all()
        if cell == rows * columns:
            assert not frames[:FEATURES, slot].any()
            continue
        for x, y, z, light, *_, dx, dy in frames[:FEATURES, slot].T:
            place = np.array([x, y, z]) * (high - low) / 2 + (high + low) / 2
            middle = low[:2] + (np.array(divmod(cell, columns)) + 0.5) * grid.cell
            assert np.abs(place[:2] - middle - np.array([dx, dy]) * grid.cell).max() < 1e-4
            assert np.abs([dx, dy]).max() <= 0.5 + 1e-5
            found.add((*np.round(1000 * place).astype(int).tolist(), round(1000 * float(light))))
    return found


@given(st.integers(0, 1000), st.integers(0, 120))
def test_slots_hold_all_points_of_the_grid(seed: int, count: int) -> None:
    points = cloud(seed, count)
    inside = points[((points[:, :3] >= GRID.low) & (points[:, :3] < GRID.high)).all(1)]
    wanted = np.round(1000 * inside.astype(float)).astype(int)
    found = np.array(sorted(told(group(points, GRID), GRID))).reshape(-1, 4)
    assert len(found) == len(wanted)
    for column in range(4):  # a millimeter is rounded either way
        assert np.abs(np.sort(found[:, column]) - np.sort(wanted[:, column])).max(initial=0) <= 1
    mixed = group(np.random.default_rng(1).permutation(points), GRID)
    assert np.allclose(np.sort(mixed[FEATURES, :, 0]), np.sort(group(points, GRID)[FEATURES, :, 0]))


def test_what_is_too_much_is_thinned_and_the_near_stays() -> None:
    one = np.tile(np.array([[4.5, 0.5, 0, 0.1]], np.float32), (500, 1))
    frames = group(one + np.linspace(0, 0.4, 500, dtype=np.float32)[:, None] * (1, 0, 0, 0), GRID)
    assert (frames[FEATURES, :, 0] < 256).sum() == MOST
    assert np.ptp(frames[0, :MOST]) * 8 > 0.35  # from all of its length
    few = GRID.model_copy(update={"slots": 10})
    frames = group(cloud(0, 2000), few)
    rows = frames[FEATURES, :, 0] // 16
    assert rows.max() < 256 // 16 and rows.mean() < 5  # what is near


@st.composite
def streets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Boxes far from each other."""
    places = draw(st.lists(st.sampled_from([(x, y) for x in (2, 8, 14) for y in (-6, 0, 6)]), unique=True, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    boxes = [
        [x + rng.uniform(-1, 1), y + rng.uniform(-1, 1), rng.uniform(-1, 1), *rng.uniform(0.4, 3, 3), rng.uniform(-3, 3)]
        for x, y in places
    ]
    return np.array(boxes, float).reshape(-1, 7), rng.integers(0, 2, len(boxes))


@given(streets(), st.sampled_from([1, 2]))
def test_maps_lead_back_to_boxes(given: tuple[np.ndarray, np.ndarray], stride: int) -> None:
    boxes, labels = given
    cells = Cells.of(GRID, stride)
    maps = encode(boxes, labels, np.zeros(len(boxes), bool), 2, cells)
    assert (maps.heat == 1).sum() == len(boxes) and maps.counts.all()
    found = decode(np.where(maps.heat == 1, 4.0, -9.0) + maps.heat, maps.values, cells, 0.5)
    order, other = (np.lexsort(each[:, 1::-1].round(3).T) for each in (boxes, found.boxes))
    assert np.allclose(found.boxes[other], boxes[order], atol=1e-4) and (found.labels[other] == labels[order]).all()


def test_what_looks_alike_does_not_count() -> None:
    boxes = np.array([[4.2, 0.3, 0, 4, 2, 1.5, 0.3], [12, 4, 0, 4, 2, 1.5, 0]])
    maps = encode(boxes, np.array([0, 0]), np.array([True, False]), 2, Cells.of(GRID, 1))
    assert maps.heat[0, 4, 8] == 0 and maps.counts[0, 4, 8] == 0 and maps.weights[4, 8] == 0
    assert maps.counts[1].all() and maps.heat[0, 12, 12] == 1


def test_one_object_has_one_name() -> None:
    boxes, cells = np.array([[4.2, 0.3, 0, 2, 2, 1.5, 0.3]]), Cells.of(GRID, 1)
    maps = encode(boxes, np.array([0]), np.array([False]), 2, cells)
    heat = np.where(maps.heat[0] == 1, np.array([1.0, 2.0])[:, None, None], -9)
    found = decode(heat, maps.values, cells, 0.5)
    assert found.labels.tolist() == [1] and found.scores[0] == pytest.approx(1 / (1 + np.exp(-2)))
