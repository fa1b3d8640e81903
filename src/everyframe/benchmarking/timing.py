"""Timing of competitors on a machine that may be busy with other things.

They take turns in one process, so that a slow minute hits all of them. Each turn begins with a call that is not counted:
it brings back the caches, and the worker threads of the engine before have time to fall asleep. With one thread the
process's CPU time is the figure to trust: other processes hardly change it. With several threads only wall time says
how long somebody waited; its minimum is the quietest moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from everyframe.errors import UsageError

TURN_S = 0.1  # counted calls of one turn
MOST_CALLS = 8  # of one turn


@dataclass(frozen=True)
class Case:
    """A competitor. run: one call, the same work every time."""

    name: str
    run: Callable[[], object]


@dataclass
class Timing:
    """What was measured, in milliseconds a call. cpu: of all threads of this process; wall: of the clock."""

    name: str
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return len(self.wall)

    def figures(self) -> dict[str, float | int]:
        """The figures that go into a report."""
        return {
            "cpu_ms": round(median(self.cpu), 4),
            "wall_ms": round(median(self.wall), 4),
            "wall_min_ms": round(min(self.wall), 4),
            "calls": self.calls,
        }


def race(
    cases: Sequence[Case],
    seconds: float = 20.0,
    rounds: int = 3,
    enough: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Timing]:
    """Lets every case have its turn again and again, for about `seconds` and at least `rounds` rounds. enough: calls of each
    after which it is over before that time.

    progress: called after each round with the share of the time that is over. Raises UsageError for two cases of one
    name.
    """
    if len({case.name for case in cases}) < len(cases) or not cases:
        raise UsageError("Cases need names of their own.", got=", ".join(case.name for case in cases) or "no case")
    timings = [Timing(case.name) for case in cases]
    begun = time.perf_counter()
    done = 0
    few: Callable[[], bool] = lambda: enough is None or min(timing.calls for timing in timings) < enough  # noqa: E731
    while done < rounds or (time.perf_counter() - begun < seconds and few()):
        for case, timing in zip(cases, timings, strict=True):
            _turn(case, timing)
        done += 1
        if progress:
            progress(min(1.0, (time.perf_counter() - begun) / max(seconds, 1e-9)))
    return timings


def _turn(case: Case, timing: Timing) -> None:
    case.run()
    wall, cpu = calls(case.run, TURN_S, most=MOST_CALLS)
    timing.wall += wall
    timing.cpu += cpu


def calls(run: Callable[[], object], seconds: float, least: int = 1, most: int | None = None) -> tuple[list[float], list[float]]:
    """Milliseconds of each call, by the clock and of the process: for so long, and so many at least or at most."""
    walls: list[float] = []
    cpus: list[float] = []
    until = time.perf_counter() + seconds
    while len(walls) < least or (time.perf_counter() < until and (most is None or len(walls) < most)):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        cpus.append((time.process_time() - cpu) * 1e3)
        walls.append((time.perf_counter() - wall) * 1e3)
    return walls, cpus
