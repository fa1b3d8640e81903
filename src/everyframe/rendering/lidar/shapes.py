"""What rays meet. A shape is turned about z alone; all of an object stand in its own coordinates (x ahead, z up from the ground)
until `placed` puts them where the lidar sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Shape:
    """kind: box, cylinder (upright) or ellipsoid. center: (3,) meters. half: (3,) half of its sides. yaw: about z. bright: share
    of the light that it reflects. open: share of the rays that pass, as through leaves, spokes and windows.
    """

    kind: str
    center: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float = 0.0
    bright: float = 0.4
    open: float = 0.0

    @property
    def reach(self) -> float:
        """Half its diagonal on the ground."""
        return float(np.hypot(self.half[0], self.half[1]))


def box(low: Sequence[float], high: Sequence[float], bright: float = 0.4, open: float = 0.0) -> Shape:
    center, half = ((np.array(high) + sign * np.array(low)) / 2 for sign in (1, -1))
    return Shape("box", tuple(center.tolist()), tuple(half.tolist()), 0.0, bright, open)


def upright(x: float, y: float, radius: float, low: float, high: float, bright: float = 0.4) -> Shape:
    return Shape("cylinder", (x, y, (low + high) / 2), (radius, radius, (high - low) / 2), 0.0, bright)


def ellipsoid(
    center: tuple[float, float, float], half: tuple[float, float, float], bright: float = 0.4, open: float = 0.0
) -> Shape:
    return Shape("ellipsoid", center, half, 0.0, bright, open)


def extent(shapes: Sequence[Shape]) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) corners (3,) of the upright box around shapes that are not turned."""
    centers, halves = (np.array([getattr(shape, name) for shape in shapes]) for name in ("center", "half"))
    return (centers - halves).min(0), (centers + halves).max(0)


def placed(shape: Shape, x: float, y: float, z: float, yaw: float) -> Shape:
    cos, sin = np.cos(yaw), np.sin(yaw)
    cx, cy, cz = shape.center
    return replace(shape, center=(x + cx * cos - cy * sin, y + cx * sin + cy * cos, z + cz), yaw=shape.yaw + yaw)


def met(shape: Shape, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays from the origin meet a shape from outside: rays (3, ...), of length 1 -> (distances, infinite where they do not;
    how squarely they meet it, 0..1).
    """
    cos, sin = float(np.cos(shape.yaw)), float(np.sin(shape.yaw))
    turn = lambda x, y, z: (x * cos + y * sin, y * cos - x * sin, z)  # noqa: E731
    begin = tuple(-value for value in turn(*shape.center))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _KINDS[shape.kind](turn(*rays), begin, shape.half)


Ray = tuple[np.ndarray, np.ndarray, np.ndarray]
Three = tuple[float, float, float]


def _box(ray: Ray, begin: Three, half: Three) -> tuple[np.ndarray, np.ndarray]:
    first = np.full(ray[0].shape, -np.inf, ray[0].dtype)
    last, squarely = -first, np.zeros_like(first)
    for way, at, side in zip(ray, begin, half, strict=True):
        middle, wide = -at / way, np.abs(side / way)
        near, far = middle - wide, middle + wide
        squarely = np.where(near > first, np.abs(way), squarely)
        first, last = np.maximum(first, near), np.minimum(last, far)
    return np.where((first <= last) & (first > 0), first, np.inf), squarely


def _ellipsoid(ray: Ray, begin: Three, half: Three) -> tuple[np.ndarray, np.ndarray]:
    return _quadric(ray, begin, tuple(1 / side for side in half))


def _cylinder(ray: Ray, begin: Three, half: Three) -> tuple[np.ndarray, np.ndarray]:
    """Its side, and its top seen from above."""
    side, squarely = _quadric(ray, begin, (1 / half[0], 1 / half[1], 0.0))
    height = begin[2] + np.where(np.isfinite(side), side, 0) * ray[2]
    side = np.where(np.abs(height) <= half[2], side, np.inf)
    if begin[2] <= half[2]:
        return side, squarely
    top = (half[2] - begin[2]) / ray[2]
    out = sum(((begin[axis] + top * ray[axis]) / half[axis]) ** 2 for axis in (0, 1))
    top = np.where((out <= 1) & (top > 0), top, np.inf)
    return np.minimum(side, top), np.where(top < side, np.abs(ray[2]), squarely)


def _quadric(ray: Ray, begin: Three, per: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """|(begin + t * ray) * per| = 1: what becomes a unit ball, or an upright cylinder, where it is stretched by `per`."""
    a = sum((way * each) ** 2 for way, each in zip(ray, per, strict=True))
    b = sum(way * (at * each**2) for way, at, each in zip(ray, begin, per, strict=True))
    c = sum((at * each) ** 2 for at, each in zip(begin, per, strict=True)) - 1
    inside = b**2 - a * c
    t = (-b - np.sqrt(inside)) / a
    t = np.where((inside >= 0) & (t > 0), t, np.inf)
    at = np.where(np.isfinite(t), t, 0)
    normal = [(start + at * way) * each**2 for way, start, each in zip(ray, begin, per, strict=True)]
    across = sum(one * way for one, way in zip(normal, ray, strict=True))
    length = np.sqrt(sum(one**2 for one in normal))
    return t, np.abs(across) / np.maximum(length, 1e-9)


_KINDS = {"box": _box, "cylinder": _cylinder, "ellipsoid": _ellipsoid}
