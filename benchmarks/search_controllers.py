"""Which controller of `everyframe search` finds most with equal numbers of evaluations, on a trained supernet.

    everyframe search RECIPE -o RUN --no-retrain
    python benchmarks/search_controllers.py RUN [--seeds 3] [--evaluations 60] [-o FILE.json]

Judge and latency model are those of the search: its supernet, its table of parts. A network that was judged once is not judged
again, whoever asks, so that all controllers see the same figures. Written after each search; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from everyframe import recipes
from everyframe.benchmarking.machine import describe
from everyframe.nas import run as searching
from everyframe.nas import trials
from everyframe.nas.controllers import CONTROLLERS
from everyframe.nas.find import find
from everyframe.nas.parts import Latency, Table
from everyframe.tasks.searchable import row

#: evaluations after which the best is compared
AFTER = (15, 30, 60)


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("run", type=Path)
    reader.add_argument("--seeds", type=int, default=3)
    reader.add_argument("--evaluations", type=int, default=60)
    reader.add_argument("-o", "--output", type=Path, default=Path("search_controllers.json"))
    given = reader.parse_args()
    torch.set_num_threads(1)
    recipe = recipes.load(str(given.run / searching.RECIPE))
    task = row(recipe, str(given.run))(recipe)
    if (target := task.search.target_ms) is None:
        raise SystemExit("this is no folder of a search")
    table = Table.open(task.search.engine, task.search.threads)
    latency = Latency.read(given.run / searching.LATENCY, table, task)
    if latency is None:
        raise SystemExit("the folder has no latency model of this machine")
    task.open_supernet(given.run / searching.SUPERNET)
    memo = {trials.key(trial.values): trial.score for trial in trials.read(given.run / searching.TRIALS)}

    def judge(values: Mapping[str, Any]) -> float:
        key = trials.key(values)
        if key not in memo:
            memo[key] = task.judge(values)
        return memo[key]

    found: dict[str, Any] = json.loads(given.output.read_text()) if given.output.is_file() else {"searches": []}
    done = {(one["controller"], one["seed"]) for one in found["searches"]}
    for seed in range(given.seeds):
        for name in CONTROLLERS:
            if (name, seed) in done:
                continue
            made, _ = find(task.space, judge, latency.ms, target, name, given.evaluations, seed)
            curve = [trials.best(made[: n + 1]).score for n in range(len(made))]
            found["searches"].append({"controller": name, "seed": seed, "curve": curve, "best": trials.best(made).values})
            found |= {"target_ms": target, "unit": task.unit, "judged": len(memo), "machine": describe(task.search.engine)}
            given.output.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{name} seed {seed}: {curve[-1]:.3f} {task.unit}", flush=True)
    print(f"| controller | {' | '.join(f'after {n}' for n in AFTER)} |")
    for name in CONTROLLERS:
        curves = [one["curve"] for one in found["searches"] if one["controller"] == name]
        cells = []
        for n in AFTER:
            values = [curve[min(n, len(curve)) - 1] for curve in curves]
            cells.append(f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
