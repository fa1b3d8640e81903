"""What a hand does: the labels, the gestures and the script that strings them together.

Directions are *as the user sees them*, in a mirror; the camera image is not flipped. A swipe to the user's left moves
to image-right, and a circle that the user sees clockwise runs counter-clockwise in the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

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
READY = 0.75  # share of a stroke or of a turn after which it is unambiguous


@dataclass(frozen=True)
class Interval:
    """One gesture in time, seconds: begun at `start_s`, recognizable from `ready_s`, over at `end_s`. factors: what may make it
    hard, as `motions.factors` counts it.
    """

    label: str
    start_s: float
    ready_s: float
    end_s: float
    factors: Mapping[str, Any] = field(default_factory=dict, compare=False)


def minimum_jerk(u: np.ndarray) -> np.ndarray:
    """Flash & Hogan 1985: how far a reaching hand has come at time u of 0..1."""
    return u**3 * (10 - 15 * u + 6 * u**2)


@dataclass(frozen=True)
class Pose:
    """Where a hand is and how it is held, each of n times: place (n, 2), scale, tilt of the wrist in the picture, curl of the
    fingers 0..1, roll about the forearm (angles in radians), and flick, (n, 2): what is added to the direction of the fingers, of
    length 1, before it is cut to that length. So one flick turns a hand across it and shortens one along it.
    """

    at: np.ndarray
    scale: np.ndarray
    tilt: np.ndarray
    curl: np.ndarray
    roll: np.ndarray
    flick: np.ndarray


class Script:
    """A hand's path, written piece by piece: positions at RATE, with how the hand is held beside them. size: its palm, in frame
    heights: people who are farther away move less of the picture.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        start: tuple[float, float] | np.ndarray,
        view: tuple[float, float] = (0.667, 0.5),
        size: float = 0.12,
    ) -> None:
        self.rng = rng
        self.view = view  # half width, half height of the frame
        self.size = size
        self.at = np.asarray(start, float)
        self.scale, self.tilt, self.curl, self.flick = 1.0, 0.0, 0.0, np.zeros(2)
        # where the hand rests, in the picture or below it, and how
        self.home = np.array([rng.uniform(-0.7, 0.7) * view[0], rng.uniform(0.1, 0.7)])
        self.lying = {
            "tilt": rng.choice([-1, 1]) * rng.uniform(0.2, 2.0),
            "curl": rng.choice([0.0, 0.4, 0.9]),
            "flick": (0, rng.uniform(0, 0.9)),
        }
        self.points: list[np.ndarray] = []  # each (m, 8): x, y, scale, tilt, curl, roll, flick
        self.intervals: list[Interval] = []

    @property
    def quick(self) -> float:
        """The least mean speed of a stroke that is a gesture, frame heights a second."""
        return float(np.clip(4.5 * self.size, 0.3, 0.8))

    @property
    def near(self) -> bool:
        """Whether fingers are to be seen, so that a turn of the wrist can be a gesture."""
        return self.size > 0.09

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
        roll: np.ndarray | float = 0.0,
        flick: np.ndarray | float = 0.0,
    ) -> None:
        """Appends (m, 2) positions and where they end becomes the place to go on from."""
        rows = np.empty((len(xy), 8))
        back = np.exp(-np.arange(len(xy)) / (0.15 * RATE))  # wrists do not jump
        rows[:, :2] = xy
        rows[:, 2] = self.scale if scale is None else scale
        rows[:, 3] = tilt
        rows[:, 3] += (self.tilt - rows[0, 3]) * back
        rows[:, 4] = self.curl if curl is None else curl
        rows[:, 5] = roll
        rows[:, 6:] = flick
        rows[:, 6:] += (self.flick - rows[0, 6:]) * back[:, None]
        self.points.append(rows)
        self.at, self.flick = rows[-1, :2].copy(), rows[-1, 6:].copy()
        self.scale, self.tilt, self.curl = (float(v) for v in rows[-1, 2:5])

    def go(
        self,
        target: tuple[float, float] | np.ndarray,
        seconds: float,
        *,
        bow: float = 0.0,
        tilt: float = 0.0,
        scale: float | None = None,
        curl: float | None = None,
        flick: np.ndarray | float = 0.0,
    ) -> None:
        """A reach to `target`; bow: sideways bulge as a fraction of the way; tilt: wrist angle at mid-way, radians; flick:
        of the fingers, (2,).
        """
        u = np.arange(1, max(2, round(seconds * RATE)) + 1) / max(2, round(seconds * RATE))
        s = minimum_jerk(u)[:, None]
        way = np.asarray(target, float) - self.at
        side = np.array([-way[1], way[0]]) * bow
        arch = np.sin(np.pi * s[:, 0])
        between = lambda old, new: None if new is None else old + (new - old) * s[:, 0]  # noqa: E731
        self.add(
            self.at + way * s + side * arch[:, None],
            tilt=tilt * arch,
            flick=(s - 0.4) * flick,
            scale=between(self.scale, scale),
            curl=between(self.curl, curl),
        )

    def hold(self, seconds: float, tremor: float = 0.004, **posture: Any) -> None:
        """Stays, not quite still, in the posture it has or in another one."""
        n = max(1, round(seconds * RATE))
        drift = np.cumsum(self.rng.normal(0, tremor / 4, (n, 2)), 0)
        posture = {"tilt": self.tilt, "flick": self.flick, **posture}
        self.add(self.at + drift - np.linspace(0, 1, n)[:, None] * drift[-1] * self.rng.random(), **posture)

    def approach(self, target: tuple[float, float] | np.ndarray, slowest: float = 1.2, **posture: Any) -> None:
        """Goes where something begins or ends, at any pace that strokes have: how quick it is tells nothing."""
        distance = float(np.hypot(*(np.asarray(target) - self.at)))
        seconds = max(between(self.rng, 0.15, slowest), distance / 3.5)
        self.go(target, seconds, bow=self.rng.normal(0, 0.2), **posture)

    def lie_down(self, seconds: float) -> None:
        """Goes to where the hand rests, and rests there."""
        self.approach(self.home + self.rng.normal(0, 0.03, 2), curl=float(self.lying["curl"]))
        self.hold(seconds, self.rng.choice([0.001, 0.004]), **self.lying)

    def mark(self, label: str, start_s: float, ready_s: float, **factors: Any) -> None:
        """What was just written is a gesture."""
        self.intervals.append(Interval(label, start_s, ready_s, self.seconds, {"size": self.size, **factors}))

    def inside(self, margin: float = 0.12) -> np.ndarray:
        """A random place well inside the frame."""
        return np.array([self.rng.uniform(-1, 1) * (self.view[0] - margin), self.rng.uniform(-0.9, 1) * (self.view[1] - margin)])


