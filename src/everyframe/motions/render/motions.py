"""What a hand does: the labels, the gestures and the script that strings them together.

Directions are *as the user sees them*, in a mirror; the camera image is not flipped. A swipe to the user's left moves
to image-right, and a circle that the user sees clockwise runs counter-clockwise in the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LABELS = (
    "none",
    "swipe_left",
    "swipe_right",
    "swipe_up",
    "swipe_down",
    "wave",
    "circle_clockwise",
    "circle_counterclockwise",
)
# image direction (x right, y down) of a swipe; sign of the image angle's growth (y down: positive is image-clockwise)
SWIPES = {"swipe_left": (1.0, 0.0), "swipe_right": (-1.0, 0.0), "swipe_up": (0.0, -1.0), "swipe_down": (0.0, 1.0)}
TURNS = {"circle_clockwise": -1.0, "circle_counterclockwise": 1.0}

# what a label becomes when the picture is flipped left-right, and when time runs backwards
MIRRORED = {
    **{label: label for label in LABELS},
    "swipe_left": "swipe_right",
    "swipe_right": "swipe_left",
    "circle_clockwise": "circle_counterclockwise",
    "circle_counterclockwise": "circle_clockwise",
}
REVERSED = {**MIRRORED, "swipe_up": "swipe_down", "swipe_down": "swipe_up"}

RATE = 60  # samples a second of a script


@dataclass(frozen=True)
class Interval:
    """One gesture in time, seconds: begun at `start_s`, recognizable from `ready_s`, over at `end_s`."""

    label: str
    start_s: float
    ready_s: float
    end_s: float


def minimum_jerk(u: np.ndarray) -> np.ndarray:
    """Flash & Hogan 1985: how far a reaching hand has come at time u of 0..1."""
    return u**3 * (10 - 15 * u + 6 * u**2)


class Script:
    """A hand's path, written piece by piece: (n, 2) positions at RATE, with scale, wrist tilt and curl beside them."""

    def __init__(
        self,
        rng: np.random.Generator,
        start: tuple[float, float] | np.ndarray,
        view: tuple[float, float] = (0.667, 0.5),
    ) -> None:
        self.rng = rng
        self.view = view  # half width, half height of the frame
        self.at = np.asarray(start, float)
        self.scale, self.tilt, self.curl = 1.0, 0.0, 0.0
        self.points: list[np.ndarray] = []  # each (m, 5): x, y, scale, tilt, curl
        self.intervals: list[Interval] = []

    @property
    def seconds(self) -> float:
        return sum(map(len, self.points)) / RATE

    def add(
        self,
        xy: np.ndarray,
        *,
        scale: np.ndarray | float | None = None,
        tilt: np.ndarray | float = 0.0,
        curl: np.ndarray | float | None = None,
    ) -> None:
        """Appends (m, 2) positions and where they end becomes the place to go on from."""
        rows = np.empty((len(xy), 5))
        rows[:, :2] = xy
        rows[:, 2] = self.scale if scale is None else scale
        rows[:, 3] = tilt
        rows[:, 3] += (self.tilt - rows[0, 3]) * np.exp(-np.arange(len(xy)) / (0.15 * RATE))  # wrists do not jump
        rows[:, 4] = self.curl if curl is None else curl
        self.points.append(rows)
        self.at = rows[-1, :2].copy()
        self.scale, self.tilt, self.curl = (float(v) for v in rows[-1, 2:])

    def go(
        self,
        target: tuple[float, float] | np.ndarray,
        seconds: float,
        *,
        bow: float = 0.0,
        tilt: float = 0.0,
        scale: float | None = None,
        curl: float | None = None,
        flick: float = 0.0,
    ) -> None:
        """A reach to `target`; bow: sideways bulge as a fraction of the way; tilt: wrist angle at mid-way, flick:
        from beginning to end, radians.
        """
        u = np.arange(1, max(2, round(seconds * RATE)) + 1) / max(2, round(seconds * RATE))
        s = minimum_jerk(u)[:, None]
        way = np.asarray(target, float) - self.at
        side = np.array([-way[1], way[0]]) * bow
        arch = np.sin(np.pi * s[:, 0])
        between = lambda old, new: None if new is None else old + (new - old) * s[:, 0]  # noqa: E731
        self.add(
            self.at + way * s + side * arch[:, None],
            tilt=tilt * arch + flick * (s[:, 0] - 0.4),
            scale=between(self.scale, scale),
            curl=between(self.curl, curl),
        )

    def hold(self, seconds: float, tremor: float = 0.004) -> None:
        """Stays, not quite still."""
        n = max(1, round(seconds * RATE))
        drift = np.cumsum(self.rng.normal(0, tremor / 4, (n, 2)), 0)
        self.add(self.at + drift - np.linspace(0, 1, n)[:, None] * drift[-1] * self.rng.random())

    def mark(self, label: str, start_s: float, ready_s: float, end_s: float) -> None:
        self.intervals.append(Interval(label, start_s, ready_s, end_s))

    def inside(self, margin: float = 0.12) -> np.ndarray:
        """A random place well inside the frame."""
        return np.array([self.rng.uniform(-1, 1) * (self.view[0] - margin), self.rng.uniform(-0.9, 1) * (self.view[1] - margin)])


