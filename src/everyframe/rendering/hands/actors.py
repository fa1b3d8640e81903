"""Hands, arms and people, drawn as signed distances to tapered capsules: any size, anti-aliased, all frames at once.

Legend: n frames, H W pixels. Grids x, y are (n | 1, H, W) in frame heights; joints are (n, 2).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from everyframe.rendering.backgrounds import clouds, sample, stripes

# unit hand, wrist at the origin, fingers up (+v), thumb at +u: base (u, v), length, outward angle, radius
FINGERS = (
    (-0.34, 0.84, 0.62, -0.20, 0.095),  # little
    (-0.12, 0.92, 0.86, -0.06, 0.11),
    (0.11, 0.94, 0.94, 0.05, 0.115),
    (0.33, 0.88, 0.84, 0.16, 0.11),  # index
    (0.36, 0.30, 0.62, 0.75, 0.13),  # thumb
)
PALM = (((-0.14, 0.18), (-0.19, 0.72), 0.25, 0.25), ((0.12, 0.18), (0.17, 0.74), 0.25, 0.25))
# which fingers are out: little, ring, middle, index, thumb
SHAPES = {
    "open": (1, 1, 1, 1, 1),
    "vee": (0, 0, 1, 1, 0),
    "index": (0, 0, 0, 1, 0),
    "flat": (1, 1, 1, 1, 0),
    "fist": (0, 0, 0, 0, 0.4),
}


Radius = float | np.ndarray


def capsule(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, ra: Radius, rb: Radius) -> np.ndarray:
    """(n, H, W) signed distance to a capsule from a to b (each (n, 2)) with end radii ra, rb (a number or (n,));
    negative inside.
    """
    ra, rb = (np.reshape(r, (-1, 1, 1)).astype(np.float32) for r in (ra, rb))
    ax, ay = (a[:, i, None, None].astype(np.float32) for i in (0, 1))
    dx, dy = (b[:, i, None, None].astype(np.float32) - c for i, c in ((0, ax), (1, ay)))
    px, py = x - ax, y - ay
    h = px * dx
    h += py * dy
    h /= dx * dx + dy * dy + 1e-9
    np.clip(h, 0, 1, out=h)
    px = px - h * dx
    py = py - h * dy
    px *= px
    py *= py
    px += py
    np.sqrt(px, out=px)
    h *= rb - ra
    px -= h
    px -= ra
    return px


def over(canvas: np.ndarray, distance: np.ndarray, color: np.ndarray | float, softness: float) -> None:
    """Paints where distance < 0 onto the canvas, in place; softness: width of the edge."""
    alpha = np.clip(0.5 - distance / np.float32(softness), 0, 1)
    canvas += alpha * (color - canvas)


@dataclass
class Look:
    """How one hand and arm look; drawn once a stream."""

    skin: float = 0.6
    sleeve: float = 0.3
    bare: bool = False
    edge: float = 0.35  # how much darker towards the outline
    shape: str = "open"
    spread: float = 1.0
    narrow: float = 1.0  # foreshortening across the palm: 1 faces the camera
    left: bool = False
    stick: float = 0.0  # > 0: bones of that radius instead of flesh, no arm
    arm: bool = True
    texture: np.ndarray | None = None
    light: float = 0.0

    @classmethod
    def random(cls, rng: np.random.Generator) -> Look:
        return cls(
            skin=rng.uniform(0.15, 0.95),
            sleeve=rng.uniform(0.02, 0.95),
            bare=rng.random() < 0.3,
            edge=rng.uniform(0.05, 0.6),
            shape=str(rng.choice(list(SHAPES), p=[0.45, 0.16, 0.15, 0.14, 0.10])),
            spread=rng.uniform(0.2, 1.6),
            narrow=rng.uniform(0.35, 1.0),
            left=rng.random() < 0.5,
            light=rng.normal(0, 0.3),
            texture=(stripes if rng.random() < 0.3 else clouds)(rng, (36, 48)) if rng.random() < 0.4 else None,
        )


def hand(
    x: np.ndarray, y: np.ndarray, look: Look, at: np.ndarray, forward: np.ndarray, size: np.ndarray, curl: np.ndarray,
    roll: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """(n, H, W) distance to a hand whose palm center is `at`, pointing `forward` (n, 2), which is shorter than 1 where it is
    foreshortened; `size` (n,): frame heights of its palm; turned by `roll` (n,) radians about the forearm.
    """
    across = forward / (np.hypot(forward[:, 0], forward[:, 1])[:, None] + 1e-6)
    wide = look.narrow * np.cos(roll) * (-1 if look.left else 1)
    side = np.stack([-across[:, 1], across[:, 0]], 1) * wide[:, None]
    wrist = at - 0.5 * size[:, None] * forward

    def place(u: np.ndarray | float, v: np.ndarray | float) -> np.ndarray:
        return wrist + size[:, None] * (np.reshape(u, (-1, 1)) * side + np.reshape(v, (-1, 1)) * forward)

    parts: list[np.ndarray] = []
    for (base_u, base_v, length, angle, radius), out in zip(FINGERS, SHAPES[look.shape], strict=True):
        stretch = length * np.maximum(0.22, out * (1 - 0.8 * curl))
        lean = angle * look.spread
        base = place(base_u, base_v)
        tip = place(base_u + np.sin(lean) * stretch, base_v + np.cos(lean) * stretch)
        thick = (look.stick or radius) * size
        parts.append(capsule(x, y, base, tip, thick, thick * (1.0 if look.stick else 0.8)))
        if look.stick:
            parts.append(capsule(x, y, wrist, base, thick * 0.8, thick * 0.8))
    if not look.stick:
        parts += [capsule(x, y, place(*a), place(*b), ra * size, rb * size) for a, b, ra, rb in PALM]
    distance = parts[0]
    for part in parts[1:]:
        np.minimum(distance, part, out=distance)
    return distance


def limb(
    x: np.ndarray, y: np.ndarray, at: np.ndarray, forward: np.ndarray, size: np.ndarray, anchor: np.ndarray, bend: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the forearm and to the upper arm that carry a hand; anchor: the shoulder, (n, 2)."""
    wrist = at - 0.42 * size[:, None] * forward
    way = anchor - wrist
    reach = np.hypot(way[:, 0], way[:, 1])[:, None] + 1e-6
    elbow = wrist + way * 0.55 + bend * 0.25 * np.minimum(reach, 3 * size[:, None]) * np.stack([-way[:, 1], way[:, 0]], 1) / reach
    return capsule(x, y, wrist, elbow, 0.23 * size, 0.38 * size), capsule(x, y, elbow, anchor, 0.38 * size, 0.5 * size)


