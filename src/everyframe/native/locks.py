"""One process at a time: the system frees the lock of a process that dies, and the file goes with the lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from everyframe.errors import OutputError


@contextlib.contextmanager
def alone(path: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Only one process at a time is inside. The system frees the lock of a process that dies; the file goes with the lock."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with path.open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    progress("waiting for another process that compiles this model")
                    fcntl.flock(file, fcntl.LOCK_EX)
                if not _is(file.fileno(), path):  # the one before has removed it
                    continue
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
    except OSError as error:
        raise unwritable(path, error.strerror or str(error)) from None


@contextlib.contextmanager
def held(path: Path) -> Iterator[int | None]:
    """The descriptor of a lock, to be handed to a process that then holds it; None if another has it. Whoever holds it last
    removes the file. Raises OSError."""
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            if _is(file.fileno(), path):
                yield file.fileno()
                return


def unwritable(path: Path, why: object) -> OutputError:
    return OutputError(
        "The cache of compiled models cannot be written.", where=path.parent, got=why,
        hint="name a writable folder with enough free space in $EVERYFRAME_CACHE",
    )  # fmt: skip


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
