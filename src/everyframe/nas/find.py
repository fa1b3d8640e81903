"""The search itself: a controller proposes, the latency model refuses what is too slow, and the supernet judges the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from everyframe.errors import UsageError
from everyframe.nas import trials as log
from everyframe.nas.controllers import make
from everyframe.nas.space import Point, Space, Values
from everyframe.nas.task import Task
from everyframe.nas.trials import Trial
from everyframe.progress import CountProgress, silent

#: proposals in a row that are too slow or known before one at random is taken instead
PATIENCE = 60
#: networks whose time is looked at before it is said that none is fast enough
LOOKED_AT = 500


def find(
    space: Space,
    judge: Callable[[Values], float],
    ms: Callable[[Values], float],
    target_ms: float,
    controller: str,
    evaluations: int,
    seed: int,
    *,
    stage: str = log.ARCHITECTURE,
    known: Sequence[Trial] = (),
    kept: Callable[[Sequence[Trial]], None] = silent,
    progress: CountProgress = silent,
) -> tuple[list[Trial], bool]:
    """Judges `evaluations` different networks that are fast enough, fewer where there are no more. known: trials of an earlier
    sitting, whose scores are taken as they are; those of this stage and target are never lost. kept: told of all trials after
    each that is judged. What it gives last: it was not interrupted; Ctrl-C ends it with what there is, of both sittings.
    Raises UsageError where no network is fast enough.
    """
    check_reachable(space, ms, target_ms, seed)
    fits: Callable[[Point], bool] = lambda point: ms(space.values(point)) <= target_ms  # noqa: E731
    proposes = make(controller, space, seed, fits, evaluations)
    spare = make("random", space, seed + 1, fits, evaluations)
    scores = {log.key(trial.values): trial for trial in known}
    found: dict[Point, Trial] = {}
    missed = 0
    mine = {
        log.key(trial.values): trial for trial in known
        if trial.stage == stage and trial.ms <= target_ms and space.has(trial.values)
    }  # fmt: skip

    def every() -> list[Trial]:
        """With those of the earlier sitting that were not come to again."""
        there = {log.key(trial.values) for trial in found.values()}
        return [*found.values(), *(trial for key, trial in mine.items() if key not in there)]

    try:
        while len(found) < evaluations:
            progress(len(found), evaluations)
            point = proposes.ask() if missed < PATIENCE else spare.ask()
            instead = missed >= PATIENCE
            values = space.values(point)
            time_ms = ms(values)
            if time_ms > target_ms:
                if instead:
                    break  # random ones are not fast enough either
                proposes.refuse(point, time_ms / target_ms - 1)
                missed += 1
                continue
            if point in found:
                if instead:
                    break  # there are no others
                proposes.tell(point, found[point].score)
                missed += 1
                continue
            began = time.monotonic()
            before = scores.get(log.key(values))
            score = round(float(judge(values)), 5) if before is None else before.score  # as the log has it
            seconds = time.monotonic() - began if before is None else before.seconds
            found[point] = Trial(
                stage, len(found), dict(values), round(time_ms, 4), score, "random" if instead else controller,
                round(seconds, 3),
            )  # fmt: skip
            if not instead:
                proposes.tell(point, score)
            spare.tell(point, score)
            missed = 0
            if before is None:  # what is only walked through again stays as it is
                kept(every())
    except KeyboardInterrupt:
        if not every():
            raise
        return every(), False
    return every(), True


def rates_of(task: Task, values: Values) -> Space:
    """What the second stage chooses from: the rates of the blocks that are pruned; all else is as it was found."""
    names = task.pruned(values)
    return Space.of({
        **{name: (value,) for name, value in values.items()}, **{name: tuple(task.rates[name]) for name in names}
    })  # fmt: skip


def check_reachable(space: Space, ms: Callable[[Values], float], target_ms: float, seed: int) -> None:
    """Raises UsageError where no network is fast enough."""
    rng = np.random.default_rng(seed)
    drawn = (space.smallest(), space.largest(), *(space.random(rng) for _ in range(LOOKED_AT)))
    fastest = min(ms(space.values(point)) for point in drawn)
    if fastest > target_ms:
        raise UsageError(
            "No network of this search is so fast.", where="search.target_ms", got=f"{target_ms:.3g} ms",
            expected=f"at least {fastest:.3g} ms, the fastest of {LOOKED_AT} networks",
            hint="ask for more time or smaller pictures, or give smaller choices",
        )  # fmt: skip
