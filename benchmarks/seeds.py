"""Results of trainings with several seeds: kept run by run, shown as means with their spread."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from everyframe.benchmarking import describe
from everyframe.files import write_bytes


def read(path: Path) -> dict[str, Any]:
    """What is there already, or the machine alone."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {"machine": describe("torch")}


def amend(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the file; programs that train side by side do it one after another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        results = read(path)
        change(results)
        write_bytes((json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode(), path)
    finally:
        os.close(folder)


def spread(values: Sequence[float | None], factor: float = 100, digits: int = 1) -> str:
    """The mean of those that are known, ± their standard deviation."""
    known = [factor * value for value in values if value is not None]
    if not known:
        return "–"
    return f"{mean(known):.{digits}f}" + (f" ± {stdev(known):.{digits}f}" if len(known) > 1 else "")
