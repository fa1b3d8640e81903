"""What long work says while it runs: a line that changes or a bar on a terminal, a plain line now and then in a log.

Work tells a `TextProgress` what it does, or a `CountProgress` how much is done. `status` and `bar` show that; within `told` they
hand it on to the caller's own function instead.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeAlias

#: told what is being done
TextProgress: TypeAlias = Callable[[str], None]
#: told how much is done: (done, of)
CountProgress: TypeAlias = Callable[[int, int], None]

#: seconds between two lines of a log, and before the first
EVERY_S = 20.0

#: what changes the line that is being shown: work within other work says what it does there
_shown: ContextVar[TextProgress | None] = ContextVar("shown", default=None)


def silent(*_: object) -> None:
    """Progress that nobody watches."""


def watcher() -> TextProgress | None:
    """What work is told to, where a line is being shown or a caller listens."""
    return _shown.get()


@contextlib.contextmanager
def told(progress: TextProgress | None) -> Iterator[None]:
    """Within it, `progress` is told what would be shown; None changes nothing."""
    if progress is None:
        yield
        return
    before = _shown.set(progress)
    try:
        yield
    finally:
        _shown.reset(before)


class Log:
    """Lines on standard error where it is no terminal: what takes no longer than EVERY_S says nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = clock() + EVERY_S

    def __call__(self, text: str) -> None:
        if (now := self._clock()) >= self._next_s:
            self._next_s = now + EVERY_S
            self.say(text)

    def say(self, text: str) -> None:
        """What belongs into every log, however soon."""
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def status(first: str = "") -> Iterator[TextProgress]:
    """Gives a function that changes the line. It is gone when the work is over."""
    if (outer := watcher()) is not None:
        if first:
            outer(first)
        yield outer
        return
    if not sys.stderr.isatty():
        log = Log()
        with told(log):
            yield log
        return
    from rich.console import Console

    with Console(stderr=True).status(first) as line, told(line.update):
        yield line.update


def duration(seconds: float) -> str:
    """40 s, 12 min, 7.5 h, 3 days."""
    units = (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48), ("days", 86400, math.inf))
    unit, size = next((unit, size) for unit, size, until in units if seconds / size < until)
    return f"{seconds / size:.2g} {unit}" if seconds / size < 10 else f"{seconds / size:.0f} {unit}"


def counted(what: str, say: TextProgress, clock: Callable[[], float] = time.monotonic) -> CountProgress:
    """What is told (done, of) as a line; work that takes longer than a log waits also says how long the rest will take."""
    began = clock()

    def count(done: int, of: int) -> None:
        took = clock() - began
        left = f", {duration(took / done * (of - done))} left" if done and took >= EVERY_S else ""
        say(f"{what}: {done} of {of}{left}")

    return count


@contextlib.contextmanager
def bar(what: str) -> Iterator[CountProgress]:
    """Gives a function that is told (done, of): a bar with the time that is left, gone when the work is over."""
    if (outer := watcher() or (None if sys.stderr.isatty() else Log())) is not None:
        yield counted(what, outer)
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
