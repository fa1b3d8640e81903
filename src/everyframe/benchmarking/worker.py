"""A contender in a process of its own, so that its memory is its own and its crash nobody else's.

    python -m everyframe.benchmarking.worker

It reads lines of JSON from standard input and answers each with one: first the contender, answered with what loading it took;
then turns, and what it answers to frames that are the same for all. It ends with its input. What engines print goes to standard
error.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from everyframe.benchmarking import timing
from everyframe.benchmarking.energy import Meter
from everyframe.benchmarking.subject import Subject, prepare
from everyframe.errors import EveryframeError


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    orders = iter(sys.stdin)
    calls: list[Callable[[], object]] = []
    try:
        subject, facts = _begin(json.loads(next(orders)), calls)
        _say(answers, facts)
    except EveryframeError as error:
        _say(answers, {"error": " ".join(str(part) for part in (error.what, error.got, error.hint) if part)})
        return
    except StopIteration:
        return
    meter = Meter()
    for order in orders:
        wanted = json.loads(order)
        _say(answers, _turn(calls, meter, **wanted) if "count" in wanted else _answer(subject))


def _begin(contender: dict[str, Any], calls: list[Callable[[], object]]) -> tuple[Subject, dict[str, Any]]:
    """Loads it and starts its streams, which are called once: their first step has costs of its own."""
    if contender["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, contender["cores"])
    before = peak_bytes()
    subject = prepare(contender["model"], contender["engine"], contender["threads"])
    begun = time.perf_counter()
    calls.append(subject.start())
    calls[0]()
    first_ms = (time.perf_counter() - begun) * 1e3
    for _ in range(1, contender["streams"]):
        calls.append(subject.start())
        calls[-1]()
    return subject, {**subject.facts(), "first_ms": first_ms, "memory_before": before, "memory_peak": peak_bytes()}


def _answer(subject: Subject) -> dict[str, Any]:
    found = subject.answer()
    return {"answer": None if found is None else found.ravel().tolist()}


def _turn(calls: list[Callable[[], object]], meter: Meter, count: int, seconds: float) -> dict[str, Any]:
    """At least `count` calls of all streams together, each of them in a thread of its own, and about `seconds`."""
    calls[0]()  # brings back the caches, and wakes the engine's threads
    share = -(-count // len(calls))
    walls: list[list[float]] = [[] for _ in calls]
    workers = [
        threading.Thread(target=_stream, args=(call, share, seconds, wall))
        for call, wall in zip(calls[1:], walls[1:], strict=True)
    ]
    meter.start()
    cpu, begun = time.process_time(), time.perf_counter()
    for worker in workers:
        worker.start()
    _stream(calls[0], share, seconds, walls[0])
    for worker in workers:
        worker.join()
    elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {
        "wall_ms": [ms for wall in walls for ms in wall], "cpu_ms": cpu * 1e3, "elapsed_ms": elapsed * 1e3,
        "joules": meter.joules(), "energy_source": meter.source, "memory_peak": peak_bytes(),
    }  # fmt: skip


def _stream(call: Callable[[], object], count: int, seconds: float, wall: list[float]) -> None:
    wall += timing.calls(call, seconds, least=count)[0]


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    with contextlib.suppress(OSError), Path("/proc/self/status").open() as status:  # the other figure has the parent's in it
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _say(answers: TextIO, found: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
