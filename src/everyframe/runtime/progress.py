"""What long work says while it runs: a line on standard error, and nothing where nobody watches."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def status(first: str = "") -> Iterator[Callable[[str], None]]:
    """Gives a function that changes the line. It is gone when the work is over."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(first) as line:
        yield line.update