@dataclass
class Person:
    """Somebody in the picture: head, hair, face, neck, shoulders, trunk. `at` is the chin, size the head's height."""

    at: np.ndarray  # (n, 2)
    size: float
    turn: np.ndarray  # (n,) -1..1, where the face points
    tones: np.ndarray = field(default_factory=lambda: np.full(4, 0.5))  # skin, hair, clothes, eyes
    cloth: np.ndarray | None = None
    gait: np.ndarray | float = 0.0  # (n,) -1..1, how far one leg is before the other

    def shoulder(self, side: float) -> np.ndarray:
        return self.at + np.array([side * 0.85, 0.75]) * self.size

    def part(self, frames: slice) -> Person:
        """The same person in some of the frames."""
        gait = self.gait[frames] if isinstance(self.gait, np.ndarray) else self.gait
        return replace(self, at=self.at[frames], turn=self.turn[frames], gait=gait)

    def paint(self, canvas: np.ndarray, x: np.ndarray, y: np.ndarray, softness: float) -> None:
        """Draws over the canvas, (n, H, W), in place."""
        s, at = self.size, self.at
        skin, hair, clothes, eyes = self.tones
        spot = lambda u, v: at + s * np.stack([np.broadcast_to(u, len(at)), np.broadcast_to(v, len(at))], 1)  # noqa: E731
        trunk = capsule(x, y, spot(0, 0.85), spot(0, 3.2), 0.62 * s, 0.8 * s)
        if s < 0.16:  # stands
            for leg in (-0.4, 0.4):
                foot = spot(1.2 * leg + 2 * leg * np.asarray(self.gait), 6.5)
                np.minimum(trunk, capsule(x, y, spot(leg, 3.2), foot, 0.4 * s, 0.25 * s), out=trunk)
        np.minimum(trunk, capsule(x, y, spot(-0.75, 0.62), spot(0.75, 0.62), 0.26 * s, 0.26 * s), out=trunk)
        color: np.ndarray | float = clothes
        if self.cloth is not None:
            move = at[:, :, None, None].astype(np.float32)
            color = clothes * 0.6 + 0.4 * sample(self.cloth, x - move[:, 0], y - move[:, 1], 4 * s)
        over(canvas, trunk, color, softness)
        reach = s * np.array([0.6, 1.3]) + softness
        low, high = at.min(0) - reach, at.max(0) + s * np.array([0.6, 0.8]) + softness
        columns = np.flatnonzero(((x > low[0]) & (x < high[0])).any((0, 1)))
        rows = np.flatnonzero(((y > low[1]) & (y < high[1])).any((0, 2)))
        if not len(columns) or not len(rows):
            return
        box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))  # what is drawn of neck and head
        canvas, x, y = canvas[box], x[box], y[box]
        over(canvas, capsule(x, y, spot(0, -0.2), spot(0, 0.45), 0.22 * s, 0.26 * s), skin * 0.85, softness)
        over(canvas, capsule(x, y, spot(0, -0.66), spot(0, -0.60), 0.47 * s, 0.46 * s), hair, softness)
        face = self.turn * 0.2
        head = capsule(x, y, spot(face * 0.5, -0.52), spot(face * 0.5, -0.28), 0.38 * s, 0.32 * s)
        over(canvas, head, skin * np.clip(1 + head / s, 0.6, 1), softness)
        for u, v, width in ((-0.15, -0.48, 0.05), (0.15, -0.48, 0.05), (0.0, -0.14, 0.04)):
            part = capsule(x, y, spot(u + face - width, v), spot(u + face + width, v), 0.04 * s, 0.04 * s)
            over(canvas, part, eyes, softness)
