"""Standard output, and what all verbs write alike: labels, counts, durations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from everyframe.errors import UsageError

if TYPE_CHECKING:
    from everyframe.modelfile.schema import Task


def console() -> Console:
    """Standard output; wide enough for tables when it is not a terminal."""
    made = Console(highlight=False, soft_wrap=False)
    return made if made.is_terminal else Console(highlight=False, width=140)


def read_labels(path: Path | None) -> tuple[str, ...] | None:
    """One label a line; empty lines at the end are ignored. Raises UsageError."""
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "The label file cannot be read.",
            where=path,
            got=str(error),
            hint="give a UTF-8 text file with one label a line",
        ) from None
    return tuple(line.strip() for line in text.rstrip().splitlines())


def count(n: float) -> str:
    """1234567 -> '1.23 M'."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(n) >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f}"


def duration(frames: int, ms: float | None) -> str:
    return f"{frames} frame{'s' if frames != 1 else ''}" + (f" ({ms:.0f} ms)" if ms is not None else "")


def as_task(name: str | None) -> Task | None:
    """Raises UsageError for a task that there is not."""
    from typing import get_args

    from everyframe.errors import UsageError
    from everyframe.modelfile.schema import Task

    tasks: tuple[Task, ...] = get_args(Task)
    found = next((task for task in tasks if task == name), None)
    if name is not None and found is None:
        raise UsageError("There is no such task.", where=f"--task {name}", expected=", ".join(tasks), got=name)
    return found
