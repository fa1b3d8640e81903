"""Published tables beside what was measured here: one file a paper, which is its figures, what to measure, and why both differ.

Published figures are those of the papers and their authors' pages; what could not be confirmed is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from everyframe.benchmarking.machine import one_line
from everyframe.benchmarking.outcome import Benchmark, Measured
from everyframe.benchmarking.report import Table
from everyframe.errors import UsageError
from everyframe.peers import PEERS

NAMES = ("s100", "efficient", "rt3d", "tsm", "co3d")
#: of a cell for which there is nothing
NOTHING = "–"


@dataclass(frozen=True)
class Variant:
    """A model to be measured. network: of the zoo. kind: `clip` or `step`. profile: a published one, by which weights are zero.
    batch: clips a call. size: height and width, where the paper's are not the zoo's.
    """

    network: str
    kind: str = "clip"
    profile: str = ""
    batch: int = 1
    size: int | None = None

    @property
    def file(self) -> str:
        """The name of its file, by which its results are found."""
        more = (self.profile, f"batch {self.batch}" if self.batch > 1 else "", f"{self.size}" if self.size else "")
        return " ".join(filter(None, (self.network, *more))) + f".{self.kind}.onnx"


@dataclass(frozen=True)
class Found:
    """What was measured for a paper. cards: by network, what the zoo knows of all its networks, measured now or not."""

    benchmark: Benchmark

    @property
    def cards(self) -> Mapping[str, Mapping[str, Any]]:
        return self.benchmark.cards

    def rows(self, variant: Variant) -> list[Measured]:
        """Of one thread and one stream."""
        return [row for row in self.benchmark.measured if Path(row.model).name == variant.file and row.alone]

    def best(self, variant: Variant, peers: bool = False) -> Measured | None:
        """The fastest on engines of everyframe's own (peers: on other systems)."""
        rows = [row for row in self.rows(variant) if (row.engine in PEERS) == peers]
        return min(rows, key=ms, default=None)

    def on(self, variant: Variant, engine: str) -> Measured | None:
        return next((row for row in self.rows(variant) if row.engine == engine), None)

    def circumstances(self) -> list[str]:
        """What the figures were measured on, and what is to be known of them; nothing where none was."""
        if not self.benchmark.measured:
            return ["Nothing is timed yet: what stands here is what the networks' files say."]
        return [one_line(self.benchmark.machine), *(f"Note: {note}" for note in self.benchmark.notes)]

    def layers(self, variant: Variant) -> list[Mapping[str, Any]]:
        """Multiply-adds, weights and states by layer."""
        return [*self.benchmark.costs.get(variant.file, {}).get("layers", ())]


@dataclass(frozen=True)
class Paper:
    """title, source: of what was published. variants: what is measured. pictures: name of a file, without ending -> (what it
    shows,
    PNG).
    """

    title: str
    source: str
    variants: tuple[Variant, ...]
    tables: Callable[[Found], list[Table]]
    pictures: Callable[[Found], dict[str, tuple[str, bytes]]] = lambda _: {}

    def shown(self, found: Found) -> list[Table]:
        """Its tables, but those for which nothing is there."""
        return [table for table in self.tables(found) if table.rows]

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(variant.network for variant in self.variants))


def paper(name: str) -> Paper:
    """Raises UsageError."""
    if name not in NAMES:
        raise UsageError("There is no such table.", expected=", ".join(NAMES), got=name)
    found: Paper = import_module(f"{__name__}.{name}").PAPER
    return found


def ms(row: Measured) -> float:
    """Of a call: processor time of one thread."""
    return float(median(row.basis))


def rate(row: Measured | None, clips: int = 1) -> float | None:
    """Calls a second of processor time."""
    return None if row is None else 1e3 * clips / ms(row)


def shown(value: float | None, digits: int | None = None) -> str:
    """Three digits that count, or so many behind the point."""
    if value is None:
        return NOTHING
    if digits is not None:
        return f"{value:.{digits}f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def times(value: float | None, digits: int = 2) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}x"


def over(slow: Measured | None, fast: Measured | None) -> float | None:
    """How many times faster."""
    return ms(slow) / ms(fast) if slow is not None and fast is not None else None
