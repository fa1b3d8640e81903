"""A street that somebody could drive through: lanes, parked cars, sidewalks, and what stands beside them.

Everything is drawn from one generator. The street runs along x; the car with the lidar drives in its right lane, or over a
parking lot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from everyframe.rendering.lidar.actors import ACTORS, Actor
from everyframe.rendering.lidar.shapes import Shape, box, ellipsoid, placed, upright

#: how far ahead and behind there is anything, in meters
AHEAD, BEHIND = 85.0, 25.0
_GAP = 0.35  # between two objects, at least


@dataclass
class Street:
    """actors: what is labeled. still: what is not. slope: of the ground along x and y. x, y, yaw: of the lidar, over the ground;
    speed, turn: how it drives.
    """

    actors: list[Actor] = field(default_factory=list)
    still: list[Shape] = field(default_factory=list)
    slope: tuple[float, float] = (0.0, 0.0)
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    speed: float = 0.0
    turn: float = 0.0

    def ground(self, x: float, y: float) -> float:
        return self.slope[0] * x + self.slope[1] * y

    def move(self, seconds: float) -> None:
        """Everybody goes on; who would run into somebody ahead waits."""
        for actor in self.actors:
            if actor.speed and not self._blocked(actor):
                actor.move(seconds)
        self.yaw += self.turn * seconds
        if not self._blocked(self):
            self.x += self.speed * seconds * float(np.cos(self.yaw))
            self.y += self.speed * seconds * float(np.sin(self.yaw))

    def _blocked(self, who: Actor | Street) -> bool:
        reach = who.reach if isinstance(who, Actor) else 2.2
        ahead = np.array([np.cos(who.yaw), np.sin(who.yaw)])
        for other in self.actors:
            if other is who:
                continue
            to = np.array([other.x - who.x, other.y - who.y])
            along, aside = to @ ahead, abs(to @ np.array([-ahead[1], ahead[0]]))
            if 0 < along < reach + other.reach + 0.8 and aside < 0.5 * other.size[1] + 0.6:
                return True
        return False


def street(rng: np.random.Generator) -> Street:
    made = Street(slope=(float(rng.normal(0, 0.008)), float(rng.normal(0, 0.008))))
    made.yaw, made.speed = float(rng.normal(0, 0.05)), float(rng.uniform(0, 12) * (rng.random() < 0.8))
    made.turn = float(rng.normal(0, 0.03))
    (_lot if rng.random() < 0.2 else _road)(made, rng)
    return made


def _road(made: Street, rng: np.random.Generator) -> None:
    lanes, width = int(rng.integers(1, 3)), float(rng.uniform(3.0, 3.6))
    middle = width / 2 * (2 * lanes - 1)  # of the whole street, to the left of the lidar
    edge = lanes * width
    crossing = float(rng.uniform(15, 50)) if rng.random() < 0.4 else None
    free = lambda x, reach=0.0: crossing is not None and abs(x - crossing) < 5 + reach  # noqa: E731
    parking = [bool(rng.random() < 0.65) for _ in range(2)]
    aslant = rng.random(2) < 0.2
    for side, parked, slanted in zip((-1, 1), parking, aslant, strict=True):
        row = (2.2 if not slanted else 4.8) if parked else 0.0
        curb = edge + row
        if parked:
            spacing, fill = (5.6, 2.9)[int(slanted)], rng.uniform(0.25, 0.95)
            for x in np.arange(-BEHIND, AHEAD, spacing):
                if rng.random() < fill and not free(x, 3):
                    angle = (0.0 if not slanted else side * np.pi / 2) + np.pi * (rng.random() < 0.25)
                    offset = middle + side * (edge + row / 2)
                    _add(made, rng, _parked(rng), x + rng.normal(0, 0.3), offset + rng.normal(0, 0.12), angle)
        _walk(made, rng, side, middle, curb, free)
    for lane in range(2 * lanes):
        heading = 0.0 if lane < lanes else np.pi
        y = lane * width
        for _ in range(rng.poisson(1.3)):
            x = rng.uniform(-BEHIND, AHEAD)
            if not free(x, 3):
                speed = float(rng.uniform(0, 13))
                _add(made, rng, _driven(rng), x, y + rng.normal(0, 0.25), heading + rng.normal(0, 0.03), speed)
    if crossing is not None:
        for _ in range(rng.poisson(2.0)):
            direction = rng.choice((-1, 1))
            x, y = crossing + direction * 1.8, middle + rng.uniform(-35, 35)
            _add(made, rng, _driven(rng), x, y, direction * np.pi / 2 + rng.normal(0, 0.05), float(rng.uniform(0, 9)))
    for _ in range(rng.poisson(1.8)):  # bicycles at the edge of the road
        side = rng.choice((-1, 1))
        heading = 0.0 if side < 0 else np.pi
        _add(
            made, rng, "Cyclist", rng.uniform(2, 60), middle + side * (edge - rng.uniform(0.5, 1.1)), heading + rng.normal(0, 0.1)
        )
    for _ in range(rng.poisson(1.0)):  # somebody crosses
        x = crossing - 6 if crossing is not None and rng.random() < 0.5 else rng.uniform(5, 45)
        _add(made, rng, "Pedestrian", x, middle + rng.uniform(-edge, edge), rng.choice((-1, 1)) * np.pi / 2 + rng.normal(0, 0.2))


def _walk(made: Street, rng: np.random.Generator, side: int, middle: float, curb: float, free: Callable[..., bool]) -> None:
    """A sidewalk with people, poles and trees, and behind it houses, hedges or nothing."""
    wide, back = rng.uniform(2.0, 4.0), rng.uniform(0.5, 6.0)
    y = lambda beyond: middle + side * (curb + beyond)  # noqa: E731
    for begin in np.arange(-BEHIND, AHEAD, 10.0):
        if not free(begin + 5, 5):
            low, high = sorted((y(0.0), y(wide)))
            made.still.append(_stood(made, box((begin, low, -0.3), (begin + 10, high, 0.12), 0.3), begin + 5))
    for _ in range(rng.poisson(4.5)):
        name = "Cyclist" if rng.random() < 0.25 else "Person_sitting" if rng.random() < 0.06 else "Pedestrian"
        _add(made, rng, name, rng.uniform(3, 50), y(rng.uniform(0.3, wide)), rng.choice((0, np.pi)) + rng.normal(0, 0.5))
    for at in np.arange(-BEHIND + rng.uniform(0, 20), AHEAD, rng.uniform(9, 30)):
        kind = rng.random()
        if kind < 0.45:
            _thing(made, upright(at, y(0.4), rng.uniform(0.05, 0.14), 0, rng.uniform(2.5, 7), rng.uniform(0.2, 0.6)))
        elif kind < 0.85:
            _tree(made, rng, at, y(rng.uniform(0.4, wide)))
        else:
            _thing(made, box((at, y(0.6) - 0.3, 0), (at + 0.5, y(0.6) + 0.3, rng.uniform(0.8, 1.6)), 0.4))
    x: float = -BEHIND
    while x < AHEAD:
        long = rng.uniform(4, 22)
        low, high = sorted((y(wide + back), y(wide + back + 9)))
        if not free(x + long / 2, long / 2):
            kind = rng.random()
            if kind < 0.5:
                _thing(made, box((x, low, 0), (x + long - rng.uniform(0, 2), high, rng.uniform(3, 12)), rng.uniform(0.2, 0.6)))
            elif kind < 0.7:
                near = sorted((y(wide + 0.4), y(wide + 0.4 + rng.uniform(0.5, 1.2))))
                _thing(made, box((x, near[0], 0), (x + long, near[1], rng.uniform(0.7, 2.0)), 0.3, 0.3))
            elif kind < 0.85:
                for _ in range(int(rng.integers(1, 4))):
                    beside = (x + rng.uniform(0, long), y(wide + rng.uniform(0.5, 4)))
                    if rng.random() < 0.5:
                        _tree(made, rng, *beside)
                    else:
                        r = rng.uniform(0.35, 1.1)
                        _thing(made, ellipsoid((*beside, 0.7 * r), (r, r, rng.uniform(0.6, 1.1) * r), 0.3, 0.35))
            else:  # a fence
                _thing(made, box((x, y(wide) - 0.03, 0), (x + long, y(wide) + 0.03, rng.uniform(0.9, 1.8)), 0.4, 0.6))
        x += long


def _lot(made: Street, rng: np.random.Generator) -> None:
    """Rows of parked cars at any angle, with people between."""
    turned, spacing, fill = rng.uniform(0, np.pi), rng.uniform(2.7, 3.1), rng.uniform(0.2, 0.9)
    cos, sin = np.cos(turned), np.sin(turned)
    for row in np.arange(-40, 70, 8.5):
        for place in np.arange(-40, 70, spacing):
            x, y = row * cos - place * sin + 10, row * sin + place * cos
            if rng.random() < fill and -5 < x < 60 and abs(y) < 45:
                _add(made, rng, _parked(rng), x, y, turned + np.pi * (rng.random() < 0.5) + rng.normal(0, 0.04))
    for name, mean, far in (("Pedestrian", 5.0, 40), ("Cyclist", 1.2, 45), ("Car", 2.0, 55), ("Van", 0.4, 50)):
        for _ in range(rng.poisson(mean)):
            _add(made, rng, name, rng.uniform(4, far), rng.uniform(-20, 20), rng.uniform(-np.pi, np.pi), None)
    for _ in range(rng.poisson(8)):
        x, y = rng.uniform(3, 60), rng.uniform(-30, 30)
        if rng.random() < 0.5:
            _tree(made, rng, x, y)
        else:
            _thing(made, upright(x, y, 0.1, 0, rng.uniform(3, 8)))
    end = rng.uniform(45, 75)
    _thing(made, box((end, -60, 0), (end + 8, 60, rng.uniform(3, 10))))


def _parked(rng: np.random.Generator) -> str:
    return str(rng.choice(("Car", "Van", "Truck"), p=(0.9, 0.08, 0.02)))


def _driven(rng: np.random.Generator) -> str:
    return str(rng.choice(("Car", "Van", "Truck", "Cyclist"), p=(0.78, 0.09, 0.06, 0.07)))


def _add(made: Street, rng: np.random.Generator, name: str, x: float, y: float, yaw: float, speed: float | None = 0.0) -> None:
    """An actor, unless somebody or something stands there, or it is the lidar's own place. speed: None or 0 of what walks: its
    own.
    """
    actor = ACTORS[name](rng)
    actor.x, actor.y, actor.yaw = float(x), float(y), float(yaw)
    if speed:
        actor.speed = speed
    # along its length and to both ends, so that long ones may stand side by side
    spots = _spots(actor)
    for other in made.actors:
        if np.hypot(other.x - x, other.y - y) < actor.reach + other.reach + _GAP:
            apart = np.linalg.norm(spots[:, None] - _spots(other)[None], axis=-1).min()
            if apart < (actor.size[1] + other.size[1]) / 2 + _GAP:
                return
    if np.linalg.norm(spots - (made.x, made.y), axis=-1).min() < 3.2:
        return
    made.actors.append(actor)


def _spots(actor: Actor) -> np.ndarray:
    """Middles of circles as wide as it is that cover it: (n, 2)."""
    most = max(0.0, (actor.size[0] - actor.size[1]) / 2)
    along = np.linspace(-most, most, max(2, int(np.ceil(2 * most / max(actor.size[1], 0.3))) + 1))
    return np.stack([actor.x + along * np.cos(actor.yaw), actor.y + along * np.sin(actor.yaw)], 1)


def _tree(made: Street, rng: np.random.Generator, x: float, y: float) -> None:
    trunk, crown = rng.uniform(1.6, 3.5), rng.uniform(1.0, 2.6)
    _thing(made, upright(x, y, rng.uniform(0.08, 0.3), 0, trunk + crown, 0.35))
    _thing(made, ellipsoid((x, y, trunk + crown), (crown, crown, rng.uniform(0.8, 1.4) * crown), 0.3, 0.45))


def _thing(made: Street, shape: Shape) -> None:
    """What is not labeled, unless an actor stands there."""
    cx, cy = shape.center[:2]
    for actor in made.actors:
        spots = _spots(actor) - (cx, cy)
        outside = np.maximum(np.abs(spots) - np.array(shape.half[:2]), 0)
        if shape.center[2] - shape.half[2] < 2 and np.linalg.norm(outside, axis=-1).min() < actor.size[1] / 2 + 0.1:
            return
    made.still.append(_stood(made, shape, cx))


def _stood(made: Street, shape: Shape, x: float) -> Shape:
    return placed(shape, 0, 0, made.ground(x, shape.center[1]), 0)
