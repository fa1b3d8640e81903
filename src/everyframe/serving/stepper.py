"""The one place where steps are done, whoever they are for."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any, TypeVar

from everyframe.errors import StateError
from everyframe.runtime.stream import Owner

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Due:
    program: Owner
    turn: Callable[[], Any]
    answer: Future[Any]


async def apart(work: Callable[[], Answer]) -> Answer:
    """What `work` returns or raises, in a thread of its own, for which the end of the process does not wait."""
    done: Future[Answer] = Future()

    def run() -> None:
        with contextlib.suppress(InvalidStateError):  # nobody waits for it any more
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)


class Stepper:
    """Turns are taken in the order in which they became due. Each stream has one at a time, so that none waits for more than one
    of each other.

    Turns that are due at the same time for one program stand in this queue together: where an engine steps several streams as
    one batch, `_take` is where they are collected.
    """

    def __init__(self, workers: int) -> None:
        self._due: queue.SimpleQueue[_Due | None] = queue.SimpleQueue()
        self._closed, self._lock = False, threading.Lock()
        self._threads = [threading.Thread(target=self._run, name=f"step {i}", daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, program: Owner, turn: Callable[[], Answer]) -> Future[Answer]:
        """To be called from any thread. The future has what `turn` returns or raises; StateError where it is closed."""
        due = _Due(program, turn, Future())
        with self._lock:
            if self._closed:
                due.answer.set_exception(StateError("The server is stopping."))
            else:
                self._due.put(due)
        return due.answer

    @property
    def waiting(self) -> int:
        return self._due.qsize()

    def close(self) -> None:
        """Turns that are due are still taken."""
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._due.put(None)

    def _take(self) -> _Due | None:
        return self._due.get()

    def _run(self) -> None:
        while (due := self._take()) is not None:
            if not due.answer.set_running_or_notify_cancel():
                continue
            try:
                due.answer.set_result(due.turn())
            except BaseException as error:
                due.answer.set_exception(error)
            del due  # holds a stream's state
