"""From scores at every step to single events: threshold, hold, refractory time, re-arm on the background.

    detector = EventDetector(rule, labels)
    event = detector.update(scores, pts_s)      # Event | None, once per step

Numpy only. The state is one streak, one armed flag and one time; `reset` forgets it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from everyframe.errors import UsageError
from everyframe.modelfile.schema import EventRule, Metadata


def asked_of(metadata: Metadata, threshold: float | None, refractory: float | None, where: object) -> Metadata:
    """The same with another threshold (0 to 1) or refractory time, seconds, of its event rule; None keeps the model's. Raises
    UsageError where it has no such rule.
    """
    asked = {name: value for name, value in (("threshold", threshold), ("refractory_s", refractory)) if value is not None}
    if not asked:
        return metadata
    if metadata.events is None:
        raise UsageError(
            "This model makes no events of its scores.", where=where, got=", ".join(asked).removesuffix("_s"),
            hint="only models with an event rule have a threshold and a refractory time; `everyframe info` shows it",
        )  # fmt: skip
    if not 0 < asked.get("threshold", 1) <= 1:
        raise UsageError("A threshold is a probability.", where="threshold", expected="more than 0, to 1", got=threshold)
    if not 0 <= asked.get("refractory_s", 0) < math.inf:
        raise UsageError("A time cannot be negative.", where="refractory", expected="0 s or more", got=refractory)
    return metadata.model_copy(update={"events": metadata.events.model_copy(update=asked)})


@dataclass(frozen=True)
class Event:
    """Something happened: label (and its index), the score it was recognized with, and when, in seconds."""

    label: str
    index: int
    score: float
    pts_s: float


@dataclass(frozen=True)
class Alert:
    """A state has lasted (`runtime.alerts`). label: of the rule's the one with the highest score. score: what the rule looked at.
    pts_s: when; began_s: since when the state was there, both in seconds. number: 1, or more where it was repeated.
    """

    label: str
    score: float
    pts_s: float
    began_s: float
    number: int = 1

    def to_dict(self) -> dict[str, Any]:
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


class EventDetector:
    """Fires when a label other than the background leads with at least `threshold` for `hold_steps` steps in a row.

    Then it is silent for `refractory_s` and until the background's score has been `rearm` or more again.
    A streak counts one label only. Scores are probabilities (a softmax); NaN leads nowhere.
    """

    def __init__(self, rule: EventRule, labels: Sequence[str]) -> None:
        if rule.background not in labels:
            raise UsageError(
                "The event rule's background is not one of the labels.",
                where="events.background",
                expected=f"one of {', '.join(labels)}",
                got=rule.background,
                hint="name the label that means: nothing happens",
            )
        self.rule, self.labels = rule, tuple(labels)
        self._background = self.labels.index(rule.background)
        self.reset()

    def reset(self) -> None:
        """Back to how it was made."""
        self._armed = True
        self._last_s: float | None = None
        self._leader = -1
        self._streak = 0

    @property
    def armed(self) -> bool:
        """Whether an event could fire now, the refractory time aside."""
        return self._armed

    def update(self, scores: np.ndarray, pts_s: float) -> Event | None:
        """scores: (classes,) probabilities of the step whose newest frame was shown at `pts_s`, seconds."""
        scores = np.asarray(scores, float).reshape(-1)
        if len(scores) != len(self.labels):
            raise UsageError("The scores do not fit the labels.", expected=f"{len(self.labels)} scores", got=len(scores))
        leader = int(np.argmax(scores)) if np.isfinite(scores).all() else -1
        fired = self.follow(leader, float(scores[leader]), float(scores[self._background]), pts_s)
        return Event(self.labels[leader], leader, float(scores[leader]), pts_s) if fired else None

    def follow(self, leader: int, score: float, background: float, pts_s: float) -> bool:
        """Whether an event fires in this step. leader: the label with the highest score, -1: none; background: its score."""
        if background >= self.rule.rearm:
            self._armed = True
        if leader < 0 or leader == self._background or score < self.rule.threshold:
            self._leader, self._streak = -1, 0
            return False
        self._streak = self._streak + 1 if leader == self._leader else 1
        self._leader = leader
        resting = self._last_s is not None and pts_s - self._last_s < self.rule.refractory_s
        if self._streak < self.rule.hold_steps or not self._armed or resting:
            return False
        self._armed, self._last_s = False, pts_s
        return True
