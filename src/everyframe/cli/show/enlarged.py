"""Models that enlarge on the command line: what they write."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everyframe.errors import EveryframeError
    from everyframe.tasks.super_resolution.apply import Job


def refuse(task: str, given: Mapping[str, Any]) -> None:
    """Raises UsageError for an option that says nothing of what this task does. given: option -> its value."""
    from everyframe.errors import UsageError
    from everyframe.modelfile.schema import BESIDE

    for name, value in given.items():
        if value not in (None, False, [], ()):
            what = f"This model {BESIDE[task][0]} and recognizes nothing."
            raise UsageError(what, where=name, got=str(value), hint="leave it out")


def predict(
    model: str, sources: Sequence[str], output: Path | None, *, seconds: float | None, engine: str, threads: int | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Writes them, says so, and gives the exit code."""
    from everyframe.progress import status
    from everyframe.tasks.super_resolution import apply
    from everyframe.tasks.super_resolution.enhance import Enhancer

    jobs = apply.plan(sources, output)
    failures = 0

    def failed(job: Job, error: EveryframeError) -> None:
        nonlocal failures
        failures += 1
        print(f"error: {job.name}: {error}", file=sys.stderr)

    with Enhancer(model, engine=engine, threads=threads) as enhancer, status("opening the model") as told:
        for made in apply.run(enhancer, jobs, seconds=seconds, told=told, failed=failed if len(jobs) > 1 else None):
            print(json.dumps(made.to_dict()) if as_json else made.text(), flush=True)
            for note in made.notes:
                print(f"note: {note}", file=sys.stderr)
    return 2 if failures else 0
