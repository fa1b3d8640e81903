"""What of a picture counts, and what must not be seen: polygons, drawn before anything else is done with a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

#: corners (x, y), from 0 to 1: shares of a picture's width and height
Polygon = tuple[tuple[float, float], ...]


class Masks:
    """masks: black, up to the last pixel that they touch. region: what lies outside is cut off as a rectangle, and black within.
    Made anew where the size of the pictures changes.
    """

    def __init__(self, masks: Iterable[Polygon] = (), region: Polygon | None = None) -> None:
        self.masks, self.region = tuple(masks), region
        self._size: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return bool(self.masks or self.region)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, C) uint8 -> the same, masked, cut to the region."""
        if picture.shape[:2] != self._size:
            self._size = (picture.shape[0], picture.shape[1])
            self._draw(*self._size)
        made = picture[self._cut].copy()
        made[self._black] = 0
        return made

    def _draw(self, height: int, width: int) -> None:
        black = np.zeros((height, width), bool)
        self._cut = (slice(0, height), slice(0, width))
        if self.region is not None:
            inside = covered(self.region, height, width)
            black |= ~inside
            self._cut = (_span(np.asarray(inside.any(1))), _span(np.asarray(inside.any(0))))
        for mask in self.masks:
            black |= covered(mask, height, width)
        self._black = black[self._cut]


def _span(there: np.ndarray) -> slice:
    places = np.flatnonzero(there)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, len(there))


def covered(polygon: Polygon, height: int, width: int) -> np.ndarray:
    """(H, W) bool: pixels of which the polygon covers any part. By rows: an edge covers all columns that it crosses within a row;
    between the edges, those are inside whose number of crossings of the row's middle line is odd.
    """
    made = np.zeros((height, width), bool)
    points = [(x * width, y * height) for x, y in polygon]
    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    for row in range(height):
        for line in (row + 1e-6, row + 0.5, row + 1 - 1e-6):
            crossed = sorted(
                x0 + (line - y0) * (x1 - x0) / (y1 - y0) for (x0, y0), (x1, y1) in edges if (y0 <= line) != (y1 <= line)
            )
            for left, right in zip(crossed[::2], crossed[1::2], strict=False):
                made[row, _columns(left, right, width)] = True
        for (x0, y0), (x1, y1) in edges:
            low, high = max(min(y0, y1), row), min(max(y0, y1), row + 1)
            if low < high or (y0 == y1 and row < y0 < row + 1):
                at = [x0 + (line - y0) * (x1 - x0) / (y1 - y0) for line in (low, high)] if y0 != y1 else [x0, x1]
                made[row, _columns(min(at), max(at), width)] = True
    return made


def _columns(left: float, right: float, width: int) -> slice:
    return slice(max(0, math.floor(left + 1e-9)), max(0, min(width, math.ceil(right - 1e-9))))
