"""The event rule that fits a taught model: tried on streams that the head in question has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everyframe.modelfile.schema import EventRule
from everyframe.runtime.events import Event, EventDetector

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
HOLD_S = (0.0, 0.1, 0.2, 0.35)
REARMS = (0.3, 0.5)
REFRACTORY_S = 0.8
#: what a false event costs, in recognized gestures
FALSE_COST = 0.5


@dataclass(frozen=True, eq=False)
class Stream:
    """scores (steps, classes): probabilities; label: index of the gesture in it, the background's where there is none."""

    scores: np.ndarray
    label: int


@dataclass(frozen=True)
class Outcome:
    """Of left-out streams under a rule. hits: examples whose first event is right, of `examples`; false: all other events;
    quiet_false: those on background footage.
    """

    hits: int
    examples: int
    false: int
    quiet_false: int


def events(stream: Stream, rule: EventRule, labels: Sequence[str], step_s: float) -> list[Event]:
    detector = EventDetector(rule, labels)
    return [event for i, row in enumerate(stream.scores) if (event := detector.update(row, i * step_s))]


def outcome(streams: Sequence[Stream], rule: EventRule, labels: Sequence[str], step_s: float) -> Outcome:
    hits = examples = false = quiet_false = 0
    background = labels.index(rule.background)
    for stream in streams:
        found = events(stream, rule, labels, step_s)
        if stream.label == background:
            quiet_false += len(found)
        else:
            right = bool(found) and found[0].index == stream.label
            hits, examples, false = hits + right, examples + 1, false + len(found) - right
    return Outcome(hits, examples, false + quiet_false, quiet_false)


def tune(streams: Sequence[Stream], labels: Sequence[str], background: str, step_s: float) -> tuple[EventRule, Outcome]:
    """The rule with the most hits less what false events cost; of equals the one that asks for more."""
    best: tuple[float, EventRule, Outcome] | None = None
    for threshold in reversed(THRESHOLDS):
        for hold in dict.fromkeys(1 + round(seconds / step_s) for seconds in reversed(HOLD_S)):
            for rearm in reversed(REARMS):
                rule = EventRule(
                    background=background, threshold=threshold, hold_steps=hold, refractory_s=REFRACTORY_S, rearm=rearm
                )
                found = outcome(streams, rule, labels, step_s)
                value = found.hits - FALSE_COST * found.false
                if best is None or value > best[0]:
                    best = value, rule, found
    if best is None:
        raise ValueError("no rule to choose from")
    return best[1], best[2]
