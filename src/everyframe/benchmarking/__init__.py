"""Honest timing: competitors take turns, and every figure carries the machine it was measured on. No torch.

In one process, for the programs in benchmarks/: `timing` (turns, CPU and wall time) -> `machine` (processor, threads, versions,
load) -> `report` (tables, JSON, and the generated parts of a Markdown page); `variants` times models beside each other.
What `everyframe benchmark` does: `subject` (a model on an engine) in a `worker` process, with `energy` -> `contest` (turns of
workers, `noise` around them) -> `outcome`; `stages` (a video, part by part) and `operators` (layer by layer) -> `tables`, `draw`,
`plane`, `page`; `compare` says what is beyond noise, `sweep` how cost grows, `costs` what a file is made of; `papers/` has
published tables.
"""

from everyframe.benchmarking.machine import describe, one_line
from everyframe.benchmarking.report import Table, fill, save
from everyframe.benchmarking.timing import Case, Timing, race

__all__ = ["Case", "Table", "Timing", "describe", "fill", "one_line", "race", "save"]
