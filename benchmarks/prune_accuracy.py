"""What pruning costs in accuracy: one-shot, ADMM and reweighted norms, in whole groups, kernel groups and balanced kernel groups.

    python benchmarks/prune_accuracy.py --data DATA/hand_gestures --work WORK
    python benchmarks/prune_accuracy.py --data DATA/hand_gestures --work WORK --networks c3d --seeds 0 --methods reweighted
    python benchmarks/prune_accuracy.py --table

C3D and R(2+1)D-18 at a quarter of their width are pruned at the per-layer rates of RT3D's profiles; they see small gray
pictures. Every pruning of a network and seed begins with the same dense weights and trains for as many epochs in all: half before
the cut and half after it, or all after it where a method cuts at once. "none" trains the dense network on for as long, with the
same teacher. Accuracy is that of the last epoch, not of the best one on the validation clips. Every finished run is added to the
results file, and what is there is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import networks
import seeds

from everyframe import recipes as recipes
from everyframe.benchmarking import Table, one_line
from everyframe.models.registry import describe, register
from everyframe.recipes.pruning import PruneRecipe
from everyframe.recipes.training import ClipRecipe
from everyframe.training import folder


@dataclass(frozen=True)
class Network:
    """Of the zoo, changed by options; much: what is pruned, as a setting of [prune]; the clips that it sees."""

    zoo: str
    much: str
    frames: int
    size: tuple[int, int]
    options: Mapping[str, float] = field(default_factory=dict)

    @property
    def clips(self) -> str:
        return f"{self.frames} x {self.size[0]} x {self.size[1]}, gray"


NETWORKS = {
    "c3d": Network("c3d", "prune.preset=c3d-3.57x", 16, (32, 40), {"width": 0.25}),
    "r2plus1d": Network("r2plus1d_18", "prune.preset=r2plus1d-3.20x", 8, (32, 40), {"width": 0.25}),
}
METHODS = ("none", "magnitude", "admm", "reweighted")
SCHEMES = ("kgs", "vanilla", "balanced")
DENSE_EPOCHS, EPOCHS = 50, 16
COLUMNS = ("method", "pattern", "FLOPs", "epochs", "top-1", "loss", "top-1 after the cut", "norm that the cut took, %", "seeds")
TEXT = """
name = "{name}"
[model]
name = "narrow_{name}"
frames = {frames}
size = [{height}, {width}]
dropout = 0.2
[preprocess]
color = "gray"
resize = [{height}, {width}]
mean = [0.05]
std = [0.15]
fps = 10
[data]
workers = 0
cache = true
short_side = {short}
[sampling]
short = "hold"
[augment]
crop = "random"
scales = [1.0, 0.95, 0.9]
[optimizer]
kind = "adamw"
learning_rate = 1e-3
weight_decay = 5e-4
clip = 2.0
[schedule]
kind = "cosine"
warmup = {warmup}
[training]
epochs = {epochs}
batch = 16
seed = {seed}
threads = 1
precision = "bf16"
label_smoothing = 0.1
"""
TAUGHT = """
[distillation]
weight = 0.5
"""
PRUNE = """
[prune]
group = {group}
[regularize]
epochs = {epochs}
refreshes = {epochs}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="hand_gestures, with train/CLASS and val/CLASS")
    parser.add_argument("--work", type=Path, default=Path("runs/prune_accuracy"), help="folder of the runs")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=SCHEMES)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--group", nargs=2, type=int, default=(8, 4))
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="after the dense training, in all")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "prune_accuracy.json")
    args = parser.parse_args()
    for name, network in NETWORKS.items():
        entry = describe(network.zoo)
        register(replace(entry, name=f"narrow_{name}", options={**entry.options, **network.options}, min_size=16))
    if not args.table:
        if args.data is None:
            parser.error("--data names the clips")
        for scheme, seed, name in itertools.product(args.schemes, args.seeds, args.networks):
            dense = args.work / f"{name}-dense-{seed}"
            todo = [{"network": name, "method": "dense", "scheme": "", "seed": seed, "epochs": DENSE_EPOCHS, "group": []}]
            for method in args.methods:
                plain = method == "none"
                todo.append({
                    "network": name, "method": method, "scheme": "" if plain else scheme, "seed": seed, "epochs": args.epochs,
                    "group": [] if plain else list(args.group),
                })  # fmt: skip
            for row in todo:
                if not found(row, args.output):
                    row |= HOW.get(row["method"], pruned)(row, dense, args.data, args.work)
                    seeds.amend(args.output, lambda results: results.setdefault("runs", []).append(row))  # noqa: B023
                    print(json.dumps(row), flush=True)
    for made in tables(seeds.read(args.output)):
        made.show()


