"""Latency and throughput of a network when several threads run it at once, as boards' own tools print them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from everyframe.errors import UsageError


@dataclass(frozen=True)
class Row:
    """runs: of all threads. total_ms: sum of all latencies, not the time that passed. fps: runs a second of the clock."""

    threads: int
    runs: int
    total_ms: float
    fps: float

    @property
    def latency_ms(self) -> float:
        return self.total_ms / self.runs


def parallel(make: Callable[[], Callable[[], object]], threads: Sequence[int], runs: int = 100) -> list[Row]:
    """A row for each number of threads. make: gives a thread its own call, the same work every time; it is made and called once
    before the clock starts. Raises UsageError, and what a call raises.
    """
    if not threads or min(threads) < 1 or runs < max(threads):
        raise UsageError("Threads cannot be counted like that.", got=f"threads {list(threads)}, {runs} runs",
                         expected="one thread or more, a run for each")  # fmt: skip
    return [_row(make, count, runs) for count in threads]


def _row(make: Callable[[], Callable[[], object]], threads: int, runs: int) -> Row:
    ready, spent, wrong = threading.Barrier(threads + 1), [0.0] * threads, []

    def work(place: int) -> None:
        try:
            call = make()
            call()
            ready.wait()
            for _ in range(place, runs, threads):
                begun = time.perf_counter()
                call()
                spent[place] += time.perf_counter() - begun
        except BaseException as error:
            ready.abort()  # the others do not wait for it
            if not isinstance(error, threading.BrokenBarrierError):
                wrong.append(error)

    workers = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(threads)]
    for worker in workers:
        worker.start()
    with contextlib.suppress(threading.BrokenBarrierError):  # said below, by the one that broke it
        ready.wait()
    begun = time.perf_counter()
    for worker in workers:
        worker.join()
    if wrong:
        raise wrong[0]
    return Row(threads, runs, sum(spent) * 1e3, runs / (time.perf_counter() - begun))
