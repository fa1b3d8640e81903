"""How good a model is: KITTI's average precision by class, difficulty and space."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from everyframe.data.scans.kitti import Scan
from everyframe.data.scans.objects import Objects
from everyframe.errors import SourceError
from everyframe.progress import CountProgress, silent
from everyframe.tasks.detection import metrics
from everyframe.tasks.detection.detector import Detector
from everyframe.tasks.detection.metrics import CLASSES, DIFFICULTIES, SPACES, Precision, Ranking, average_precision

#: scores from which on what is found is measured: precision at every recall is asked for
LEAST = 0.05
#: class, difficulty, space
Kind: TypeAlias = tuple[str, str, str]
#: where boxes are compared that have intervals, too
MEASURED = ("ground", "space")


@dataclass(frozen=True)
class Row:
    """One class and difficulty. precision: by space. intervals: of R40, in percent, by space, where they are known."""

    label: str
    difficulty: str
    precision: dict[str, Precision]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def labeled(self) -> int:
        return self.precision["space"].labeled

    def cells(self, space: str) -> tuple[str, str]:
        return _percent(100 * self.precision[space].r40), _range(self.intervals.get(space))


@dataclass(frozen=True)
class Quality:
    """scans: how many were measured, of so many planned; fewer where it was interrupted. skipped: what cannot be, and why.
    intervals: of `mean`, in percent, by space: where it would lie with other scans of the same kind, by scans drawn again.
    """

    model: str
    rows: tuple[Row, ...]
    scans: int
    planned: int
    skipped: tuple[str, ...] = ()
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    heading = (
        "class", "difficulty", "labeled", "on the ground", "ground 95 %", "in space", "space 95 %", "in the picture",
        "ground R11", "space R11",
    )  # fmt: skip

    @property
    def partial(self) -> bool:
        return self.missing > 0

    @property
    def missing(self) -> int:
        """Scans that were not come to."""
        return self.planned - self.scans - len(self.skipped)

    def mean(self, space: str) -> float:
        """Over classes, moderate difficulty, R40, percent; NaN where nothing is labeled."""
        return _mean(row.precision[space] for row in self.rows if row.difficulty == "moderate")

    def summary(self) -> str:
        ground, space = (f"{_percent(self.mean(name))}{self._between(name)}" for name in MEASURED)
        return f"{self.scans} scan{'s' * (self.scans != 1)}: mean AP (R40, moderate) {ground} on the ground, {space} in space"

    def table(self) -> list[tuple[str, ...]]:
        return [
            (
                row.label, row.difficulty, str(row.labeled),
                *(cell for space in MEASURED for cell in row.cells(space)), _percent(100 * row.precision["picture"].r40),
                *(_percent(100 * row.precision[space].r11) for space in MEASURED),
            )
            for row in self.rows
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: precision of 0..1."""
        return {
            "model": self.model, "scans": self.scans, "partial": self.partial, "skipped": list(self.skipped),
            "mean": {space: _rounded(self.mean(space) / 100) for space in SPACES},
            "interval": {space: _ends(ends) for space, ends in self.intervals.items()},
            "classes": [
                {"label": row.label, "difficulty": row.difficulty, "labeled": row.labeled}
                | {
                    space: {"r40": _rounded(made.r40), "r11": _rounded(made.r11)}
                    | ({"interval": _ends(row.intervals[space])} if space in row.intervals else {})
                    for space, made in row.precision.items()
                }
                for row in self.rows
            ],
        }  # fmt: skip

    def _between(self, space: str) -> str:
        return f" ({_range(self.intervals[space])})" if space in self.intervals else ""


def drawn(ranked: Mapping[Kind, Ranking]) -> dict[Kind, np.ndarray]:
    """(R,) R40 in percent of scans that were drawn again, the same ones for each model. Empty of fewer than two scans."""
    count = max((len(each.labeled) for each in ranked.values()), default=0)
    if count < 2:
        return {}
    times = metrics.drawn(count)
    return {kind: 100 * metrics.drawn_precision(each, times) for kind, each in ranked.items() if kind[2] in MEASURED}