def swipe(script: Script, label: str, amplitude: float | None = None, seconds: float | None = None, here: bool = False) -> None:
    """One straight fast stroke of the arm, or a flick: a shorter one in which the hand turns about the wrist. Begins where it has
    room; the way there may be as quick as the stroke. here: from where the hand is.
    """
    rng, (wide, high) = script.rng, script.view
    flick = amplitude is None and script.near and rng.random() < 0.35
    direction = np.array(SWIPES[label])
    if amplitude is None:
        low, most = max(0.12, 1.2 * script.size), min(9 * script.size, 1.15 if direction[0] else 0.85)
        amplitude = rng.uniform(0.25, 1.3) * script.size if flick else between(rng, low, most)
    if seconds is None and flick:
        seconds = rng.uniform(0.15, 0.35)
    seconds = seconds or float(np.clip(between(rng, 0.15, 1.0), amplitude / 3.5, amplitude / script.quick))
    angle = np.arctan2(direction[1], direction[0]) + rng.normal(0, 0.16)
    direction = np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([rng.normal(0, 0.2), rng.normal(0.02, 0.15)])
    edge = np.array([wide, high]) + 0.5 * script.size  # where half of the hand is to be seen
    begin = np.clip(middle - direction * amplitude / 2, -edge, edge)
    begin = np.where(np.abs(begin) > (wide, high), begin * rng.uniform(0.75, 1.0), begin)
    if here:
        begin = script.at.copy()
    come(script, begin, 0.93)
    start = script.seconds
    turn = rng.uniform(0.9, 2.2) if flick else rng.choice([0.0, rng.uniform(0, 1.5)])
    script.go(
        script.at + direction * amplitude,
        seconds,
        bow=rng.normal(0, 0.1),
        tilt=0.0 if flick else rng.normal(0, 0.5),
        flick=direction * turn,
    )
    fingers = amplitude + 1.3 * script.size * min(turn, 1.5)  # how far their tips come
    script.mark(label, start, start + READY * (script.seconds - start), kind="flick" if flick else "stroke", amplitude=fingers)


