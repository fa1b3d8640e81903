"""What is counted: events against truth. Numpy only.

An event is a *hit* if an interval of its label is open for it: from the interval's start to LATE_S after its end,
each interval once.
Any other event is *false*, a wrong label as much as one out of nothing; an interval without a hit is a *miss*.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from everyframe.modelfile.schema import EventRule
from everyframe.rendering.hands.motions import LABELS, Interval
from everyframe.runtime.events import Event, EventDetector

LATE_S = 1.2
THRESHOLDS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.87)
#: false events a minute of rendered streams that a rule may have. They hold about four times as much that looks like a gesture as
#: recordings of people who make none do (docs/motions.md): one a minute there
MOST_FALSE = 4.0
#: factor of a gesture -> where its ranges end: frame heights of the way of the fingers and of the palm, seconds of a stroke or
#: of a period, frames a second
RANGES: dict[str, tuple[float, ...]] = {
    "amplitude": (0.25, 0.45, 0.8), "duration": (0.3, 0.5, 0.8), "size": (0.09, 0.15), "camera": (11.0, 20.0)
}  # fmt: skip


FACTORS = ("amplitude", "duration", "size", "kind", "look", "camera", "tight")


def _order(part: str) -> tuple[float, str]:
    """Ranges from low to high, words by the alphabet."""
    first, _, rest = part.partition(" ")
    return (-np.inf if first == "<" else np.inf if first == ">=" else float(first) if rest else 0.0, part)


def factors(interval: Interval) -> dict[str, str]:
    """In which range each factor of a gesture lies, or what it is."""
    known = {"duration": interval.factors.get("period", interval.end_s - interval.start_s), **interval.factors}
    return {name: _range(known[name], RANGES[name]) if name in RANGES else str(known[name]) for name in known if name != "period"}


def _range(value: float, ends: tuple[float, ...]) -> str:
    at = int(np.searchsorted(ends, value, side="right"))
    if at in (0, len(ends)):
        return f"< {ends[0]:g}" if at == 0 else f">= {ends[-1]:g}"
    return f"{ends[at - 1]:g} - {ends[at]:g}"


def detect(scores: np.ndarray, rule: EventRule, fps: float, labels: Sequence[str] = LABELS) -> list[Event]:
    """The events of one stream. scores: (frames, classes) probabilities."""
    detector = EventDetector(rule, labels)
    return [event for i, row in enumerate(scores) if (event := detector.update(row, i / fps))]


@dataclass
class Tally:
    """Counts over many streams."""

    seconds: float = 0.0
    hits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABELS[1:], 0))
    misses: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABELS[1:], 0))
    false: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABELS[1:], 0))
    told: list[tuple[Interval, bool]] = field(default_factory=list)  # each gesture that counts, and whether it was a hit

    def add(self, events: Iterable[Event], intervals: Iterable[Interval], seconds: float) -> None:
        """Intervals that become recognizable only after the stream's end ask for nothing, but excuse an event."""
        self.seconds += seconds
        open_intervals = [i for i in intervals if i.end_s > 0.2]
        for event in events:
            found = next(
                (i for i in open_intervals if i.label == event.label and i.start_s <= event.pts_s <= i.end_s + LATE_S),
                None,
            )
            if found is None:
                self.false[event.label] += 1
            else:
                open_intervals.remove(found)
                self.hits[event.label] += 1
                self.told.append((found, True))
        for interval in open_intervals:
            if interval.start_s >= 0 and interval.ready_s < seconds - 0.4:
                self.misses[interval.label] += 1
                self.told.append((interval, False))

    @property
    def f1(self) -> float:
        hits, misses, false = (sum(d.values()) for d in (self.hits, self.misses, self.false))
        return 2 * hits / max(1, 2 * hits + misses + false)

    def by(self, *names: str) -> dict[str, list[int]]:
        """[hits, gestures] for each range of a factor, or of several together."""
        found: dict[str, list[int]] = {}
        for interval, hit in self.told:
            known = factors(interval)
            if all(name in known for name in names):
                counts = found.setdefault(" | ".join(known[name] for name in names), [0, 0])
                counts[0] += hit
                counts[1] += 1
        return dict(sorted(found.items(), key=lambda item: [_order(part) for part in item[0].split(" | ")]))

    def report(self) -> dict:
        """Recall a class, false events a minute, F1."""
        recall = {k: round(self.hits[k] / max(1, self.hits[k] + self.misses[k]), 4) for k in self.hits}
        hits, misses, false = (sum(d.values()) for d in (self.hits, self.misses, self.false))
        return {
            "minutes": round(self.seconds / 60, 2),
            "gestures": hits + misses,
            "recall": round(hits / max(1, hits + misses), 4),
            "recall_by_label": recall,
            "recall_by_factor": {name: self.by(name) for name in FACTORS},
            "recall_by_amplitude_and_duration": self.by("amplitude", "duration"),
            "false_by_label": dict(self.false),
            "false_per_minute": round(false / max(1e-9, self.seconds / 60), 3),
            "f1": round(self.f1, 4),
        }


def tally(all_scores: Iterable[np.ndarray], all_intervals: Iterable[list[Interval]], rule: EventRule, fps: float) -> Tally:
    """Counts over streams; all_scores: (frames, classes) each."""
    total = Tally()
    for scores, intervals in zip(all_scores, all_intervals, strict=True):
        total.add(detect(scores, rule, fps), intervals, len(scores) / fps)
    return total


def tune(
    all_scores: Sequence[np.ndarray],
    all_intervals: Sequence[list[Interval]],
    fps: float,
    most_false: float = MOST_FALSE,
    background: str = "none",
) -> EventRule:
    """The rule of a small grid with the most hits on validation streams at no more than most_false false events a minute, then
    with the fewest of them; where every rule has more, the one with the fewest.
    """
    minutes = sum(len(scores) for scores in all_scores) / fps / 60

    def worth(rule: EventRule) -> tuple[bool, int, int]:
        counted = tally(all_scores, all_intervals, rule, fps)
        hits, false = (sum(counts.values()) for counts in (counted.hits, counted.false))
        return (True, hits, -false) if false <= most_false * minutes else (False, -false, hits)

    return max(
        (
            EventRule(background=background, threshold=threshold, hold_steps=hold, refractory_s=refractory, rearm=rearm)
            for threshold, hold, refractory, rearm in itertools.product(THRESHOLDS, (1, 2, 3), (0.8, 1.2), (0.4, 0.6))
        ),
        key=worth,
    )
