"""The event rule that fits a taught model: tried on streams that the head in question has never seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from everyframe.modelfile.schema import EventRule
from everyframe.runtime.events import EventDetector

THRESHOLDS = (0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3)
HOLD_S = (0.35, 0.2, 0.1, 0.0)
REARMS = (0.5, 0.3)
REFRACTORY_S = 0.8
#: what a false event costs, in recognized gestures
FALSE_COST = 0.25
#: events that are allowed a minute on gestures that were not taught, and on background. Heads that lack a gesture raise more than
#: the whole one does, and a rule is seldom at the limit: 6 of theirs are below 4 of clips that nobody taught
STRANGE_A_MINUTE, QUIET_A_MINUTE = 6.0, 0.5
#: what each one more costs, in recognized gestures. Background goes on all day
STRANGE_COST, QUIET_COST = 1.0, 2.0
#: of fewer gestures, a head that lacks one stands for the whole one less well, and what it says counts less
_ENOUGH = 4
#: the label of a stream with a gesture that its head was not taught
STRANGE = -1


@dataclass(frozen=True, eq=False)
class Stream:
    """scores (steps, classes): probabilities; label: index of the gesture in it, of the background, or STRANGE."""

    scores: np.ndarray
    label: int

    @cached_property
    def leaders(self) -> list[tuple[int, float, list[float]]]:
        """Of each step: the leading label, its score, all scores."""
        order = self.scores.argmax(1)
        return list(zip(order.tolist(), self.scores.max(1).tolist(), self.scores.tolist(), strict=True))


@dataclass(frozen=True)
class Outcome:
    """Of left-out streams under a rule. hits: examples whose first event is right, of `examples`; false: all other events on
    those and on background. quiet_false: on background, of `quiet_s` seconds. strange_false: on gestures that the head in
    question was not taught, of `strange_s` seconds.
    """

    hits: int
    examples: int
    false: int
    quiet_false: int
    quiet_s: float
    strange_false: int
    strange_s: float

    @property
    def quiet_a_minute(self) -> float | None:
        return 60 * self.quiet_false / self.quiet_s if self.quiet_s else None

    @property
    def strange_a_minute(self) -> float | None:
        return 60 * self.strange_false / self.strange_s if self.strange_s else None

    def value(self, gestures: int) -> float:
        """In recognized gestures, of so many that are taught."""
        strange = max(0.0, self.strange_false - STRANGE_A_MINUTE * self.strange_s / 60)
        quiet = max(0.0, self.quiet_false - QUIET_A_MINUTE * self.quiet_s / 60)
        dear = STRANGE_COST * min(1.0, gestures / _ENOUGH)
        return self.hits - FALSE_COST * self.false - dear * strange - QUIET_COST * quiet


def events(stream: Stream, rule: EventRule, labels: Sequence[str], step_s: float) -> list[int]:
    """The label of each event."""
    detector, background = EventDetector(rule, labels), labels.index(rule.background)
    return [
        leader for i, (leader, score, scores) in enumerate(stream.leaders)
        if detector.follow(leader, score, scores[background], i * step_s)
    ]  # fmt: skip


def outcome(streams: Sequence[Stream], rule: EventRule, labels: Sequence[str], step_s: float) -> Outcome:
    hits = examples = false = quiet_false = strange_false = 0
    seconds = {STRANGE: 0.0, labels.index(rule.background): 0.0}
    for stream in streams:
        found = events(stream, rule, labels, step_s)
        if stream.label in seconds:
            seconds[stream.label] += len(stream.scores) * step_s
        if stream.label == STRANGE:
            strange_false += len(found)
        elif stream.label in seconds:
            quiet_false += len(found)
        else:
            right = bool(found) and found[0] == stream.label
            hits, examples, false = hits + right, examples + 1, false + len(found) - right
    strange_s, quiet_s = seconds.values()
    return Outcome(hits, examples, false + quiet_false, quiet_false, quiet_s, strange_false, strange_s)


def rules(background: str, step_s: float) -> Iterator[EventRule]:
    """Those that are tried, the one that asks for more before the one that asks for less."""
    holds = dict.fromkeys(1 + round(seconds / step_s) for seconds in HOLD_S)
    for threshold, hold, rearm in product(THRESHOLDS, holds, REARMS):
        yield EventRule(background=background, threshold=threshold, hold_steps=hold, refractory_s=REFRACTORY_S, rearm=rearm)


def tune(streams: Sequence[Stream], labels: Sequence[str], background: str, step_s: float) -> tuple[EventRule, Outcome]:
    """The rule with the most hits less what false events cost; of equals the one that asks for more."""
    tried = ((rule, outcome(streams, rule, labels, step_s)) for rule in rules(background, step_s))
    return max(tried, key=lambda each: each[1].value(len(labels) - 1))
