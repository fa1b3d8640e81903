"""Honest timing: competitors take turns in one process, and every figure carries the machine it was measured on.

In the order in which data passes through: `timing` (turns, CPU and wall time) -> `machine` (processor, threads, versions,
load) -> `report` (tables, JSON, and the generated parts of a Markdown page). The programs in benchmarks/ are built from
these. `variants` times models beside each other on one engine. No torch.
"""

from everyframe.benchmarking.machine import describe, one_line
from everyframe.benchmarking.report import Table, fill, save
from everyframe.benchmarking.timing import Case, Timing, race

__all__ = ["Case", "Table", "Timing", "describe", "fill", "one_line", "race", "save"]
