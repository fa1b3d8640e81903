"""A bar on stderr while weights are downloaded; nothing when stderr is no terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """A `progress` for `fetch`: called with (bytes here, bytes in all or None).

    The bar appears with the first call, so that weights that are already here show none.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=console)
    task = shown.add_task(label, total=None)

    def update(done: int, total: int | None) -> None:
        shown.start()  # does nothing when it has started
        shown.update(task, completed=done, total=total)

    try:
        yield update
    finally:
        shown.stop()
