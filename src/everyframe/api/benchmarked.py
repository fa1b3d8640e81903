"""What measuring gives: figures that can be saved, compared and shown."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everyframe.api.results import save_json, table
from everyframe.benchmarking import sweep
from everyframe.benchmarking.compare import Comparison
from everyframe.benchmarking.operators import Operators
from everyframe.benchmarking.outcome import Benchmark, flat
from everyframe.benchmarking.page import page
from everyframe.benchmarking.papers import Found, paper
from everyframe.benchmarking.report import Table
from everyframe.benchmarking.stages import Stages
from everyframe.benchmarking.tables import compare_table, tables, threads_table
from everyframe.files import write_bytes

if TYPE_CHECKING:
    from everyframe.api.given import File


@dataclass(frozen=True)
class BenchmarkReport:
    """What models cost on this machine (docs/benchmark.md explains every figure). benchmark: all figures. strides: of clip
    models, as asked for. stages: a video stage by stage. layers: by engine. table: the published one that is shown, of so many
    frames.
    """

    benchmark: Benchmark
    strides: tuple[int, ...] = ()
    stages: tuple[Stages, ...] = ()
    layers: tuple[Operators, ...] = ()
    table: str | None = None
    frames: int = 100

    def tables(self) -> list[Table]:
        """What is shown."""
        if self.benchmark.table is not None:
            return paper(self.benchmark.table).shown(Found(self.benchmark))
        if self.benchmark.sweep:
            return [sweep.table(self.benchmark)]
        if self.table == "s100":
            return threads_table(self.benchmark, self.frames)
        return tables(self.benchmark, self.strides, self.stages, self.layers)

    def save(self, path: File) -> Path:
        """Writes all figures as JSON, which `compare_benchmarks` reads. Raises OutputError."""
        return save_json(self.to_dict(), path)

    def save_csv(self, path: File) -> Path:
        """Writes a row for each that was measured. Raises OutputError."""
        rows = [flat(row) for row in self.to_dict()["rows"]]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return write_bytes(text.getvalue().encode(), path)

    def save_page(self, path: File) -> Path:
        """Writes one HTML page with tables and pictures. Raises OutputError."""
        names = ", ".join(dict.fromkeys(row.called for row in self.benchmark.rows))
        title, more = f"Benchmark: {names}", dict[str, bytes]()
        if self.benchmark.table is not None:
            chosen = paper(self.benchmark.table)
            title, more = f"{chosen.title}, published and measured", dict(chosen.pictures(Found(self.benchmark)).values())
        if self.benchmark.sweep and (drawn := sweep.picture(self.benchmark)):
            more[f"How cost grows with {self.benchmark.sweep['axis']}"] = drawn
        return write_bytes(page(title, self.benchmark, self.tables(), self.stages, self.layers, more).encode(), path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; times in milliseconds, memory in bytes."""
        return self.benchmark.to_dict()

    def _repr_html_(self) -> str:
        return "".join(table(one.title, one.rows, one.columns) for one in self.tables())


class BenchmarkComparison(Comparison):
    """Two benchmarks, contender by contender."""

    def save(self, path: File) -> Path:
        """Writes it as JSON. Raises OutputError."""
        return save_json(self.to_dict(), path)

    def _repr_html_(self) -> str:
        shown = compare_table(self)
        return table(shown.title, shown.rows, shown.columns)