def swipe(script: Script, label: str, amplitude: float | None = None, seconds: float | None = None, here: bool = False) -> None:
    """One straight fast stroke. Begins where it has room; the way there is slower than the stroke. here: from where
    the hand is.

    One in seven is a flick: a shorter stroke in which the hand turns about the wrist.
    """
    rng, (wide, high) = script.rng, script.view
    flick = amplitude is None and rng.random() < 0.15
    direction = np.array(SWIPES[label])
    horizontal = direction[0] != 0
    amplitude = amplitude or (rng.uniform(0.18, 0.35) if flick else rng.uniform(0.32, 1.15 if horizontal else 0.8))
    seconds = seconds or float(np.clip(rng.uniform(0.2, 0.62), amplitude / 3.5, amplitude / 0.8))
    angle = np.arctan2(direction[1], direction[0]) + rng.normal(0, 0.16)
    direction = np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([rng.normal(0, 0.14), rng.normal(0.02, 0.11)])
    begin = np.clip(middle - direction * amplitude / 2, (-wide - 0.08, -high - 0.05), (wide + 0.08, high + 0.05))
    begin = np.where(np.abs(begin) > (wide, high), begin * rng.uniform(0.75, 1.0), begin)
    if here:
        begin = script.at.copy()
    distance = float(np.hypot(*(begin - script.at)))
    if distance > 0.05 and rng.random() < 0.93:
        # to the starting place, clearly slower than a stroke
        script.go(begin, max(0.3, distance / rng.uniform(0.5, 1.1)), bow=rng.normal(0, 0.25))
    if rng.random() < 0.75:
        script.hold(rng.uniform(0.03, 0.6))
    start = script.seconds
    script.go(
        script.at + direction * amplitude,
        seconds,
        bow=rng.normal(0, 0.1),
        tilt=0.0 if flick else rng.normal(0, 0.5),
        flick=direction[0] * rng.uniform(0.9, 1.8) if flick else 0.0,
    )
    end = script.seconds
    script.mark(label, start, start + 0.9 * (end - start), end)


def settle(script: Script) -> None:
    """What follows a swipe: staying, dropping out of view, or a return stroke; none of it is a gesture."""
    rng, high = script.rng, script.view[1]
    script.hold(rng.choice([0.03, rng.uniform(0.05, 0.5)]), tremor=0.006)
    kind = rng.choice(["stay", "drop", "slow_return", "fast_return", "low_return"], p=[0.15, 0.3, 0.25, 0.15, 0.15])
    home = np.array([rng.normal(0, 0.2), rng.uniform(0.0, 0.3)])
    distance = float(np.hypot(*(home - script.at))) + 0.05
    if kind == "drop":
        script.go(
            (script.at[0] + rng.normal(0, 0.25), high + rng.uniform(0.25, 0.45)),
            rng.uniform(0.35, 1.0),
            bow=rng.normal(0, 0.2),
        )
        script.hold(rng.uniform(0.1, 0.8))
    elif kind == "slow_return":
        script.go(home, max(0.5, distance / rng.uniform(0.3, 0.8)), bow=rng.normal(0, 0.25))
    elif kind == "fast_return":
        script.go(home, max(0.25, distance / rng.uniform(0.8, 2.0)), bow=rng.normal(0, 0.15))
    elif kind == "low_return":
        script.go((script.at[0] * 0.7, high + 0.2), rng.uniform(0.3, 0.7), bow=rng.normal(0, 0.2))
        script.go(home, rng.uniform(0.4, 0.9), bow=rng.normal(0, 0.2))
    else:
        script.hold(rng.uniform(0.2, 1.0))


