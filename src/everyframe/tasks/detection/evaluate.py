"""How good a model is: KITTI's average precision by class, difficulty and space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everyframe.data.scans.kitti import Scan
from everyframe.data.scans.objects import Objects
from everyframe.errors import SourceError
from everyframe.progress import CountProgress, silent
from everyframe.tasks.detection.detector import Detector
from everyframe.tasks.detection.metrics import CLASSES, DIFFICULTIES, SPACES, Precision, average_precision

#: scores from which on what is found is measured: precision at every recall is asked for
LEAST = 0.05


@dataclass(frozen=True)
class Row:
    """One class and difficulty. precision: by space."""

    label: str
    difficulty: str
    precision: dict[str, Precision]

    @property
    def labeled(self) -> int:
        return self.precision["space"].labeled


@dataclass(frozen=True)
class Quality:
    """scans: how many were measured, of so many planned; fewer where it was interrupted. skipped: what cannot be, and why."""

    model: str
    rows: tuple[Row, ...]
    scans: int
    planned: int
    skipped: tuple[str, ...] = ()

    heading = ("class", "difficulty", "labeled", "on the ground", "in space", "in the picture", "ground R11", "space R11")

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
        ground, space = (_percent(self.mean(name)) for name in ("ground", "space"))
        return f"{self.scans} scan{'s' * (self.scans != 1)}: mean AP (R40, moderate) {ground} on the ground, {space} in space"

    def table(self) -> list[tuple[str, ...]]:
        return [
            (
                row.label, row.difficulty, str(row.labeled),
                *(_percent(100 * row.precision[space].r40) for space in ("ground", "space", "picture")),
                *(_percent(100 * row.precision[space].r11) for space in ("ground", "space")),
            )
            for row in self.rows
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: precision of 0..1."""
        return {
            "model": self.model, "scans": self.scans, "partial": self.partial, "skipped": list(self.skipped),
            "mean": {space: _rounded(self.mean(space) / 100) for space in SPACES},
            "classes": [
                {"label": row.label, "difficulty": row.difficulty, "labeled": row.labeled}
                | {space: {"r40": _rounded(made.r40), "r11": _rounded(made.r11)} for space, made in row.precision.items()}
                for row in self.rows
            ],
        }  # fmt: skip


def rows_of(truth: Sequence[Objects], found: Sequence[Objects], classes: Sequence[str]) -> tuple[Row, ...]:
    return tuple(
        Row(name, level, {space: average_precision(truth, found, name, level, space) for space in SPACES})
        for name in classes if name in CLASSES
        for level in DIFFICULTIES
    )  # fmt: skip


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
    rows = rows_of(truth, found, detector.classes)
    return Quality(detector.program.name, rows, len(truth), len(scans), tuple(skipped))


def _mean(precisions: Iterable[Precision]) -> float:
    known = [100 * each.r40 for each in precisions if each.labeled]
    return float(np.mean(known)) if known else float("nan")


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}"


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 5)
