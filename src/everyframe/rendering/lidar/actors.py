"""Objects that are labeled, of shapes: their sizes are about those in KITTI, and their box is what is around their shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from everyframe.rendering.lidar.shapes import Shape, box, ellipsoid, extent, placed, upright

GLASS, DARK = 0.75, 0.05


@dataclass
class Actor:
    """name: KITTI's class. shapes: in its own coordinates, the middle of their extent above the origin. x, y, yaw: where it
    stands in the street. speed: meters a second, ahead; turn: radians a second. low, high: of the upright box around it.
    """

    name: str
    shapes: list[Shape]
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    speed: float = 0.0
    turn: float = 0.0
    low: np.ndarray = field(default_factory=lambda: np.zeros(3))
    high: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        low, high = extent(self.shapes)
        middle = (low + high) / 2
        self.shapes = [placed(shape, -middle[0], -middle[1], 0, 0) for shape in self.shapes]
        self.low, self.high = low - middle * (1, 1, 0), high - middle * (1, 1, 0)

    @property
    def size(self) -> np.ndarray:
        """length, width, height."""
        return self.high - self.low

    @property
    def reach(self) -> float:
        return float(np.hypot(self.size[0], self.size[1])) / 2

    def move(self, seconds: float) -> None:
        self.yaw += self.turn * seconds
        self.x += self.speed * seconds * np.cos(self.yaw)
        self.y += self.speed * seconds * np.sin(self.yaw)


def car(rng: np.random.Generator) -> Actor:
    """A body, shoulders, windows and a roof, each shorter than what is below; wheels."""
    length, width, height = (float(np.clip(rng.normal(*each), 0.7 * each[0], 1.4 * each[0])) for each in
                             ((3.95, 0.42), (1.64, 0.09), (1.52, 0.12)))  # fmt: skip
    paint, floor = float(rng.uniform(0.08, 0.75)), 0.22
    back, tail = float(rng.uniform(-0.08, 0.02)) * length, float(rng.uniform(0.28, 0.5)) * length
    belt, top = rng.uniform(0.52, 0.62) * height, 0.86 * height
    half, hood = width / 2, rng.uniform(0.24, 0.34) * length
    shapes = [
        box((-length / 2, -half, floor), (length / 2, half, belt - 0.1), paint),
        box((-length / 2 + 0.06, -0.97 * half, belt - 0.1), (length / 2 - 0.16, 0.97 * half, belt), paint),
        box((back - tail, -0.93 * half, belt), (length / 2 - hood, 0.93 * half, (belt + top) / 2), 0.1, GLASS),
        box((back - 0.92 * tail, -0.88 * half, (belt + top) / 2), (length / 2 - hood - 0.25, 0.88 * half, top), 0.1, GLASS),
        box((back - 0.85 * tail, -0.83 * half, top), (length / 2 - hood - 0.45, 0.83 * half, height), paint),
        *_wheels(length, half, 0.31),
    ]
    return Actor("Car", shapes)


def van(rng: np.random.Generator) -> Actor:
    length, width, height = rng.normal(5.1, 0.3), rng.normal(1.92, 0.06), rng.normal(2.2, 0.2)
    half, paint = width / 2, float(rng.uniform(0.1, 0.8))
    shapes = [
        box((-length / 2, -half, 0.25), (length / 2, half, 0.5 * height), paint),
        box((-length / 2, -0.97 * half, 0.5 * height), (0.38 * length, 0.97 * half, 0.75 * height), paint, 0.3),
        box((-length / 2, -0.94 * half, 0.75 * height), (0.28 * length, 0.94 * half, height), paint),
        *_wheels(length, half, 0.33),
    ]
    return Actor("Van", shapes)


def truck(rng: np.random.Generator) -> Actor:
    length, height, half, paint = rng.uniform(6.5, 12), rng.uniform(2.8, 3.6), 1.25, float(rng.uniform(0.2, 0.8))
    cab = length / 2 - 2.0
    shapes = [
        box((-length / 2, -half, 1.0), (cab - 0.4, half, height), paint),
        box((cab, -0.95 * half, 0.45), (length / 2, 0.95 * half, 0.85 * height), paint),
        *_wheels(length, half, 0.5),
    ]
    return Actor("Truck", shapes)


def pedestrian(rng: np.random.Generator) -> Actor:
    height, wide = rng.normal(1.74, 0.09), rng.uniform(0.19, 0.27)
    stride, clothes = rng.uniform(0.0, 0.32), rng.uniform(0.1, 0.6, 2)
    shapes = [
        *(upright(sign * stride, sign * 0.09, 0.08, 0.0, 0.48 * height, clothes[0]) for sign in (1, -1)),
        *_torso(0.0, 0.46 * height, height, wide, clothes[1]),
        *(upright(-sign * 0.8 * stride, sign * (wide + 0.06), 0.05, 0.44 * height, 0.8 * height, clothes[1]) for sign in (1, -1)),
    ]
    if rng.random() < 0.25:  # a bag
        shapes.append(box((-0.28, -0.3, 0.35), (0.05, -0.2, 0.75), 0.3))
    return Actor("Pedestrian", shapes, speed=float(rng.uniform(0.6, 1.7)) if stride > 0.08 else 0.0)


def sitting(rng: np.random.Generator) -> Actor:
    wide, clothes = rng.uniform(0.2, 0.26), rng.uniform(0.1, 0.6)
    shapes = [
        box((-0.1, -wide, 0.35), (0.45, wide, 0.55), clothes),
        *(upright(0.4, sign * 0.12, 0.07, 0.0, 0.45, clothes) for sign in (1, -1)),
        *_torso(-0.05, 0.5, 1.3, wide, clothes),
    ]
    return Actor("Person_sitting", shapes)


def cyclist(rng: np.random.Generator) -> Actor:
    """Two wheels with spokes, a frame, a bar, and somebody who leans forward."""
    height, wheel, base = rng.normal(1.72, 0.07), rng.uniform(0.32, 0.36), rng.uniform(0.5, 0.56)
    clothes, lean = rng.uniform(0.1, 0.6), rng.uniform(0.02, 0.3)
    shapes = [
        *(box((x - wheel, -0.03, 0.0), (x + wheel, 0.03, 2 * wheel), 0.3, 0.65) for x in (-base, base)),
        box((-0.3, -0.04, 0.45), (0.4, 0.04, 0.85), 0.4, 0.5),
        box((0.38, -0.27, 0.98), (0.46, 0.27, 1.04), 0.4),
        *(upright(0.05 + sign * 0.12, sign * 0.1, 0.08, 0.3, 0.95, clothes) for sign in (1, -1)),
        *_torso(lean, 0.85, height, 0.22, clothes),
        *(box((lean, sign * 0.2 - 0.05, 1.02), (0.42, sign * 0.2 + 0.05, 1.15), clothes) for sign in (1, -1)),
    ]
    return Actor("Cyclist", shapes, speed=float(rng.uniform(2.5, 6.5)))


def _torso(x: float, low: float, height: float, wide: float, clothes: float) -> list[Shape]:
    top = height - 0.26
    return [
        ellipsoid((x, 0, (low + top) / 2), (0.15, wide, (top - low) / 2 + 0.05), clothes),
        ellipsoid((x + 0.02, 0, height - 0.13), (0.1, 0.09, 0.13), 0.35),
    ]


def _wheels(length: float, half: float, radius: float) -> list[Shape]:
    return [
        box((x - radius, y - 0.1, 0.0), (x + radius, y + 0.1, 2 * radius), DARK)
        for x in (-0.31 * length, 0.31 * length)
        for y in (-half + 0.1, half - 0.1)
    ]


#: what can stand in a street: how it is made
ACTORS: dict[str, Callable[[np.random.Generator], Actor]] = {
    "Car": car, "Van": van, "Truck": truck, "Pedestrian": pedestrian, "Person_sitting": sitting, "Cyclist": cyclist,
}  # fmt: skip
