"""The stages of a search, in a folder; each is taken up where it was left.

search.toml         the recipe with all that was set on the command line
supernet/           its training
latency.json        the latency model, and whole networks that it was checked on
trials.jsonl        a line a network that was judged
front.png           where they lie
best.toml           the recipe of the one that was taken; inherited.safetensors: what the supernet has for it
search.json         all that was found
final/              its training: step.onnx and the rest
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from everyframe.benchmarking.variants import check_engine
from everyframe.errors import UsageError
from everyframe.files import make_folder, occupied, write_bytes
from everyframe.nas import draw
from everyframe.nas import trials as log
from everyframe.nas.find import check_reachable, find, rates_of
from everyframe.nas.parts import Latency, Table, every_part, fit
from everyframe.nas.space import Space
from everyframe.nas.task import Task
from everyframe.nas.trials import Trial
from everyframe.progress import bar
from everyframe.recipes.reader import Recipe
from everyframe.recipes.search import Search
from everyframe.training import folder

RECIPE, SUPERNET, LATENCY, TRIALS, FRONT, BEST, INHERITED, FOUND, FINAL = (
    "search.toml", "supernet", "latency.json", "trials.jsonl", "front.png", "best.toml", "inherited.safetensors", "search.json",
    "final",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """trials: in the order of their judgement; none where the supernet's training was interrupted. final: what the training of
    the one that was taken says, None where it was left out or interrupted. ended: nothing was interrupted.
    """

    path: Path
    ended: bool
    target_ms: float
    figure: str
    unit: str
    trials: tuple[Trial, ...] = ()
    described: str = ""
    latency: Latency | None = None
    measured_ms: float | None = None
    final: Any = None

    def to_dict(self) -> dict[str, Any]:
        taken = log.best(self.trials) if self.trials else None
        mean, most = self.latency.error() if self.latency else (None, None)
        return {
            "run": str(self.path), "ended": self.ended, "target_ms": self.target_ms, "evaluations": len(self.trials),
            "best": None if taken is None else {
                "values": taken.values, "ms": taken.ms, "measured_ms": self.measured_ms, self.figure: taken.score,
                "network": self.described,
            },
            "latency_error": {"mean": mean, "largest": most},
            "final": None if self.final is None else self.final.to_dict(),
        }  # fmt: skip

    def text(self) -> str:
        if not self.trials:
            return f"interrupted while the supernet was trained\nnext: everyframe search --resume -o {self.path}"
        taken = log.best(self.trials)
        lines = [
            *([self.latency.text()] if self.latency else ()),
            f"best of {len(self.trials)} networks: {self.described}",
            f"  {taken.ms:.3g} ms by the latency model, {self.measured_ms:.3g} ms measured (target {self.target_ms:.3g}); "
            f"{taken.score:.2f} {self.unit} with the supernet's weights",
        ]
        if self.final is not None:
            return "\n".join([*lines, self.final.text()])
        what = "wrote" if self.ended else "interrupted: wrote"
        return "\n".join([
            *lines, f"{what} {self.path / BEST}, {FRONT} and {TRIALS}",
            f"next: everyframe train {self.path / BEST} -o {self.path / FINAL}",
        ])  # fmt: skip


def check_new(path: Path) -> None:
    """Raises UsageError where another search lies in the folder."""
    if (path / RECIPE).exists():
        raise UsageError(
            "A search lies in this folder already.", where=path, hint="--resume goes on with it; -o names another folder"
        )


def run(task: Task, path: Path, *, recipe: Recipe, retrain: bool = True) -> Result:
    """All stages, or what is missing of them. recipe: what the task is of. Ctrl-C in the supernet's training or the search
    ends it with what there is. Raises an EveryframeError where something does not fit.
    """
    search = task.search
    if search.target_ms is None:
        raise UsageError(
            "A search needs a target.", expected="search.target_ms, milliseconds a picture, scan or step", hint="--target-ms 33"
        )
    check_engine(search.engine)
    with occupied(make_folder(path)):
        return _run(task, search.target_ms, path, recipe, retrain)


def _run(task: Task, target_ms: float, path: Path, recipe: Recipe, retrain: bool) -> Result:
    search = task.search
    if not (path / RECIPE).exists():
        write_bytes(folder.as_toml(recipe).encode(), path / RECIPE)
    latency = model(task, search, path)
    check_reachable(task.space, latency.ms, target_ms, search.seed)  # before minutes or hours of training
    if not task.train_supernet(path / SUPERNET, search.supernet_minutes):
        return Result(path, False, target_ms, task.figure, task.unit, latency=latency)
    task.open_supernet(path / SUPERNET)
    found, whole = choose(task, search, latency, path)
    taken = log.best(found)
    told = (
        f"{taken.ms:.3g} ms on {search.engine} with {search.threads} thread{'s' * (search.threads != 1)}, by the latency model; "
        f"{taken.score:.2f} {task.unit} with the supernet's weights.\nBest of {len(found)} networks."
    )
    weights = task.inherit(taken.values, path / INHERITED) if search.inherit else None
    write_bytes(task.recipe(taken.values, told, weights).encode(), path / BEST)
    measured = latency.table.time({"taken": tuple(taken.values.items())}, task, 3.0)["taken"]
    result = Result(
        path, whole, target_ms, task.figure, task.unit, tuple(found), task.describe(taken.values), latency,
        round(measured, 4),
    )  # fmt: skip
    if whole and retrain:
        final = task.retrain(path / BEST, path / FINAL, search.retrain_minutes)
        result = replace(result, final=final, ended=final is not None and final.ended)
    write_bytes((json.dumps(result.to_dict(), indent=1) + "\n").encode(), path / FOUND)
    return result


def model(task: Task, search: Search, path: Path) -> Latency:
    """Measures what is missing of the parts, then whole networks; those of an earlier sitting are not measured again."""
    table = Table.open(search.engine, search.threads)
    table.measure(every_part(task.space, task, search.seed), task)
    if (found := Latency.read(path / LATENCY, table, task)) is None:
        found = fit(table, task, search.checked, search.seed, near=search.target_ms)
        write_bytes((json.dumps(found.to_dict(), indent=1) + "\n").encode(), path / LATENCY)
    return found


def choose(task: Task, search: Search, latency: Latency, path: Path) -> tuple[list[Trial], bool]:
    """Architecture and pruning, then rates. All trials, and whether it was not interrupted."""
    known, target, title = log.read(path / TRIALS), search.target_ms or 0.0, _title(search)

    def stage(space: Space, evaluations: int, name: str, before: Sequence[Trial]) -> tuple[list[Trial], bool]:
        def kept(now: Sequence[Trial]) -> None:
            everything = [*before, *now]
            log.write(everything, path / TRIALS)
            write_bytes(draw.picture(everything, target, task.unit, f"{len(everything)} networks, {title}"), path / FRONT)

        with bar(f"searching, {name}") as progress:
            return find(
                space, task.judge, latency.ms, target, search.controller, evaluations, search.seed, stage=name, known=known,
                kept=kept, progress=progress,
            )  # fmt: skip

    found, whole = stage(task.space, search.evaluations, log.ARCHITECTURE, ())
    taken = log.best(found)
    if whole and search.rate_evaluations and task.pruned(taken.values):
        rates = rates_of(task, taken.values)
        latency.table.measure(every_part(rates, task, search.seed), task)
        more, whole = stage(rates, search.rate_evaluations, log.RATES, found)
        found += more
    return found, whole


def _title(search: Search) -> str:
    return f"{search.controller}; {search.engine}, {search.threads} thread{'s' * (search.threads != 1)}"
