"""What long work says while it runs: a line on standard error, and nothing where nobody watches."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar

#: what changes the line that is being shown: work within other work says what it does there
_shown: ContextVar[Callable[[str], None] | None] = ContextVar("shown", default=None)


@contextlib.contextmanager
def status(first: str = "") -> Iterator[Callable[[str], None]]:
    """Gives a function that changes the line. It is gone when the work is over."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    if (outer := _shown.get()) is not None:
        if first:
            outer(first)
        yield outer
        return
    from rich.console import Console

    with Console(stderr=True).status(first) as line:
        shown = _shown.set(line.update)
        try:
            yield line.update
        finally:
            _shown.reset(shown)


@contextlib.contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function that is told (done, of): a bar with the time that is left, gone when the work is over."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, of: shown.update(task, completed=done, total=of)
