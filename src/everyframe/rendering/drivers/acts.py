"""What a driver does: positions of lids, mouth and head over time, and spans of what is to be recognized.

Signs of fatigue are those that labeled recordings of drivers have (Weng et al., "Driver Drowsiness Detection via a Hierarchical
Temporal Deep Belief Network", ACCV workshops 2016, the NTHU set): slow closures of the eyes, yawns, nods, and a gaze that leaves
the road. Each has a twin among what people do who are awake, which differs in time alone: blinks, talking, a look at the
dashboard, a look into the mirror. No single picture tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

#: what clips are called; the first is a driver who is awake
LABELS = ("alert", "eyes_closed", "yawning", "nodding", "looking_away")
RATE = 60  # points a second of a script


@dataclass(frozen=True)
class Span:
    label: str
    start_s: float
    end_s: float


@dataclass
class Pose:
    """(n,) each. lids: 0 open, 1 closed. mouth: 0 shut, 1 wide. wide: of the mouth, 1 at rest. yaw: -1 .. 1, a right angle is
    about 2. pitch: 1 is the chin on the chest. x, y: of the head, frame heights."""

    lids: np.ndarray
    mouth: np.ndarray
    wide: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    x: np.ndarray
    y: np.ndarray


def ease(n: int) -> np.ndarray:
    """0 .. 1 in n points, slow at both ends."""
    t = np.linspace(0, 1, max(2, n))
    return t * t * (3 - 2 * t)


def _bump(rise: float, held: float, fall: float) -> np.ndarray:
    """0, up to 1, and back, in seconds each."""
    up, down = ease(round(rise * RATE)), ease(round(fall * RATE))[::-1]
    return np.concatenate([up, np.ones(round(held * RATE)), down])


@dataclass
class Script:
    """Acts, one after another; `pose` says where everything is at the times asked for."""

    rng: np.random.Generator
    seconds: float
    tired: float = 0.0  # 0 .. 1: blinks are slower and lids hang
    spans: list[Span] = field(default_factory=list)

    def __post_init__(self) -> None:
        n, rng = round(self.seconds * RATE) + 1, self.rng
        self.lids, self.mouth, self.yaw, self.pitch = (np.zeros(n) for _ in range(4))
        self.wide = np.ones(n)
        at = rng.uniform(0, 2)
        while at < self.seconds:
            self.blink(at)
            at += rng.choice([rng.uniform(0.3, 0.8), rng.uniform(1.5, 6)], p=[0.12, 0.88])

    def _add(self, line: np.ndarray, at: float, bump: np.ndarray, by: float, most: bool = False) -> None:
        """most: what is there already stays, where it is more."""
        first = round(at * RATE)
        begin, end = max(0, first), min(len(line), first + len(bump))
        if end > begin:
            part, there = by * bump[begin - first : end - first], line[begin:end]
            line[begin:end] = np.where(np.abs(part) > np.abs(there), part, there) if most else there + part

    def blink(self, at: float) -> None:
        rng = self.rng
        slow = 1 + 0.6 * self.tired
        self._add(
            self.lids, at, _bump(rng.uniform(0.05, 0.09), rng.uniform(0.0, 0.1) * slow, rng.uniform(0.08, 0.16) * slow),
            rng.uniform(0.85, 1), most=True,
        )  # fmt: skip

    # --- signs of fatigue: each says when it begins, and lasts until `end` or for as long as such a thing does ---

    def eyes_closed(self, at: float, end: float | None = None) -> float:
        """Longer than any blink: half a second and more."""
        rng = self.rng
        held = rng.uniform(0.8, 3.0) if end is None else max(0.5, end - at - 0.3)
        self._add(self.lids, at, _bump(rng.uniform(0.08, 0.4), held, rng.uniform(0.1, 0.5)), rng.uniform(0.92, 1), most=True)
        self._add(self.pitch, at, _bump(0.5, held, 0.3), rng.uniform(0, 0.15))
        return self._said("eyes_closed", at, at + held + 0.3)

    def yawning(self, at: float, end: float | None = None) -> float:
        """Mouths open slowly, stay wide, and close; lids follow."""
        rng = self.rng
        rise, held, fall = rng.uniform(0.6, 1.5), rng.uniform(0.5, 2.0), rng.uniform(0.4, 1.0)
        if end is not None:
            held = max(0.5, end - at - rise - fall)
        self._add(self.mouth, at, _bump(rise, held, fall), rng.uniform(0.75, 1.1), most=True)
        self._add(self.wide, at, _bump(rise, held, fall), rng.uniform(-0.3, 0.05))
        self._add(self.lids, at + rise * 0.5, _bump(rise, held * 0.8, fall), rng.uniform(0.2, 0.8), most=True)
        self._add(self.pitch, at, _bump(rise, held, fall), rng.uniform(-0.35, 0.05))
        return self._said("yawning", at, at + rise + held + fall)

    def nodding(self, at: float, end: float | None = None) -> float:
        """The head sinks slowly, and is thrown up again; often more than once."""
        rng, begin = self.rng, at
        while True:
            sink, held, up = rng.uniform(0.7, 1.8), rng.uniform(0, 0.3), rng.uniform(0.12, 0.3)
            self._add(self.pitch, at, _bump(sink, held, up), rng.uniform(0.45, 1.0))
            self._add(self.lids, at + 0.3 * sink, _bump(0.4, 0.7 * sink + held, 0.1), rng.uniform(0.5, 1.0), most=True)
            at += sink + held + up
            if (end is None and rng.random() < 0.5) or (end is not None and at >= end - 0.6):
                return self._said("nodding", begin, at)
            at += rng.uniform(0.1, 0.6)

    def looking_away(self, at: float, end: float | None = None) -> float:
        """Longer than two seconds of not looking at the road is what crashes are made of; a mirror takes less than one."""
        rng = self.rng
        turn = rng.uniform(0.2, 0.6)
        held = rng.uniform(1.6, 3.5) if end is None else max(1.4, end - at - 2 * turn)
        self._add(self.yaw, at, _bump(turn, held, turn), rng.choice([-1, 1]) * rng.uniform(0.45, 1.0))
        self._add(self.pitch, at, _bump(turn, held, turn), rng.uniform(-0.05, 0.35))
        return self._said("looking_away", at, at + held + 2 * turn)

    def _said(self, label: str, start: float, end: float) -> float:
        if start < self.seconds:
            self.spans.append(Span(label, max(0.0, start), min(end, self.seconds)))
        return end

    # --- their twins ---

    def alert(self, at: float, end: float | None = None) -> float:
        """Something that a driver does who is awake, or nothing."""
        rng = self.rng
        until = at + rng.uniform(1, 4) if end is None else end
        while at < until:
            kind = rng.choice(["nothing", "mirror", "dashboard", "talk", "smile", "nod"], p=[0.3, 0.2, 0.18, 0.2, 0.07, 0.05])
            lasts = rng.uniform(0.4, 1.6)
            if kind == "mirror":
                lasts = rng.uniform(0.4, 0.9)
                self._add(self.yaw, at, _bump(0.15, lasts - 0.3, 0.15), rng.choice([-1, 1]) * rng.uniform(0.3, 1.0))
                self._add(self.pitch, at, _bump(0.15, lasts - 0.3, 0.15), rng.uniform(-0.25, 0.1))
            elif kind == "dashboard":  # down as quickly as up
                held = rng.uniform(0.2, 0.9)
                self._add(self.pitch, at, _bump(rng.uniform(0.15, 0.3), held, rng.uniform(0.15, 0.3)), rng.uniform(0.35, 0.9))
                self._add(self.lids, at, _bump(0.15, held, 0.15), rng.uniform(0.3, 0.7), most=True)
                lasts = held + 0.6
            elif kind == "talk":
                lasts = rng.uniform(0.8, 3.0)
                t = np.arange(round(lasts * RATE)) / RATE
                word = np.abs(np.sin(2 * np.pi * rng.uniform(1.5, 3.5) * t + rng.uniform(0, 6))) * rng.uniform(0.15, 0.6)
                word *= 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.4, 1.2) * t + rng.uniform(0, 6))
                self._add(self.mouth, at, word, 1.0, most=True)
                self._add(self.wide, at, np.sin(9 * t), 0.08)
            elif kind == "smile":
                self._add(self.wide, at, _bump(0.25, lasts, 0.4), rng.uniform(0.15, 0.4))
                lasts += 0.65
            elif kind == "nod":  # yes
                t = np.arange(round(0.8 * RATE)) / RATE
                self._add(self.pitch, at, np.abs(np.sin(2 * np.pi * 1.25 * t)), rng.uniform(0.1, 0.3))
            at += lasts + rng.uniform(0.1, 0.6)
        return until

    def pose(self, times: np.ndarray) -> Pose:
        """At times in seconds (n,), with what heads do all the time."""
        rng, grid = self.rng, np.arange(len(self.lids)) / RATE

        def at(line: np.ndarray) -> np.ndarray:
            return np.interp(times, grid, line)

        def drift(size: float) -> np.ndarray:
            waves = [np.sin(2 * np.pi * rng.uniform(0.05, 0.5) * times + rng.uniform(0, 6)) for _ in range(3)]
            return size * np.mean(waves, 0)

        pitch, lids, hang = at(self.pitch), at(self.lids), 0.25 * self.tired * rng.random()
        return Pose(
            np.clip(lids + hang * (1 - lids), 0, 1), np.clip(at(self.mouth), 0, 1.15), np.clip(at(self.wide), 0.5, 1.5),
            at(self.yaw) + drift(0.1), pitch + drift(0.06), drift(0.02), 0.13 * pitch + drift(0.012),
        )  # fmt: skip


def write(rng: np.random.Generator, label: str, seconds: float) -> Script:
    """A clip of one label: what it shows began before, or begins early, and goes on until about its end. Raises KeyError."""
    script = Script(rng, seconds, tired=float(rng.random() if label != "alert" else rng.choice([0.0, 0.5])))
    act = {name: getattr(script, name) for name in LABELS}[label]
    begin = rng.uniform(-0.3, 0.25) * min(seconds, 3)
    if label != "alert" and begin > 0.2:
        script.alert(0, begin - 0.1)
    at = act(begin, seconds - rng.uniform(0, 0.4))
    if label != "alert" and at < seconds:
        script.alert(at, seconds)
    return script


def write_long(rng: np.random.Generator, seconds: float, tired: float) -> Script:
    """A drive: mostly awake, and so tired (0 .. 1) that signs of it come more or less often."""
    script, at = Script(rng, seconds, tired), 0.0
    while at < seconds:
        at = script.alert(at, min(at + rng.exponential(6 + 40 * (1 - tired)), seconds + 1))
        if at < seconds and rng.random() < 0.2 + 0.8 * tired:
            at = getattr(script, str(rng.choice(LABELS[1:])))(at) + rng.uniform(0.3, 1.5)
    return script