def come(script: Script, begin: np.ndarray, share: float = 1.0) -> None:
    """To where a gesture begins, and a pause: quick from rest, as hands are; mostly slower where it would be a stroke itself."""
    rng = script.rng
    distance = float(np.hypot(*(begin - script.at)))
    if distance > 0.05 and rng.random() < share:
        lies = script.at[1] > script.home[1] - 0.1
        if lies or rng.random() < 0.4:
            script.approach(begin, curl=0.0)
        else:
            script.go(begin, max(0.25, distance / (script.quick * rng.uniform(0.5, 1.1))), bow=rng.normal(0, 0.25), curl=0.0)
    if rng.random() < 0.75:
        script.hold(rng.uniform(0.03, 0.6))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Small ones as often as large ones: uniform in the logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))


def settle(script: Script) -> None:
    """What follows a swipe: staying, dropping out of view, or a return stroke; none of it is a gesture."""
    rng, high = script.rng, script.view[1]
    begin = script.points[-1][0, :2]  # of the stroke
    script.hold(rng.choice([0.03, rng.uniform(0.05, 0.5)]), tremor=0.006)
    kind = rng.choice(["stay", "drop", "slow_return", "fast_return", "back", "low_return"], p=[0.15, 0.25, 0.2, 0.12, 0.16, 0.12])
    home = np.array([rng.normal(0, 0.2), rng.uniform(0.0, 0.3)])
    distance = float(np.hypot(*(home - script.at))) + 0.05
    if kind == "drop":
        script.go(
            (script.at[0] + rng.normal(0, 0.25), high + rng.uniform(0.25, 0.45)),
            between(rng, 0.2, 1.0),
            bow=rng.normal(0, 0.2),
        )
        script.hold(rng.uniform(0.1, 0.8))
    elif kind == "slow_return":
        script.go(home, max(0.5, distance / rng.uniform(0.3, 0.8)), bow=rng.normal(0, 0.25))
    elif kind == "fast_return":
        script.go(home, max(0.25, distance / rng.uniform(0.8, 2.0)), bow=rng.normal(0, 0.15))
    elif kind == "back":  # the way it came
        distance = float(np.hypot(*(begin - script.at)))
        script.go(begin + rng.normal(0, 0.03, 2), max(0.15, distance / rng.uniform(0.5, 2.0)), bow=rng.normal(0, 0.15))
    elif kind == "low_return":
        script.approach((script.at[0] * 0.7, high + 0.2))
        script.approach(home)
    else:
        script.hold(rng.uniform(0.2, 1.0))


