"""From scores at every step to alerts. An event is a moment; an alert is about a state that lasts: closed eyes, an open door.

    detector = AlertDetector(AlertRule(labels=("drowsy",), seconds=60, share=0.15), program)
    alert = detector.update(prediction)      # Alert | None, once per prediction

A share of the last minute is what is known as PERCLOS, where the state is closed eyes (Wierwille et al., 1994: 0.15 is drowsy).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from everyframe.errors import UsageError
from everyframe.modelfile.interface import Interface
from everyframe.runtime.events import Alert, EventDetector
from everyframe.runtime.prediction import Prediction, name_and_unit, shares

#: seconds between two predictions for which the state is taken to last: a camera that stalls for longer says nothing about it
GAP_S = 1.0
_TINY = 1e-9


@dataclass(frozen=True)
class AlertRule:
    """labels: whose state it is; the scores of several are added, of a multilabel model the highest counts, of a regression the
    largest value. None: an event of the model's event rule is an alert. threshold: from which score on the state is there.
    release: below which it is over; None is two thirds of the threshold. seconds, share: it is an alert once the state was there
    for that share of so many last seconds. quiet: seconds after an alert without another. repeat: seconds after which it is one
    again while the state lasts; 0 is never. Raises UsageError for what is impossible.
    """

    labels: tuple[str, ...] = ()
    threshold: float = 0.6
    release: float | None = None
    seconds: float = 1.0
    share: float = 1.0
    quiet: float = 10.0
    repeat: float = 0.0

    def __post_init__(self) -> None:
        for name, wanted, there in (
            ("threshold", "a number", math.isfinite(self.threshold)),
            ("release", "at most the threshold", self.off <= self.threshold),
            ("seconds", "0 or more", 0 <= self.seconds < math.inf),
            ("share", "more than 0, to 1", 0 < self.share <= 1),
            ("quiet", "0 or more", 0 <= self.quiet < math.inf),
            ("repeat", "0 or more", 0 <= self.repeat < math.inf),
        ):
            if not there:
                raise UsageError("This is no rule for alerts.", where=name, expected=wanted, got=getattr(self, name))

    @property
    def off(self) -> float:
        return self.threshold * 2 / 3 if self.release is None else self.release

    @classmethod
    def read(cls, settings: Iterable[str]) -> AlertRule:
        """Of words such as `labels=drowsy,yawning` and `seconds=2`, several of them in one text too. Raises UsageError."""
        known = [field.name for field in fields(cls)]
        found: dict[str, Any] = {}
        for word in " ".join(settings).split():
            name, equals, value = word.partition("=")
            if name not in known or not equals:
                raise UsageError(
                    "This is no setting of an alert.", where="--alert-rule", expected=", ".join(f"{each}=" for each in known),
                    got=word, hint='for example --alert-rule "labels=drowsy seconds=2"; a label with spaces is written with _',
                )  # fmt: skip
            try:
                found[name] = tuple(dict.fromkeys(filter(None, value.split(",")))) if name == "labels" else float(value)
            except ValueError:
                raise UsageError("This is no number.", where=f"--alert-rule {name}", expected="a number", got=value) from None
        return cls(**found)


class Watched(Protocol):
    """What a detector needs of a Program."""

    path: str
    interface: Interface
    labels: tuple[str, ...] | None

    @property
    def classes_one(self) -> bool: ...
    def labels_for(self, classes: int) -> tuple[str, ...]: ...
    def event_detector(self) -> EventDetector | None: ...


class AlertDetector:
    """Follows the predictions of one stream; a time before the last one begins anew. labels: whose state it is. Raises
    UsageError for labels that the program does not have, and where it has neither labels nor events to look at.
    """

    def __init__(self, rule: AlertRule, program: Watched) -> None:
        self.rule = rule
        told = program.labels_for(program.interface.classes or len(program.labels or ()))
        names = {form: n for n, label in enumerate(told) for form in (label.replace(" ", "_"), name_and_unit(label)[0])}
        names |= {label: n for n, label in enumerate(told)}
        if unknown := [label for label in rule.labels if label not in names]:
            raise UsageError("The model has no such label.", where="labels of an alert", expected=_listed(told), got=unknown[0])
        if not rule.labels and program.event_detector() is None:
            raise UsageError(
                "This model has no event rule: which of its labels is an alert?", where=program.path, expected=_listed(told),
                hint='name them: --alert-rule "labels=..."',
            )  # fmt: skip
        if rule.labels and rule.threshold > 1 and program.classes_one:
            raise UsageError("No score comes to this threshold.", where="threshold", expected="at most 1", got=rule.threshold)
        self._places = [names[label] for label in rule.labels]
        self.labels = [told[place] for place in self._places]
        self._added = program.classes_one
        self.reset()

    def reset(self) -> None:
        """Back to how it was made."""
        self._now: float | None = None  # of the newest prediction
        self._last: float | None = None  # of the last alert
        self._there: deque[tuple[float, float]] = deque()  # from when to when the state was
        self._on, self._armed, self._number = False, True, 0

    def update(self, prediction: Prediction) -> Alert | None:
        now, last = prediction.pts_s, self._now
        if last is not None and now < last:
            self.reset()
        return self._state(prediction) if self._places else self._moment(prediction)

    def _moment(self, prediction: Prediction) -> Alert | None:
        self._now, event = prediction.pts_s, prediction.event
        if event is None or self._rested < self.rule.quiet:
            return None
        self._last = self._now
        return Alert(event.label, event.score, event.pts_s, event.pts_s)

    def level(self, scores: np.ndarray) -> float:
        """What the rule looks at, of scores (classes,)."""
        return self._level(scores[self._places])

    def _level(self, scores: np.ndarray) -> float:
        return float(scores.sum() if self._added else scores.max())

    def _state(self, prediction: Prediction) -> Alert | None:
        scores = shares(prediction.scores)[self._places]
        score = self._level(scores)
        lasting, needed = self._lasting(score, prediction.pts_s), self.rule.share * self.rule.seconds
        if not self._on and lasting <= needed:
            self._armed, self._number = True, 0
        due = self._rested >= self.rule.quiet if self._armed else 0 < self.rule.repeat <= self._rested
        if not self._on or lasting < needed - _TINY or not due:
            return None
        self._armed, self._last, self._number = False, prediction.pts_s, self._number + 1
        began = self._there[0][0] if self._there else prediction.pts_s
        return Alert(self.labels[int(scores.argmax())], score, prediction.pts_s, began, self._number)

    @property
    def _rested(self) -> float:
        """Seconds since the last alert."""
        return math.inf if self._last is None or self._now is None else self._now - self._last

    def _lasting(self, score: float, now: float) -> float:
        """Seconds, of the last ones that count, in which the state was there; it stays as it is until the next prediction."""
        if self._on and self._now is not None:
            begin, end = self._now, min(now, self._now + GAP_S)
            if self._there and self._there[-1][1] == begin:
                begin = self._there.pop()[0]
            self._there.append((begin, end))
        self._now, self._on = now, score >= (self.rule.off if self._on else self.rule.threshold)
        begins = now - self.rule.seconds
        while self._there and self._there[0][1] <= begins:
            self._there.popleft()
        return sum(end - max(begin, begins) for begin, end in self._there)


def _listed(labels: Sequence[str], most: int = 12) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more
