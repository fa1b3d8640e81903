"""One job over many tasks in worker processes, results in the order of the tasks. No torch.

A worker that dies ends the run with an error that names what it was given; workers end when their parent does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

from everyframe.errors import EveryframeError, SourceError

Task = TypeVar("Task")
Result = TypeVar("Result")

_job: Callable[[Any], Any] | None = None


class Pool(Generic[Task, Result]):
    """job: called with each task; pickled once for each worker. workers: processes; 0: this one does the work itself.
    name: how a task is called in messages. setup: called once in each worker.
    """

    def __init__(
        self,
        job: Callable[[Task], Result],
        workers: int,
        name: Callable[[Task], object] = str,
        setup: Callable[[], None] | None = None,
    ) -> None:
        self.job, self.workers, self.name = job, workers, name
        self._executor: ProcessPoolExecutor | None = None
        if workers:
            # processes that are forked from a clean one: nothing of torch's or a GPU's threads is copied half-way
            method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
            context = multiprocessing.get_context(method)
            if method == "forkserver":  # what it has imported need not be imported again in each worker
                context.set_forkserver_preload([f"{__package__}.cache", *(["torch"] if "torch" in sys.modules else [])])
            self._executor = ProcessPoolExecutor(workers, context, _begin, (job, setup))

    def __enter__(self) -> Pool[Task, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
            self.workers = 0

    def run(self, tasks: Iterable[Task], ahead: int = 0) -> Iterator[Result]:
        """Results in the order of the tasks. ahead: how many tasks may wait or be done before their result is taken."""
        if self._executor is None:
            yield from map(self.job, tasks)
            return
        ahead = max(ahead, 2 * self.workers)
        waiting: deque[tuple[Task, Future[Result]]] = deque()
        try:
            for task in tasks:
                waiting.append((task, self._submit(task)))
                if len(waiting) > ahead:
                    yield self._result(waiting)
            while waiting:
                yield self._result(waiting)
        finally:
            for _, future in waiting:
                future.cancel()

    def _submit(self, task: Task) -> Future[Result]:
        if self._executor is None:
            raise EveryframeError("The worker processes have been stopped.")
        try:
            return self._executor.submit(_work, task)
        except BrokenProcessPool:
            raise self._died([task]) from None

    def _result(self, waiting: deque[tuple[Task, Future[Result]]]) -> Result:
        try:
            result = waiting[0][1].result()
        except BrokenProcessPool:
            left = [task for task, future in waiting if not future.done() or isinstance(future.exception(), BrokenProcessPool)]
            raise self._died(left) from None  # those behind the first one may be done
        waiting.popleft()
        return result

    def _died(self, tasks: list[Task]) -> SourceError:
        begun = tasks[: self.workers + 1]
        return SourceError(
            "A worker process died.",
            where=", ".join(str(self.name(task)) for task in begun),
            got=f"it was killed or crashed while it worked on one of these {len(begun)}",
            hint="if memory ran out, use fewer workers (data.workers); if it happens again at the same clip, take that clip out; "
            'a script that trains must do so under `if __name__ == "__main__":`, because workers import it',
        )


def _begin(job: Callable[[Any], Any], setup: Callable[[], None] | None) -> None:
    global _job
    _job = job
    if setup is not None:
        setup()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()


def _leave_with(parent: int) -> None:
    wait([parent])
    os._exit(1)


def _work(task: Any) -> Any:
    if _job is None:
        raise EveryframeError("The worker process was not set up.")
    return _job(task)
