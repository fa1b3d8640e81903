"""A benchmark on the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from everyframe.benchmarking.machine import one_line
from everyframe.benchmarking.report import WIDTH, Table
from everyframe.benchmarking.tables import compare_table
from everyframe.cli.show.console import console

if TYPE_CHECKING:
    from everyframe.api.benchmarked import BenchmarkComparison, BenchmarkReport


def show(found: BenchmarkReport, as_json: bool) -> None:
    benchmark = found.benchmark
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        _tables(found.tables())
        print(one_line(benchmark.machine))
    for row in benchmark.rows:
        if row.skipped:
            print(f"not measured: {row.name}: {row.skipped}", file=sys.stderr)
    for note in benchmark.notes:
        print(f"note: {note}", file=sys.stderr)


def show_comparison(found: BenchmarkComparison, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        _tables([compare_table(found)])


def _tables(made: Sequence[Table]) -> None:
    for one in made:
        one.show(console(WIDTH))
