"""From moments to events that people can use: since when, until when, and when it was clearest.

The model's event rule says that a motion was recognized (`runtime.events`), a rule for alerts that a state has lasted
(`runtime.alerts`): that begins an event. It is over when the label's score has fallen below the release, two thirds of the
threshold; between the two nothing changes, so a score that trembles is one event.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from everyframe.runtime.alerts import GAP_S, AlertDetector, AlertRule
from everyframe.runtime.prediction import Prediction, shares
from everyframe.runtime.program import Program

#: seconds after which an event is over, whatever goes on: its video must fit into memory
LONGEST_S = 60.0
RELEASE = 2 / 3


@dataclass(slots=True)
class CameraEvent:
    """id: sorts by time. score: the highest so far, at `peak`. start, peak, end: seconds since 1970; end is None while it lasts.
    snapshot, video: files, where there are any. number: of an alert that is repeated while its state lasts.
    """

    id: str
    camera: str
    model: str
    label: str
    score: float
    start: float
    peak: float
    end: float | None = None
    number: int = 1
    snapshot: str | None = None
    video: str | None = None
    pts_s: float = 0.0  # of the prediction that began it, and of its start, by the camera's clock
    began_s: float = 0.0

    def wall(self, pts_s: float) -> float:
        """Seconds since 1970 of a time of the camera: what somebody does to this machine's clock meanwhile moves no event."""
        return self.start + pts_s - self.began_s

    def to_dict(self) -> dict[str, Any]:
        rounded = {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}
        return {**rounded, "source": self.camera}


class Events:
    """Of one camera. rule: of alerts; None takes the model's event rule. minimum: seconds that an event must last to be one.
    Raises UsageError for a rule that does not fit the program, or a program without any.
    """

    def __init__(self, camera: str, program: Program, rule: AlertRule | None = None, minimum: float = 0.0) -> None:
        self.camera, self.program, self.minimum = camera, program, minimum
        self._detector = AlertDetector(rule or AlertRule(quiet=0), program)
        self._rule = rule if rule is not None and rule.labels else None
        events = program.metadata.events
        self._off = self._rule.off if self._rule else RELEASE * events.threshold if events else 0.0
        self._numbers = itertools.count()
        self._open: dict[int, CameraEvent] = {}
        self._told: set[str] = set()
        self._forget()

    @property
    def labels(self) -> tuple[str, ...]:
        """What its events may be called."""
        if self._rule:
            return tuple(self._detector.labels)
        events, program = self.program.metadata.events, self.program
        told = program.labels_for(program.interface.classes or len(program.labels or ()))
        return tuple(label for label in told if events is None or label != events.background)

    def _forget(self) -> None:
        self._now: float | None = None
        self._there = np.zeros(0, bool)

    def update(self, prediction: Prediction, quiet: bool = False) -> Iterator[CameraEvent]:
        """Events that begin, and those that are over: `end` says which. quiet: none begins now."""
        now = prediction.pts_s
        if self._now is not None and not 0 <= now - self._now <= 2 * GAP_S:
            yield from self.close()
        levels = self._levels(prediction)
        self._follow(levels, now)
        alert = self._detector.update(prediction)
        if alert is not None and not quiet:
            place = 0 if self._rule else prediction.event.index if prediction.event else 0
            if place in self._open:
                self._open[place].number = alert.number
                yield self._open[place]
            else:
                self._open[place] = self._begun(place, alert.label, prediction)
        for place, event in list(self._open.items()):
            event.score, event.peak = float(self._peak[place]), event.wall(float(self._peak_at[place]))
            over = not self._there[place] or now - event.began_s > LONGEST_S
            if event.id not in self._told and now - event.began_s >= self.minimum:
                self._told.add(event.id)
                yield event
            if over:
                yield from self._over(place, now)
        self._now = now

    def close(self) -> Iterator[CameraEvent]:
        """The camera was lost, or the run is over: so is what lasted."""
        for place in list(self._open):
            yield from self._over(place, self._now or 0.0)
        self._forget()

    def _levels(self, prediction: Prediction) -> np.ndarray:
        scores = shares(prediction.scores)
        return np.array([self._detector.level(scores)]) if self._rule else scores

    def _follow(self, levels: np.ndarray, now: float) -> None:
        there = levels >= self._off
        if self._there.shape != there.shape:
            self._there = np.zeros_like(there)
            self._since, self._peak, self._peak_at = (np.zeros(there.shape) for _ in range(3))
        fresh = there & ~self._there
        self._since[fresh], self._peak[fresh] = now, -np.inf
        higher = there & (levels > self._peak)
        self._peak[higher], self._peak_at[higher] = levels[higher], now
        self._there = there

    def _begun(self, place: int, label: str, prediction: Prediction) -> CameraEvent:
        now = prediction.pts_s
        began = float(self._since[place]) if self._there[place] else now
        start = time.time() - (now - began)
        words = "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", word).strip("_") for word in (self.camera, label))
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.localtime(start))}-{words}-{next(self._numbers)}"
        score = float(self._peak[place])
        return CameraEvent(name, self.camera, self.program.name, label, score, start, start, pts_s=now, began_s=began)

    def _over(self, place: int, now: float) -> Iterator[CameraEvent]:
        event = self._open.pop(place)
        if event.id in self._told:
            self._told.discard(event.id)
            event.end = event.wall(now)
            yield event