def text(name: str, seed: int, epochs: int, warmup: int) -> str:
    network = NETWORKS[name]
    height, width = network.size
    return TEXT.format(
        name=name, frames=network.frames, height=height, width=width, short=round(height * 1.125), seed=seed, epochs=epochs,
        warmup=warmup,
    )  # fmt: skip


def train(text: str, changes: Sequence[str], path: Path, data: Path) -> dict[str, Any]:
    """The last epoch of a training, which goes on where it was."""
    from everyframe.training import run as training  # torch: tables do without

    if not (path / "step.onnx").is_file():
        made = recipes.parse(text, changes=changes)
        assert isinstance(made, ClipRecipe)
        done = training.resume(path) if (path / "recipe.toml").is_file() else training.start(made, path, data=data)
        if done is None or not done.ended:
            raise KeyboardInterrupt
    return folder.read(path).epochs[-1]


def from_scratch(row: Mapping[str, Any], path: Path, data: Path, work: Path) -> dict[str, Any]:
    """The run folder that everything else begins with."""
    last = train(text(row["network"], row["seed"], row["epochs"], 1), (), path, data)
    return {"top1": last["top1"], "loss": last["validation_loss"], "rate": 1.0}


def continued(row: Mapping[str, Any], dense: Path, data: Path, work: Path) -> dict[str, Any]:
    changes = [f"model.weights={dense / 'best.safetensors'}", f"distillation.teacher={dense}"]
    path = work / f"{row['network']}-none-{row['seed']}-{row['epochs']}"
    last = train(text(row["network"], row["seed"], row["epochs"], 0) + TAUGHT, changes, path, data)
    return {"top1": last["top1"], "loss": last["validation_loss"], "rate": 1.0}


def pruned(row: Mapping[str, Any], dense: Path, data: Path, work: Path) -> dict[str, Any]:
    from everyframe.pruning import run as pruning

    name, before = row["network"], 0 if row["method"] == "magnitude" else row["epochs"] // 2
    path = work / "-".join(str(row[key]) for key in KEYS)
    both = 'task = "prune"\n' + text(name, row["seed"], row["epochs"] - before, 0) + TAUGHT
    changes = [f"prune.dense={dense}", NETWORKS[name].much, f"prune.method={row['method']}", f"prune.scheme={row['scheme']}"]
    made = recipes.parse(both + PRUNE.format(group=row["group"], epochs=before or 1), changes=changes)
    assert isinstance(made, PruneRecipe)
    began = time.process_time()
    done = pruning.resume(path) if (path / "recipe.toml").is_file() else pruning.start(made, path, data=data)
    if done is None or not done.ended:
        raise KeyboardInterrupt
    stages = {name: folder.read(path / name).epochs for name in done.figures["done"]}
    last = stages["retrain"][-1]
    took = stages["regularize"][-1]["pruning_would_take"] if "regularize" in stages else None
    return {
        "top1": last["top1"], "loss": last["validation_loss"], "pruned_top1": done.figures["accuracy"]["pruned"]["top1"],
        "pruned_loss": done.figures["accuracy"]["pruned"]["loss"], "pruning_took": took, "rate": done.figures["rate"],
        "cpu_seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


KEYS = ("network", "method", "scheme", "seed", "epochs", "group")


HOW = {"dense": from_scratch, "none": continued}


def found(row: Mapping[str, Any], path: Path) -> bool:
    return any(all(other[key] == row[key] for key in KEYS) for other in seeds.read(path).get("runs", []))


def tables(results: dict[str, Any]) -> list[Table]:
    """Means over seeds, with the spread between them where there are several."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in results.get("runs", []):
        order = ("dense", *METHODS).index(row["method"]), ("", *SCHEMES).index(row["scheme"])
        epochs = 0 if row["method"] == "dense" else row["epochs"]  # dense networks come first
        groups.setdefault((row["network"], epochs, *order, *row["group"]), []).append(row)
    made: dict[str, Table] = {}
    for (name, *_), same in sorted(groups.items()):
        first, network = same[0], NETWORKS[name]
        title = f"{network.zoo} at a quarter of its width, clips of {network.clips}: top-1 in percent"
        table = made.setdefault(name, Table(title, COLUMNS))
        rate = f"{mean(row['rate'] for row in same):.2f}x"
        table.rows.append([
            first["method"], f"{first['scheme']} {'x'.join(map(str, first['group']))}".strip() or "–", rate, first["epochs"],
            seeds.spread([row["top1"] for row in same]), seeds.spread([row["loss"] for row in same], 1, 2),
            *(seeds.spread([row.get(key) for row in same]) for key in ("pruned_top1", "pruning_took")), len(same),
        ])  # fmt: skip
        table.notes = ["± is the standard deviation over seeds", one_line(results["machine"])]
    return list(made.values())


if __name__ == "__main__":
    main()
