"""Is it faster, or is it noise? Ratios with the interval that their turns allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everyframe.benchmarking.outcome import Benchmark, Measured

#: resampled this often for an interval
RESAMPLED = 2000
#: facts of a machine that two results must share to be compared without a word
MACHINE = ("cpu", "cores", "system", "python", "packages")


@dataclass(frozen=True)
class Ratio:
    """How many times faster, with the interval that holds it in 95 of 100 repetitions."""

    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Is the difference beyond noise?"""
        return not self.low <= 1 <= self.high

    def __str__(self) -> str:
        return f"{self.value:.2f}x ({self.low:.2f} to {self.high:.2f})"


def ratio(slower: Sequence[float], faster: Sequence[float], *, same_run: bool) -> Ratio:
    """How many times less `faster` takes, from the times of turns. same_run: turn n of one was beside turn n of the other, so
    that they are compared pair by pair; else turns are drawn from each by itself.
    """
    a, b = np.array(slower), np.array(faster)
    rng = np.random.default_rng(0)
    if same_run and len(a) == len(b):
        shares = a / b
        middle, drawn = np.median(shares), np.median(rng.choice(shares, (RESAMPLED, len(a))), axis=1)
    else:
        middle = np.median(a) / np.median(b)
        drawn = np.median(rng.choice(a, (RESAMPLED, len(a))), axis=1) / np.median(rng.choice(b, (RESAMPLED, len(b))), axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Ratio(float(middle), float(low), float(high))


@dataclass(frozen=True)
class Change:
    """One contender before and after. ratio: how many times faster it became."""

    before: Measured
    after: Measured
    ratio: Ratio

    @property
    def verdict(self) -> str:
        if not self.ratio.certain:
            return "no difference beyond noise"
        return "faster" if self.ratio.value > 1 else "slower"


@dataclass(frozen=True)
class Comparison:
    """changes: of what both results have. alone: names that only one has. notes: why the figures may not be comparable."""

    changes: list[Change]
    alone: list[str]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        return {
            "changes": [
                {
                    "name": one.after.name, "before_ms": float(np.median(one.before.basis)),
                    "after_ms": float(np.median(one.after.basis)), "ratio": one.ratio.value,
                    "interval": [one.ratio.low, one.ratio.high], "verdict": one.verdict,
                }
                for one in self.changes
            ],
            "alone": self.alone, "notes": self.notes,
        }  # fmt: skip


def compare(before: Benchmark, after: Benchmark) -> Comparison:
    """Two results, contender by contender: the same file name, engine, threads and streams."""
    old, new = ({row.key: row for row in one.measured} for one in (before, after))
    changes = [Change(old[key], row, ratio(old[key].basis, row.basis, same_run=False)) for key, row in new.items() if key in old]
    alone = [row.name for key, row in {**old, **new}.items() if key not in old or key not in new]
    notes = [
        f"{name} differs: {before.machine.get(name)} before, {after.machine.get(name)} after"
        for name in MACHINE
        if before.machine.get(name) != after.machine.get(name)
    ]
    busy = [f"{when}: {note}" for when, one in (("before", before), ("after", after)) for note in one.notes]
    return Comparison(changes, alone, notes + busy)
