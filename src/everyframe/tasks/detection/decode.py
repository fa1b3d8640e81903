"""Boxes as maps, and maps as boxes: what the network is taught, and how its answer is read.

A map's cell answers for objects whose middle it holds, or stands beside (CenterPoint, Yin et al., 2021, arXiv:2006.11275): where
the middle is, how high, log of length, width and height, and the heading as sine and cosine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everyframe.data.scans.overlap import without_doubles
from everyframe.modelfile.schema import Grid

#: maps of a box: x and y from the cell's middle in cells, z from the grid's middle in meters, log sides (3), sine, cosine
VALUES = 8
#: candidates of a scan, and how much two boxes of one class, and of any two, may share on the ground
CANDIDATES, SHARED, SHARED_BY_ANY = 200, 0.15, 0.5


@dataclass(frozen=True)
class Found:
    """boxes: (n, 7) in the lidar's coordinates. labels: (n,) numbers of classes. scores: (n,) of 0..1, best first."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Cells:
    """The cells of a map. low: (2,) where the first begins; cell: its side; middle: height that z counts from."""

    low: tuple[float, float]
    cell: float
    shape: tuple[int, int]
    middle: float

    @classmethod
    def of(cls, grid: Grid, stride: int) -> Cells:
        """stride: cells of the grid that one of the map's is wide."""
        rows, columns = grid.cells
        return cls(
            (grid.low[0], grid.low[1]), grid.cell * stride, (rows // stride, columns // stride), (grid.low[2] + grid.high[2]) / 2
        )

    def at(self, boxes: np.ndarray) -> np.ndarray:
        """(n, 2) places of boxes' middles, in cells."""
        return (boxes[:, :2] - np.array(self.low)) / self.cell


def boxes_of(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, cells: Cells) -> np.ndarray:
    """(8, H, W) at cells -> (n, 7)."""
    dx, dy, z, length, width, height, sin, cos = values[:, rows, columns].astype(np.float64)
    x = cells.low[0] + (rows + 0.5 + dx) * cells.cell
    y = cells.low[1] + (columns + 0.5 + dy) * cells.cell
    sides = np.exp(np.clip([length, width, height], -4, 4))
    return np.stack([x, y, z + cells.middle, *sides, np.arctan2(sin, cos)], 1)


def decode(heat: np.ndarray, values: np.ndarray, cells: Cells, threshold: float = 0.1) -> Found:
    """heat: (classes, H, W) logits; values: (8, H, W). Peaks of at least `threshold`, without doubles."""
    scores = 1 / (1 + np.exp(-np.clip(heat.astype(np.float64), -30, 30)))
    padded = np.pad(scores, ((0, 0), (1, 1), (1, 1)))
    rows, columns = heat.shape[1:]
    around = np.max([padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)], 0)
    label, row, column = np.nonzero((scores >= around) & (scores >= threshold))
    found = scores[label, row, column]
    best = np.argsort(-found, kind="stable")[:CANDIDATES]
    label, found = label[best], found[best]
    boxes = boxes_of(values, row[best], column[best], cells)
    stay = np.zeros(len(found), bool)
    for number in np.unique(label):
        own = np.flatnonzero(label == number)
        stay[own[without_doubles(boxes[own], found[own], SHARED)]] = True
    boxes, label, found = boxes[stay], label[stay], found[stay]
    one = np.sort(without_doubles(boxes, found, SHARED_BY_ANY))  # what is here twice is one object of two names
    return Found(boxes[one], label[one], found[one])


@dataclass(frozen=True)
class Maps:
    """heat: (classes, H, W) of 0..1, 1 in the cell of a middle. counts: (classes, H, W), 0 where it does not count what is said.
    values: (8, H, W); weights: (H, W), how much they count.
    """

    heat: np.ndarray
    counts: np.ndarray
    values: np.ndarray
    weights: np.ndarray


def encode(boxes: np.ndarray, labels: np.ndarray, ignored: np.ndarray, classes: int, cells: Cells) -> Maps:
    """boxes: (n, 7); labels: (n,) numbers of classes; ignored: (n,) of bool, objects that may be found or not."""
    heat = np.zeros((classes, *cells.shape), np.float32)
    counts = np.ones_like(heat)
    values = np.zeros((VALUES, *cells.shape), np.float32)
    weights = np.zeros(cells.shape, np.float32)
    for box, place, label, free in zip(boxes, cells.at(boxes), labels, ignored, strict=True):
        wide = float(np.clip(0.2 * np.sqrt(box[3] * box[4]) / cells.cell, 0.7, 2.0))
        reach = int(np.ceil(3 * wide)) + 1
        middle = np.floor(place).astype(int)
        if (middle < 0).any() or (middle >= cells.shape).any():
            continue
        low, high = np.maximum(middle - reach, 0), np.minimum(middle + reach + 1, cells.shape)
        rows, columns = np.ogrid[low[0] : high[0], low[1] : high[1]]
        off = place[0] - rows - 0.5, place[1] - columns - 0.5
        bump = np.exp(-(off[0] ** 2 + off[1] ** 2) / (2 * wide**2)).astype(np.float32)
        part = slice(low[0], high[0]), slice(low[1], high[1])
        if free:
            counts[label][part] = np.where(bump > 0.1, 0, counts[label][part])
            continue
        bump[tuple(middle - low)] = 1
        heat[label][part] = np.maximum(heat[label][part], bump)
        mine = (bump > 0.3) & (bump > weights[part])
        weights[part] = np.where(mine, bump, weights[part])
        fixed = (box[2] - cells.middle, *np.log(box[3:6]), np.sin(box[6]), np.cos(box[6]))
        for number, value in enumerate((*off, *fixed)):
            values[number][part] = np.where(mine, value, values[number][part])
    counts = np.where(heat == 1, 1, counts)
    return Maps(heat, counts.astype(np.float32), values, weights)
