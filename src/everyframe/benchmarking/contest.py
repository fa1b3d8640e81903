"""Models on engines, taking turns: each in a process of its own, so that loading, memory and crashes are its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np

from everyframe.benchmarking.machine import describe
from everyframe.benchmarking.noise import Watch
from everyframe.benchmarking.outcome import Benchmark, Measured, called
from everyframe.errors import UsageError
from everyframe.limits import MAX_THREADS
from everyframe.progress import TextProgress, silent
from everyframe.runtime import engine as engines

#: each contender's calls are spread over so many turns: a slow minute hits all, and turns tell how far to trust a figure
TURNS = 10
#: of a turn at least; clocks and caches need so long to mean something
TURN_S = 0.05
#: turns of one contender that lie further apart were disturbed
SCATTER = 0.15


@dataclass(frozen=True)
class Contender:
    """model: as `everyframe predict` takes it, or any ONNX file. threads: of the engine. streams: stepped at the same time."""

    model: str
    engine: str
    threads: int = 1
    streams: int = 1

    def __str__(self) -> str:
        more = f", {self.streams} streams" if self.streams > 1 else ""
        return f"{self.model} on {self.engine}, {self.threads} thread{'s' * (self.threads > 1)}{more}"


def contend(
    contenders: Sequence[Contender], frames: int = 100, progress: TextProgress = silent, *, compare: bool = False
) -> Benchmark:
    """All contenders in turns. frames: calls (steps, or clips) of each that count, at least. compare: also their answers.

    One that cannot be loaded or dies is there with its reason in `skipped`. Ctrl-C ends the measuring; what is measured is
    given, `partial`. Raises UsageError.
    """
    if frames < 1 or not contenders:
        raise UsageError(
            "Nothing would be measured.", got=f"{len(contenders)} contenders, {frames} frames", expected="one or more"
        )
    if wrong := next((c for c in contenders if not (1 <= c.threads <= MAX_THREADS and 1 <= c.streams <= MAX_THREADS)), None):
        raise UsageError("So many threads or streams cannot be measured.", expected=f"1 to {MAX_THREADS} of each", got=str(wrong))
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    machine, watch = describe("openvino"), Watch(engines.cores())
    names = called(one.model for one in contenders)
    found = [Measured(one.model, one.engine, one.threads, one.streams, called=names[one.model]) for one in contenders]
    partial = False
    with contextlib.ExitStack() as stack:
        try:
            running: list[tuple[_Process, Measured]] = []
            for one, row in zip(contenders, found, strict=True):
                progress(f"loading {one}")
                process = stack.enter_context(_started())
                if process.begin(one, cores, row):
                    running.append((process, row))
            if compare:
                _compare([(row, process.answer(row)) for process, row in running])
            for turn in range(TURNS):
                for process, row in running:
                    progress(f"turn {turn + 1} of {TURNS}: {row.name}")
                    process.turn(-(-frames // TURNS), row)
        except KeyboardInterrupt:
            partial = True
            for row in found:
                row.skipped = row.skipped or ("" if row.turns else "interrupted before its first turn")
    for row in found:
        row.finish()
    notes = watch.warnings()
    machine["others"] = watch.others
    if scattered := [row for row in found if row.scatter > SCATTER]:
        worst = max(scattered, key=lambda row: row.scatter)
        notes.append(
            f"the turns of {len(scattered)} of {len(found)} lie far apart, most of all those of {worst.name} "
            f"({worst.scatter:.0%}): measure again, with more --frames or on a calmer machine"
        )
    most = max(one.threads * one.streams for one in contenders)
    if most > engines.cores():
        notes.append(f"{most} threads share {engines.cores()} cores: more threads than cores make nothing faster")
    return Benchmark(machine, found, notes, partial)


def _compare(answers: Sequence[tuple[Measured, np.ndarray | None]]) -> None:
    """Each with the first of its kind that it can be compared with: where several networks are measured, the nearest."""
    for i, (row, answer) in enumerate(answers):
        others = [
            other
            for one, other in answers[:i]
            if other is not None and answer is not None and other.shape == answer.shape and _alike(one, row)
        ]
        if others and answer is not None:
            row.difference = min(float(np.abs(answer - other).max() / max(np.abs(other).max(), 1e-30)) for other in others)


def _alike(one: Measured, other: Measured) -> bool:
    """Are they given the same frames? Steps are, and clips of the same file."""
    return one.kind == other.kind == "step" or ("step" not in (one.kind, other.kind) and one.model == other.model)


class _Process:
    """A worker and the line to it."""

    def __init__(self, child: subprocess.Popen[str], said: IO[str]) -> None:
        self._child, self._said = child, said
        self._orders, self._answers = cast("IO[str]", child.stdin), cast("IO[str]", child.stdout)

    def begin(self, one: Contender, cores: Sequence[int], row: Measured) -> bool:
        """Whether it could be loaded; else the reason is in the row."""
        wanted = min(len(cores), one.threads * one.streams)
        facts = self._ask({**vars(one), "cores": list(cores[-wanted:]) if cores else []}, row)
        if facts is not None:
            row.loaded(facts)
        return facts is not None

    def answer(self, row: Measured) -> np.ndarray | None:
        """To frames that are the same for all of its kind."""
        found = self._ask({"answer": True}, row)
        return None if found is None or found["answer"] is None else np.array(found["answer"])

    def turn(self, count: int, row: Measured) -> None:
        if not row.skipped and (found := self._ask({"count": count, "seconds": TURN_S}, row)) is not None:
            row.add(found)

    def _ask(self, order: dict[str, Any], row: Measured) -> dict[str, Any] | None:
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._orders.write(json.dumps(order) + "\n")
            self._orders.flush()
            line = self._answers.readline()
        answer = json.loads(line) if line else {"error": self._death()}
        if "error" in answer:
            row.skipped = answer["error"]
            return None
        found: dict[str, Any] = answer
        return found

    def _death(self) -> str:
        """What can be said of a worker that is gone."""
        code = self._child.wait()
        self._said.seek(0)
        last = (self._said.read().strip().splitlines() or [""])[-1]
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"{how}: {last}" if last else how


@contextlib.contextmanager
def _started() -> Iterator[_Process]:
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "everyframe.benchmarking.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, encoding="utf-8",
            start_new_session=True,  # Ctrl-C ends this process, which then ends its workers
        )  # fmt: skip
        try:
            yield _Process(child, said)
        finally:
            child.kill()
            child.communicate()
