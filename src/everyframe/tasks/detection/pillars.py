"""From a scan to what the network takes: points in pillars.

The ground is a grid of cells, and what stands on one is a pillar (PointPillars, Lang et al., 2019, arXiv:1812.05784, section
2.1). A slot holds `points` of one pillar's points; a pillar with more takes several slots, whose features the network unites by
their maximum, so that slots are short and few of them stand half empty. A slot with fewer repeats its first, which changes no
maximum.
"""

from __future__ import annotations

import numpy as np

from everyframe.modelfile.schema import Grid

#: of a point: x, y, z within the grid, reflectance, its distance from the pillar's mean (3) and from its middle (2); and the cell
FEATURES = 9
#: slots of one pillar, at most: of more points, every so many-th is taken
MOST = 4


def shape(grid: Grid) -> tuple[int, int, int]:
    """Of what one scan becomes: (features and cell, slots, points)."""
    return FEATURES + 1, grid.slots, grid.points


def inside(points: np.ndarray, grid: Grid) -> np.ndarray:
    """(n,) of bool: which points stand in the grid."""
    low, high = np.array(grid.low, np.float32), np.array(grid.high, np.float32)
    return np.asarray(((points[:, :3] >= low) & (points[:, :3] < high)).all(1))


def group(points: np.ndarray, grid: Grid) -> np.ndarray:
    """(n, 4) -> (10, slots, points) float32; the last channel is the number of the cell, rows times columns of a slot with
    nothing. Where there are too few slots, what is nearest comes first.
    """
    rows, columns = grid.cells
    made = np.zeros(shape(grid), np.float32)
    made[FEATURES] = rows * columns
    points = points[inside(points, grid)]
    if not len(points):
        return made
    at = ((points[:, :2] - np.array(grid.low[:2], np.float32)) / np.float32(grid.cell)).astype(np.int32)
    at = np.minimum(at, [rows - 1, columns - 1])
    cell = at[:, 0] * columns + at[:, 1]
    order = np.argsort(cell, kind="stable")
    points, cell, at = points[order], cell[order], at[order]
    first = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
    count = np.diff(np.r_[first, len(cell)])
    pillar = np.repeat(np.arange(len(first)), count)
    mean = (np.add.reduceat(points[:, :3].astype(np.float64), first) / count[:, None])[pillar]
    rank = np.arange(len(cell)) - first[pillar]
    room = MOST * grid.points
    crowded = count[pillar] > room  # thinned evenly
    place = np.where(crowded, rank * room // np.maximum(count[pillar], 1), rank)
    new = np.r_[True, (place[1:] != place[:-1]) | (pillar[1:] != pillar[:-1])]
    points, cell, at, mean = points[new], cell[new], at[new], mean[new]
    which, within = place[new] // grid.points, place[new] % grid.points
    slot_first = within == 0
    slot = np.cumsum(slot_first) - 1
    features = _features(points, at, mean, grid)
    total = slot[-1] + 1
    if total > grid.slots:  # first slots of all pillars before second ones, and near ones first
        away = np.linalg.norm(points[slot_first, :2], axis=1)
        kept = np.sort(np.lexsort((away, which[slot_first]))[: grid.slots])
        number = np.full(total, -1)
        number[kept] = np.arange(grid.slots)
        good = number[slot] >= 0
        features, cell, slot, within = features[good], cell[good], number[slot[good]], within[good]
        slot_first = within == 0
    filled = slot[-1] + 1
    begin = features[slot_first]
    made[:FEATURES, :filled] = begin.T[:, :, None]
    made[:FEATURES, slot, within] = features.T
    made[FEATURES, :filled] = cell[slot_first][:, None]
    return made


def _features(points: np.ndarray, at: np.ndarray, mean: np.ndarray, grid: Grid) -> np.ndarray:
    """(n, 9), each about -1..1."""
    low, high = np.array(grid.low), np.array(grid.high)
    middle = low[:2] + (at + 0.5) * grid.cell
    within = (points[:, :3] - (low + high) / 2) / ((high - low) / 2)
    return np.column_stack(
        [
            within, points[:, 3], (points[:, :2] - mean[:, :2]) / grid.cell, points[:, 2] - mean[:, 2],
            (points[:, :2] - middle) / grid.cell,
        ]
    ).astype(np.float32)  # fmt: skip