def drawn_means(each: Mapping[Kind, np.ndarray]) -> dict[str, np.ndarray]:
    """Of `drawn`, by space: (R,) `Quality.mean`."""
    known = {kind: values for kind, values in each.items() if kind[1] == "moderate" and not np.isnan(values).all()}
    of = {space: [values for kind, values in known.items() if kind[2] == space] for space in MEASURED}
    return {space: np.mean(rows, 0) for space, rows in of.items() if rows}


def rankings(truth: Sequence[Objects], found: Sequence[Objects], classes: Sequence[str]) -> dict[Kind, Ranking]:
    """truth, found: of the same scans."""
    kinds = itertools.product([name for name in classes if name in CLASSES], DIFFICULTIES, SPACES)
    return {kind: metrics.ranking(truth, found, *kind) for kind in kinds}


def overall(truth: Sequence[Objects], found: Sequence[Objects], classes: Sequence[str], lenient: float = 1.0) -> dict[str, float]:
    """Means over classes, moderate, R40, percent. lenient: the share of KITTI's overlaps that is asked for."""
    made = {
        space: _mean(
            average_precision(truth, found, name, "moderate", space, lenient * CLASSES[name][0]) for name in classes
        )
        for space in ("ground", "space")
    }  # fmt: skip
    return {f"ap_{space}": value for space, value in made.items()}


def measure(detector: Detector, scans: Sequence[Scan], *, progress: CountProgress = silent) -> Quality:
    """Of labeled scans. detector: of the threshold `LEAST`. Ctrl-C gives what is done. Raises EngineError, and SourceError where
    nothing can be measured.
    """
    truth, found, skipped = answers(detector, scans, progress=progress)
    ranked = rankings(truth, found, detector.classes)
    again = drawn(ranked)
    means = {space: ends for space, values in drawn_means(again).items() if (ends := metrics.interval(values)) is not None}
    return Quality(detector.program.name, rows_of(ranked, again), len(truth), len(scans), tuple(skipped), means)


def rows_of(ranked: Mapping[Kind, Ranking], again: Mapping[Kind, np.ndarray]) -> tuple[Row, ...]:
    rows = []
    for name, level in dict.fromkeys(kind[:2] for kind in ranked):
        made = {space: metrics.precision(ranked[name, level, space]) for space in SPACES}
        ends = {space: metrics.interval(again[name, level, space]) for space in MEASURED if (name, level, space) in again}
        rows.append(Row(name, level, made, {space: both for space, both in ends.items() if both is not None}))
    return tuple(rows)


def answers(
    detector: Detector, scans: Sequence[Scan], *, progress: CountProgress = silent
) -> tuple[list[Objects], list[Objects], list[str]]:
    """What is labeled and what is found in each scan; and what cannot be measured, and why. As `measure`."""
    truth: list[Objects] = []
    found: list[Objects] = []
    skipped: list[str] = []
    last: SourceError | None = None
    try:
        for number, scan in enumerate(scans):
            progress(number, len(scans))
            try:
                labels, calibration = scan.objects(), scan.calibration()
                boxes = detector.detect(scan.points(), scan.scan).objects(calibration)
            except SourceError as error:
                last = error
                skipped.append(f"{scan.name}: {error.what}")
            else:
                truth.append(labels)
                found.append(boxes)
    except KeyboardInterrupt:
        if not truth:
            raise
    progress(len(scans), len(scans))
    if not truth and last is not None:
        raise last
    return truth, found, skipped


def _mean(precisions: Iterable[Precision]) -> float:
    known = [100 * each.r40 for each in precisions if each.labeled]
    return float(np.mean(known)) if known else float("nan")


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}"


def _range(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else "-".join(_percent(end) for end in ends)


def _ends(ends: tuple[float, float]) -> list[float | None]:
    return [_rounded(end / 100) for end in ends]


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 5)