def wave(
    script: Script,
    label: str = "wave",
    periods: float | None = None,
    period_s: float | None = None,
    here: bool = False,
) -> None:
    """To and fro about a place, sideways: with the whole forearm, with the wrist, or shaken about the forearm, in place. here:
    where the hand is.
    """
    rng = script.rng
    center = script.at.copy() if here else script.inside(0.2) * (0.8, 0.7)
    come(script, center)
    kind = str(rng.choice(["arm", "wrist", "shake"], p=[0.5, 0.25, 0.25])) if script.near and not here else "arm"
    period = period_s or between(rng, 0.22, 0.85)
    periods = periods or max(2.25, rng.uniform(1.1, 2.8) / period)
    amplitude = rng.uniform(0, 0.3) * script.size
    if kind == "arm":
        amplitude = float(np.clip(between(rng, 0.4, 1.8) * script.size, 0.03, 0.22))
    twist = {"arm": rng.uniform(0.1, 0.8), "wrist": rng.uniform(0.35, 0.9), "shake": rng.uniform(0, 0.3)}[kind]
    roll = rng.uniform(0.6, 1.5) if kind == "shake" else 0.0
    n = round(period * periods * RATE)
    u = np.arange(1, n + 1) / RATE
    rise = np.minimum(1, u / (0.4 * period)) * np.minimum(1, (u[-1] - u) / (0.3 * period) + 0.02)
    phase = 2 * np.pi * u / period * (1 + 0.06 * np.sin(u * rng.uniform(1, 4))) * rng.choice([-1, 1])
    swing = np.sin(phase) * rise
    dip = np.cos(2 * phase) * rise * amplitude * rng.uniform(0, 0.25)
    lean = rng.normal(0, 0.15)
    start = script.seconds
    path = np.stack([swing * amplitude, swing * amplitude * lean + dip], 1)
    script.add(script.at + path, tilt=swing * twist, roll=roll * (swing + rng.uniform(-0.5, 0.5)))
    tips = 2 * amplitude + 2 * script.size * (np.sin(twist) * 1.3 + 0.5 * min(roll, 1))
    script.mark(label, start, start + min(1.25 * period, 0.75 * period * periods), kind=kind, amplitude=tips, period=period)


def circle(script: Script, label: str, turns: float | None = None, period_s: float | None = None, here: bool = False) -> None:
    """Round a center, once or several times, with the whole hand or with the fingers about the wrist. here: from where the
    hand is.
    """
    rng = script.rng
    sign = TURNS[label]
    fingers = script.near and not here and rng.random() < 0.25
    radius = (rng.uniform(0.1, 0.35) if fingers else between(rng, 0.4, 2.2)) * script.size
    radius = radius if fingers else float(np.clip(radius, 0.035, 0.26))
    oval = rng.uniform(0.7, 1.35)
    first = rng.uniform(0, 2 * np.pi)
    period = period_s or between(rng, 0.4, 1.5)
    turns = turns or rng.uniform(1.05, max(1.3, min(3.5, 3.0 / period)))
    radii = np.array([radius * oval, radius])
    center = script.inside(0.2) * (0.85, 0.8)
    begin = script.at.copy() if here else center + radii * (np.cos(first), np.sin(first))
    come(script, begin)
    u = np.arange(1, round(period * turns * RATE) + 1) / RATE
    ramp = np.minimum(u, 0.15)  # gets going
    angle = first + sign * 2 * np.pi / period * (u - 0.15 + ramp) * (1 + 0.03 * np.sin(3 * u))
    angle = first + (angle - angle[0])
    drift = np.linspace(0, 1, len(u))[:, None] * rng.normal(0, 0.05, 2)
    shrink = (1 + 0.12 * np.sin(u * rng.uniform(0.5, 3)))[:, None]
    shrink = shrink / shrink[0]
    round_about = np.stack([np.cos(angle), np.sin(angle)], 1)
    path = script.at - radii * (np.cos(first), np.sin(first)) + radii * shrink * round_about + drift
    flick = rng.uniform(0.35, 0.8) if fingers else 0.0
    start = script.seconds
    script.add(path, tilt=rng.uniform(0, 0.3) * np.sin(angle), flick=flick * round_about)
    tips = 2 * radius + 2.6 * flick * script.size
    kind = "fingers" if fingers else "hand"
    script.mark(label, start, start + READY * period, kind=kind, amplitude=tips, period=period)


GESTURES: dict[str, Callable[[Script, str], None]] = {
    **dict.fromkeys(SWIPES, swipe),
    "wave": wave,
    **dict.fromkeys(TURNS, circle),
}
