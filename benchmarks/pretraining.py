"""What features learned without labels are worth: by seeds, by transformation left out, and as a start for few labels.

    python benchmarks/pretraining.py --data DATA                                # all that is missing
    python benchmarks/pretraining.py --data DATA --sets hand_gestures --only features
    python benchmarks/pretraining.py --tables                                   # of the results that are there

DATA holds hand_gestures and ut_interaction, each with train/CLASS/*.mp4 and val/CLASS/*.mp4. `features` trains the recipe
`surrogate` on the videos of train, whose labels it does not see, always for the same number of steps, and judges each network
as `everyframe evaluate RUN --probe` does. `starts` trains the same network on few clips a class, from nothing and from those
weights, always for the same number of steps; the figures are those of the last epoch on the middle clip of each video of val.
Pictures are small, so that a run takes about a minute of one core. What is in the results is not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
import seeds

import everyframe as ef
from everyframe import recipes
from everyframe.benchmarking import Table

RUNS = networks.CACHE / "pretraining"
PREPROCESS = {"color": "gray", "resize": [48, 64], "mean": [0.5], "std": [0.25], "fps": 6}
COMMON = {
    "model.name": "motionnet_1.0x", "model.frames": 10, "model.size": [48, 64], "preprocess": PREPROCESS, "training.batch": 32,
    "training.threads": 1, "training.precision": "auto", "data.workers": 0, "training.validate_every": 1000,
}  # fmt: skip
STEPS = {"features": 200, "starts": 100}
#: how many seeds the ablation has, and what else is tried, of each data set
SEEDS = {"hand_gestures": (200, (25, 100, 400)), "ut_interaction": (100, (25, 50))}
LEFT_OUT: dict[str, dict[str, Any]] = {
    "all transformations": {},
    "no place and scale": {"augment.scales": [1.0], "augment.crop": "center"},
    "no rotation": {"augment.rotate": 0.0},
    "no speed": {"augment.speed": 1.0},
    "no brightness and contrast": {"augment.brightness": 0.0, "augment.contrast": 0.0},
    "backwards too": {"surrogate.backwards": True},
}
LABELED = "trained with all labels"
CLIPS = {"hand_gestures": (5, 10, 20), "ut_interaction": (5, 10)}  # of each class
RATES = (1.5e-3,)
OTHER = "surrogate classes by other pixels"  # as a training by everyframe refuses to begin
STARTS = {
    "nothing": None, "surrogate classes": "all transformations", "backwards too": "backwards too", OTHER: "all transformations",
}  # fmt: skip


def cases(data: str) -> dict[str, dict[str, Any]]:
    """Name -> settings of the recipe `surrogate`, all of the same number of steps."""
    usual, others = SEEDS[data]
    found = {name: {"surrogate.seeds": usual, **settings} for name, settings in LEFT_OUT.items()}
    found |= {f"{count} seeds": {"surrogate.seeds": count} for count in others}
    return found | {LABELED: {}}


def pretrained(data: str, name: str, seed: int, root: Path) -> Path:
    """The run folder, finished."""
    folder, settings = RUNS / f"{data}-{name.replace(' ', '_')}-{seed}", cases(data)[name]
    if (folder / "clip.onnx").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    if name == LABELED:
        clips = sum(1 for _ in (root / data / "train").glob("*/*"))
    else:
        clips = settings["surrogate.seeds"] * (2 if settings.get("surrogate.backwards") else 1)
    epochs = round(STEPS["features"] / max(1, clips // COMMON["training.batch"]))
    told = {**COMMON, **settings, "training.epochs": epochs, "training.seed": seed}
    train(*(("quick", root / data) if name == LABELED else ("surrogate", root / data / "train")), folder, told)
    return folder


def train(recipe: str, data: Path, folder: Path, settings: dict[str, Any]) -> None:
    words = [f"{key}={toml(value)}" for key, value in settings.items()]
    with contextlib.redirect_stderr(io.StringIO()):
        ef.train(data, folder, recipe=recipe, settings=words, minutes=1000)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {json.dumps(one)}" for key, one in value.items()) + "}"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def start(
    data: str, count: int, weights: Path | None, rate: float, seed: int, root: Path, preprocess: dict[str, Any] = PREPROCESS
) -> dict[str, Any]:
    """Accuracy on val after a training on `count` clips of each class, drawn by the seed, from these weights."""
    from everyframe.training import loop, network, run

    batch = COMMON["training.batch"]
    told = {**COMMON, "preprocess": preprocess, "optimizer.learning_rate": rate, "training.seed": seed}
    if weights is not None:
        told["model.weights"] = weights / "best.safetensors"
    found = recipes.load("quick", [f"{key}={toml(value)}" for key, value in told.items()])
    recipe, collection = run.read(found, None, root / data)
    rng = np.random.default_rng(seed)
    labels = np.array([clip.label for clip in collection.splits["train"]])
    drawn = [rng.permutation(np.flatnonzero(labels == label))[:count] for label in range(len(collection.labels))]
    some = tuple(collection.splits["train"][i] for i in sorted(np.concatenate(drawn)))
    collection = replace(collection, splits={**collection.splits, "train": some})
    epochs = round(STEPS["starts"] / max(1, len(some) // batch))
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": epochs})})
    folder, began = RUNS / "start", time.process_time()
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.redirect_stderr(io.StringIO()):
        fabric, trained = loop.launch(recipe), network.build(recipe, len(collection.labels))
        with run.fitting(fabric, recipe, trained, collection, folder, resumed=False) as (fit, _):
            fit.fit()
    last = fit.run.epochs[-1]
    took = round(time.process_time() - began, 1)
    return {"clips": len(some), "epochs": last["epoch"], "top1": last["top1"], "loss": last["validation_loss"], "cpu_s": took}


def features(data: str, name: str, seed: int, root: Path) -> dict[str, Any]:
    folder = pretrained(data, name, seed, root)
    found = ef.evaluate_features(folder, root / data, untrained=name == "all transformations", seed=seed, workers=1)
    return found.to_dict() | {"data": data}


def todo(done: dict[str, Any], names: list[str], only: list[str], numbers: list[int]) -> Iterator[tuple[str, ...]]:
    """(kind, data, case, seed) of what is not in the results."""
    for seed in numbers:
        for data in names:
            rows = [("features", data, name, str(seed)) for name in cases(data)]
            rows += [
                ("starts", data, f"{count} clips, {rate:g}, {name}", str(seed))
                for count in CLIPS[data] for rate in RATES for name in STARTS
            ]  # fmt: skip
            for row in rows:
                if row[0] in only and row[3] not in done.get(row[0], {}).get(row[1], {}).get(row[2], {}):
                    yield row


def run_one(row: tuple[str, ...], root: Path) -> dict[str, Any]:
    kind, data, case, seed = row
    if kind == "features":
        return features(data, case, int(seed), root)
    count, rate, name = case.split(", ")
    of = STARTS[name]
    weights = None if of is None else pretrained(data, of, int(seed), root)
    preprocess = {**PREPROCESS, "mean": [0.0], "std": [1.0]} if name == OTHER else PREPROCESS
    return start(data, int(count.split()[0]), weights, float(rate), int(seed), root, preprocess)


TITLES = {"hand_gestures": "Hand gestures, 17 classes", "ut_interaction": "Two people, 7 classes"}


def tables(results: dict[str, Any]) -> list[Table]:
    found = []
    for data, title in TITLES.items():
        if rows := results.get("features", {}).get(data):
            found.append(_probed(rows, data, title))
    for data, title in TITLES.items():
        if rows := results.get("starts", {}).get(data):
            found.append(_started(rows, data, title))
    if found:
        machine = results["machine"]
        found[-1].notes.append(
            f"{machine['cpu']}, one core, shared with other work; everyframe {machine['packages']['everyframe']}, "
            f"torch {machine['packages']['torch']}, onnxruntime {machine['packages']['onnxruntime']}; {machine['date']}"
        )
    return found


def _probed(found: dict[str, Any], data: str, title: str) -> Table:
    """A line a network; figures are means over its seeds."""
    heading = ("network", "seeds", *(f"linear, {count}" for count in (5, 10, 20, "all")), "neighbors, all", "runs")
    table = Table(f"{title}: read from frozen features, percent, by labeled clips of each class", heading)
    usual = SEEDS[data][0]

    def line(name: str, runs: list[dict[str, Any]], own: bool) -> list[object]:
        cells: list[object] = []
        for classifier, clips in (("linear", 5), ("linear", 10), ("linear", 20), ("linear", None), ("neighbors", None)):
            rows = [
                [r for r in run["rows"] if (r["classifier"], r["clips"]) == (classifier, clips)
                 and (r["network"] == next(iter(run["width"]))) == own]
                for run in runs
            ]  # fmt: skip
            known = [row[0] for row in rows if row]
            low, high = (np.mean([row[side] for row in known]) * 100 if known else 0 for side in ("low", "high"))
            cells.append(f"{seeds.spread([row['top1'] for row in known])} ({low:.0f}-{high:.0f})" if known else "–")
        count = cases(data).get(name, {}).get("surrogate.seeds")
        return [name, f"{count}" if own and count else "–", *cells, len(runs)]

    order = [f"{count} seeds" for count in SEEDS[data][1] if count < usual] + ["all transformations"]
    order += [f"{count} seeds" for count in SEEDS[data][1] if count > usual] + list(LEFT_OUT)[1:] + [LABELED]
    for name in order:
        if name in found:
            table.rows.append(line(name, list(found[name].values()), own=True))
    base = list(found.get("all transformations", {}).values())
    if base:
        table.rows.insert(0, line("random weights", base, own=False))
        first, often = base[0], f"{base[0]['most_frequent']:.0%}"
        table.notes += [
            f"{first['train']} videos to learn from, {first['test']} to test on, {often} of them of the most frequent label",
            "in brackets the 95 % interval over draws and test videos",
            f"{STEPS['features']} steps of {COMMON['training.batch']} clips, {COMMON['model.frames']} frames of 48 x 64 pixels",
        ]
    return table


def _started(found: dict[str, Any], data: str, title: str) -> Table:
    counts = CLIPS[data]
    table = Table(
        f"{title}: trained on few clips of each class, percent right of the middle clips",
        ("begins with", *(f"{count} clips" for count in counts), "runs"),
    )
    for rate in RATES:
        for name in STARTS:
            runs = [list(found.get(f"{count} clips, {rate:g}, {name}", {}).values()) for count in counts]
            if any(runs):
                cells = [
                    f"{seeds.spread([run['top1'] for run in one])} ({np.mean([run['loss'] for run in one]):.2f})" if one else "–"
                    for one in runs
                ]
                table.rows.append([name, *cells, max(map(len, runs))])
    table.notes += [
        f"{STEPS['starts']} steps of {COMMON['training.batch']} clips, the last epoch",
        "in brackets the loss on the same clips; ± is the standard deviation of several runs",
    ]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--cases", default="", metavar="REGEX", help="only those whose name it matches")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--tables", action="store_true", help="show what is there")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "pretraining.json")
    args = parser.parse_args()
    if not args.tables:
        for row in todo(seeds.read(args.output), args.sets, args.only, args.seeds):
            if not re.search(args.cases, row[2]):
                continue
            print(*row, flush=True)
            kind, data, case, seed = row
            made = run_one(row, args.data)
            seeds.amend(
                args.output,
                lambda found: found.setdefault(kind, {}).setdefault(data, {}).setdefault(case, {}).update({seed: made}),  # noqa: B023
            )
    for table in tables(seeds.read(args.output)):
        table.show()


if __name__ == "__main__":
    main()