def wave(
    script: Script,
    label: str = "wave",
    periods: float | None = None,
    period_s: float | None = None,
    here: bool = False,
) -> None:
    """To and fro about a place, sideways, with the wrist or with the whole forearm. here: where the hand is."""
    rng = script.rng
    center = script.at.copy() if here else script.inside(0.2) * (0.8, 0.7)
    distance = float(np.hypot(*(center - script.at)))
    script.go(center, max(0.25, distance / rng.uniform(0.5, 1.2)), bow=rng.normal(0, 0.2))
    if rng.random() < 0.6:
        script.hold(rng.uniform(0.03, 0.4))
    period = period_s or rng.uniform(0.28, 0.8)
    periods = periods or max(2.5, rng.uniform(1.3, 3.0) / period)
    amplitude = rng.uniform(0.05, 0.2)
    twist = rng.uniform(0.15, 0.8)
    n = round(period * periods * RATE)
    u = np.arange(1, n + 1) / RATE
    rise = np.minimum(1, u / (0.4 * period)) * np.minimum(1, (u[-1] - u) / (0.3 * period) + 0.02)
    phase = 2 * np.pi * u / period * (1 + 0.06 * np.sin(u * rng.uniform(1, 4))) * rng.choice([-1, 1])
    swing = np.sin(phase) * rise
    dip = np.cos(2 * phase) * rise * amplitude * rng.uniform(0, 0.25)
    lean = rng.normal(0, 0.15)
    start = script.seconds
    script.add(script.at + np.stack([swing * amplitude, swing * amplitude * lean + dip], 1), tilt=swing * twist)
    script.mark(label, start, start + min(1.5 * period, 0.75 * period * periods), script.seconds)


def circle(script: Script, label: str, turns: float | None = None, period_s: float | None = None, here: bool = False) -> None:
    """Round a center, once or several times. here: from where the hand is."""
    rng = script.rng
    sign = TURNS[label]
    radius = rng.uniform(0.08, 0.24)
    oval = rng.uniform(0.7, 1.35)
    first = rng.uniform(0, 2 * np.pi)
    period = period_s or rng.uniform(0.45, 1.3)
    turns = turns or rng.uniform(1.1, max(1.3, min(3.5, 3.0 / period)))
    radii = np.array([radius * oval, radius])
    center = script.inside(0.25) * (0.8, 0.7)
    begin = script.at.copy() if here else center + radii * (np.cos(first), np.sin(first))
    distance = float(np.hypot(*(begin - script.at)))
    script.go(begin, max(0.25, distance / rng.uniform(0.5, 1.2)), bow=rng.normal(0, 0.2))
    if rng.random() < 0.6:
        script.hold(rng.uniform(0.03, 0.4))
    u = np.arange(1, round(period * turns * RATE) + 1) / RATE
    ramp = np.minimum(u, 0.15)  # gets going
    angle = first + sign * 2 * np.pi / period * (u - 0.15 + ramp) * (1 + 0.03 * np.sin(3 * u))
    angle = first + (angle - angle[0])
    drift = np.linspace(0, 1, len(u))[:, None] * rng.normal(0, 0.05, 2)
    shrink = (1 + 0.12 * np.sin(u * rng.uniform(0.5, 3)))[:, None]
    shrink = shrink / shrink[0]
    path = (
        script.at - radii * (np.cos(first), np.sin(first)) + radii * shrink * np.stack([np.cos(angle), np.sin(angle)], 1) + drift
    )
    start = script.seconds
    script.add(path, tilt=rng.uniform(0, 0.3) * np.sin(angle))
    script.mark(label, start, start + 0.8 * period, script.seconds)


GESTURES: dict[str, Callable[[Script, str], None]] = {
    **dict.fromkeys(SWIPES, swipe),
    "wave": wave,
    **dict.fromkeys(TURNS, circle),
}
