"""A face, drawn as signed distances, anti-aliased, all frames at once. It turns: what lies on it moves as on a ball.

Legend: n frames, H W pixels. Grids x, y are (H, W) in frame heights; everything else (n,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from everyframe.rendering.drivers.acts import Pose

TURN, BOW = 0.85, 0.6  # radians of yaw 1, of pitch 1
Radius = float | np.floating | np.ndarray
GLASSES = ("none", "clear", "sun")


@dataclass
class Look:
    """Of one driver; grays in 0 .. 1."""

    skin: float
    hair: float
    iris: float
    lips: float
    size: float  # half the head's height, frame heights
    slim: float  # width by height
    eyes: float  # half an eye's width, of the head's size
    brows: float
    beard: float
    glasses: str
    frame: float  # gray of the frame of glasses
    long_hair: bool
    cap: bool
    light: float  # from the side, -1 .. 1
    shirt: float

    @classmethod
    def random(cls, rng: np.random.Generator, glasses: str) -> Look:
        skin = rng.uniform(0.25, 0.9)
        return cls(
            skin=skin, hair=float(rng.choice([rng.uniform(0.02, 0.25), rng.uniform(0.02, 0.9)])),
            iris=rng.uniform(0.02, 0.35) * skin, lips=skin * rng.uniform(0.55, 0.9),
            size=rng.uniform(0.2, 0.36), slim=rng.uniform(0.66, 0.84), eyes=rng.uniform(0.16, 0.22),
            brows=rng.uniform(0.2, 1.0), beard=float(rng.choice([0.0, rng.uniform(0.1, 0.7)], p=[0.7, 0.3])), glasses=glasses,
            frame=float(rng.choice([0.05, rng.uniform(0, 0.9)])), long_hair=rng.random() < 0.35, cap=rng.random() < 0.12,
            light=rng.normal(0, 0.35), shirt=rng.uniform(0.03, 0.9),
        )  # fmt: skip


def ellipse(x: np.ndarray, y: np.ndarray, rx: Radius, ry: Radius) -> np.ndarray:
    """About the distance to an ellipse around the origin; negative inside."""
    distance: np.ndarray = (np.sqrt((x / rx) ** 2 + (y / ry) ** 2) - 1) * np.minimum(rx, ry)
    return distance


class Painter:
    """Paints onto a canvas (n, H, W) in place, in boxes around what is painted."""

    def __init__(self, canvas: np.ndarray, x: np.ndarray, y: np.ndarray, softness: float) -> None:
        self.canvas, self.x, self.y, self.softness = canvas, x, y, np.float32(softness)

    def shape(
        self, at: tuple[np.ndarray, np.ndarray], reach: float, distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
        gray: float | Callable[[np.ndarray, np.ndarray], np.ndarray], opacity: float | np.ndarray = 1.0,
    ) -> None:  # fmt: skip
        """distance, gray: of places (n, h, w) relative to `at`, which are painted as far as `reach`."""
        cx, cy = (each.astype(np.float32)[:, None, None] for each in at)
        columns = np.flatnonzero((self.x[0] > cx.min() - reach) & (self.x[0] < cx.max() + reach))
        rows = np.flatnonzero((self.y[:, 0] > cy.min() - reach) & (self.y[:, 0] < cy.max() + reach))
        if not len(columns) or not len(rows):
            return
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        x, y = self.x[box][None] - cx, self.y[box][None] - cy
        alpha = np.clip(0.5 - distance(x, y) / self.softness, 0, 1) * np.reshape(opacity, (-1, 1, 1)).astype(np.float32)
        part = self.canvas[(slice(None), *box)]
        part += alpha * ((gray(x, y) if callable(gray) else np.float32(gray)) - part)


def paint(painter: Painter, look: Look, pose: Pose) -> None:
    """Shoulders, head, hair, eyes, mouth, glasses."""
    s, yaw, pitch = look.size, pose.yaw * TURN, pose.pitch * BOW
    rx, ry = np.float32(s * look.slim), np.float32(s)

    def on(a: float, b: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Place of a point of the head, a to the right and b down in radians, and the share of its width that is seen."""
        return pose.x + rx * np.sin(a + yaw) * np.cos(b), pose.y + ry * np.sin(b + pitch), np.clip(np.cos(a + yaw), 0, 1)

    def wide(values: np.ndarray) -> np.ndarray:
        return np.maximum(values, 1e-3).astype(np.float32)[:, None, None]

    head = (pose.x, pose.y)
    body = (0.4 * pose.x, 0.3 * pose.y + 1.75 * s)
    painter.shape(body, 3 * s, lambda x, y: ellipse(x, y, np.float32(1.9 * s), np.float32(0.95 * s)), look.shirt)
    neck, thick, tall = (0.7 * pose.x, 0.6 * pose.y + 0.95 * s), np.float32(0.36 * s), np.float32(0.5 * s)
    painter.shape(neck, 1.2 * s, lambda x, y: np.maximum(np.abs(x) - thick, np.abs(y) - tall), 0.75 * look.skin)
    if look.long_hair:
        painter.shape((pose.x, pose.y + 0.25 * s), 1.8 * s, lambda x, y: ellipse(x, y, 1.2 * rx, 1.15 * ry), look.hair)

    def shade(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        round_ = 1 - 0.45 * np.clip((x / rx) ** 2 + (y / ry) ** 2, 0, 1) ** 2
        return look.skin * round_ * (1 + look.light * x / rx * 0.6)

    painter.shape(head, 1.4 * s, lambda x, y: ellipse(x, y, rx, ry), shade)
    if look.beard:
        bx, by, _ = on(0, 0.75)
        painter.shape((bx, by), 1.2 * s, lambda x, y: ellipse(x, y, 0.72 * rx, 0.42 * ry), look.hair, look.beard)
    hx, hy, _ = on(0, -1.05)
    painter.shape((hx, hy), 1.6 * s, lambda x, y: ellipse(x, y, 1.06 * rx, 0.55 * ry), look.hair)
    if look.cap:
        cx, cy, _ = on(0, -0.75)
        painter.shape((cx, cy), 1.6 * s, lambda x, y: ellipse(x, y, 1.1 * rx, 0.2 * ry), look.frame)
    _nose(painter, look, on)
    for side in (-1, 1):
        _eye(painter, look, pose, on(0.42 * side, -0.18), wide)
        _brow(painter, look, on(0.42 * side, -0.42), wide)
    _mouth(painter, look, pose, on(0, 0.52), wide)
    if look.glasses != "none":
        _glasses(painter, look, [on(0.42 * side, -0.17) for side in (-1, 1)], wide)


Place = tuple[np.ndarray, np.ndarray, np.ndarray]
Wide = Callable[[np.ndarray], np.ndarray]


def _eye(painter: Painter, look: Look, pose: Pose, place: Place, wide: Wide) -> None:
    x, y, seen = place
    half = look.eyes * look.size
    across, high = wide(half * seen), wide(0.55 * half * (1 - pose.lids))
    socket = wide(0.75 * half * np.ones_like(seen))
    here, there = (x, y), np.minimum(1, 4 * seen)
    painter.shape(here, 2 * half, lambda x, y: ellipse(x, y, 1.25 * across, socket), 0.82 * look.skin, 0.6 * there)
    opened = there * (pose.lids < 0.9)
    painter.shape(here, 2 * half, lambda x, y: ellipse(x, y, across, high), min(0.95, look.skin + 0.25), opened)
    iris = (x + 0.25 * half * pose.yaw, y + 0.2 * half * np.clip(pose.pitch, -1, 1))
    painter.shape(
        iris, 2 * half,
        lambda x, y: np.maximum(ellipse(x, y, 0.5 * across, wide(0.5 * half * np.ones_like(seen))),
                                ellipse(x + (iris[0] - place[0]).astype(np.float32)[:, None, None],
                                        y + (iris[1] - place[1]).astype(np.float32)[:, None, None], across, high)),
        look.iris, opened,
    )  # fmt: skip
    lash = (x, y + 0.55 * half * (2 * pose.lids - 1) * 0.8)  # the upper lid's edge comes down
    painter.shape(
        lash,
        2 * half,
        lambda x, y: ellipse(x, y, 1.05 * across, wide(0.09 * half * np.ones_like(seen))),
        0.3 * look.skin,
        0.9 * there,
    )


def _brow(painter: Painter, look: Look, place: Place, wide: Wide) -> None:
    x, y, seen = place
    half = look.eyes * look.size
    painter.shape(
        (x, y), 2 * half, lambda x, y: ellipse(x, y, wide(1.2 * half * seen), wide(0.16 * half * np.ones_like(seen))),
        look.hair, look.brows * np.minimum(1, 4 * seen),
    )  # fmt: skip


def _nose(painter: Painter, look: Look, on: Callable[[float, float], Place]) -> None:
    x, y, _ = on(0, 0.18)
    r = np.float32(0.13 * look.size)
    painter.shape((x, y), 0.5 * look.size, lambda x, y: ellipse(x, y, r, 0.6 * r), 0.72 * look.skin, 0.7)
    x, y, _ = on(0.05, 0.02)
    painter.shape((x, y), 0.5 * look.size, lambda x, y: ellipse(x, y, 0.3 * r, 1.6 * r), min(1.0, 1.12 * look.skin), 0.5)


def _mouth(painter: Painter, look: Look, pose: Pose, place: Place, wide: Wide) -> None:
    x, y, seen = place
    s = look.size
    across, high = wide(0.26 * s * seen * pose.wide), 0.03 * s + 0.24 * s * pose.mouth
    at = (x, y + 0.12 * s * pose.mouth)
    lip = 0.035 * s
    painter.shape(at, 0.6 * s, lambda x, y: ellipse(x, y, across + np.float32(lip), wide(high + lip)), look.lips)
    painter.shape(
        at, 0.6 * s, lambda x, y: ellipse(x, y, across, wide(high)), 0.12 * look.skin, np.clip(4 * pose.mouth + 0.35, 0, 1)
    )


def _glasses(painter: Painter, look: Look, places: list[Place], wide: Wide) -> None:
    s, sun = look.size, look.glasses == "sun"
    (lx, ly, _), (rx, ry, _) = places
    middle = ((lx + rx) / 2, (ly + ry) / 2)
    thin = np.float32(0.02 * s)
    painter.shape(middle, 0.6 * s, lambda x, y: np.maximum(np.abs(x) - np.float32(0.12 * s), np.abs(y) - thin), look.frame)
    for x, y, seen in places:
        across, high = wide(0.38 * s * np.maximum(seen, 0.25)), wide(0.27 * s * np.ones_like(seen))
        if sun:
            painter.shape((x, y), s, partial(ellipse, rx=across, ry=high), lambda x, y: 0.06 + 0.12 * (y < -0.08 * s))
        else:
            painter.shape((x, y), s, partial(_rim, across, high, thin), look.frame)


def _rim(across: np.ndarray, high: np.ndarray, thin: np.floating, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(ellipse(x, y, across, high)) - thin
