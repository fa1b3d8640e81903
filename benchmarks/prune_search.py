"""Which cheap guess of a pruned network's accuracy to trust, and which search makes most of it.

    everyframe train quick --data FOLDER -o RUN --set model.frames=16 ...
    python benchmarks/prune_search.py RUN                    half an hour on a quiet core

Guesses: choices of rates at random, all with as many MACs left; each is retrained for a few epochs with its mask, and every
guess is ranked against the loss after that (Spearman). Searches: random, evolution and the Bayesian one of the package with
equal numbers of evaluations, over seeds. Ends: the best of the search, the hand rule and equal rates, retrained.
MACs stand for milliseconds here, so that the machine has no part in it.
Writes benchmarks/results/prune_search.json, after each choice; what is there already is not done again.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean, median
from typing import Any

import networks
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe.benchmarking import Table, describe, one_line, save
from everyframe.data import formats
from everyframe.pruning import cost, latency, proxy, search
from everyframe.pruning.mask import Mask
from everyframe.pruning.pattern import Pattern
from everyframe.pruning.space import Space
from everyframe.training import folder, network

PATTERN = Pattern("kgs", (16, 4))
BATCH = 16
Rates = Mapping[str, float]


def masked(net: nn.Module, rates: Rates) -> dict[str, Tensor]:
    weights = {name: net.get_submodule(name).weight.detach().numpy() for name in rates}
    mask = Mask.choose(PATTERN, weights, rates)
    return {name: torch.from_numpy(np.ascontiguousarray(mask.weights(name))) for name in mask.layers}


def judged(net: nn.Module, batches: proxy.Batches) -> tuple[float, float]:
    """(loss, top-1)."""
    with torch.no_grad():
        made = [(net(clips), labels) for clips, labels in batches]
    logits, labels = torch.cat([a for a, _ in made]), torch.cat([b for _, b in made])
    return float(F.cross_entropy(logits, labels)), float((logits.argmax(1) == labels).float().mean())


def retrained(
    net: nn.Module, rates: Rates, clips: Tensor, labels: Tensor, held: proxy.Batches, epochs: int, seed: int
) -> tuple[float, float]:
    """(loss, top-1) on the held-out clips after `epochs` with the mask. Pictures are shifted by up to 3 pixels."""
    net, drawn = copy.deepcopy(net).train(), torch.Generator().manual_seed(seed)
    masks = masked(net, rates)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.05)
    steps = epochs * (len(clips) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    torch.manual_seed(seed)  # dropout
    for step in range(steps):
        if step % (len(clips) // BATCH) == 0:
            order = torch.randperm(len(clips), generator=drawn)
        chosen = order[(step % (len(clips) // BATCH)) * BATCH :][:BATCH]
        shift = torch.randint(-3, 4, (2,), generator=drawn).tolist()
        with torch.no_grad():
            for name, mask in masks.items():
                net.get_submodule(name).weight.mul_(mask)
        loss = F.cross_entropy(net(torch.roll(clips[chosen], shift, (-2, -1))), labels[chosen], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        for name, mask in masks.items():
            net.get_submodule(name).weight.mul_(mask)
    return judged(net.eval(), held)


class Guesses:
    """Everything that was tried as a guess; smaller is better."""

    def __init__(self, net: nn.Module, calibration: proxy.Batches, held: proxy.Batches, macs: Mapping[str, int]) -> None:
        self.net, self.held, self.macs = net, held, macs
        self.recalibrated = proxy.Proxy(net, calibration, held)
        learner = copy.deepcopy(net).eval()
        for clips, labels in calibration:
            F.cross_entropy(learner(clips), labels).backward()
        self.taylor = {
            name: (layer.weight * layer.weight.grad).detach().abs()
            for name, layer in learner.named_modules() if name in macs and layer.weight.grad is not None
        }  # fmt: skip

    def all(self, rates: Rates) -> dict[str, float]:
        masks = masked(self.net, rates)
        weights = {name: self.net.get_submodule(name).weight.detach() for name in masks}
        plain = copy.deepcopy(self.net).eval()
        with torch.no_grad():
            for name, mask in masks.items():
                plain.get_submodule(name).weight.mul_(mask)
        return {
            "one-shot, BatchNorm anew": self.recalibrated(rates, PATTERN),
            "one-shot": judged(plain, self.held)[0],
            "Taylor |w g| pruned": float(sum((self.taylor[n] * ~masks[n]).sum() for n in masks)),
            "share of w^2 pruned": float(sum((weights[n] ** 2 * ~masks[n]).sum() / (weights[n] ** 2).sum() for n in masks)),
            "weights pruned": float(sum((~mask).sum() for mask in masks.values())),
        }


def spearman(a: list[float], b: list[float]) -> float:
    ranks = [np.argsort(np.argsort(x)).astype(float) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def by_macs(costs: list[cost.LayerCost]) -> latency.Latency:
    """A table in which time is MACs."""
    rates = {"dense": 0.0, **{f"{PATTERN} {rate:g}": rate for rate in latency.RATES}}
    ms = {latency.key(one): {name: one.macs / 1e6 * (1 - rate) for name, rate in rates.items()} for one in costs}
    layers = latency.worthwhile(costs, [PATTERN], 1.0)
    return latency.Latency(latency.Table("macs", Path("none"), ms), costs, layers, cost.left(costs, {}) / 1e6)


def at_random(space: Space, guess: search.Guess, evaluations: int, seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    points = [search._random(space, rng, 1)[0] for _ in range(evaluations)]
    return [guess(space.rates(*point), space.patterns[point[0]]) for point in points]


def evolved(space: Space, guess: search.Guess, evaluations: int, seed: int, parents: int = 5) -> list[float]:
    """Starts of the package and random points, then one child a time of one of the best `parents`."""
    rng, found = np.random.default_rng(seed), list[tuple[float, np.ndarray]]()
    starts = [position for _, _, position in space.starts()]
    zero = np.zeros(1, int)
    for n in range(evaluations):
        if n < len(starts):
            position = starts[n]
        elif n < 10:
            position = rng.random(len(space.layers))
        else:
            best = sorted(found, key=lambda pair: pair[0])[:parents]
            position = best[rng.integers(len(best))][1]
            position = position + rng.choice(search.SPREADS) * rng.standard_normal(len(position)) * (
                rng.random(len(position)) < 0.5
            )
        position = space.fit(zero, position[None])[0]
        found.append((guess(space.rates(0, position), PATTERN), position))
    return [loss for loss, _ in found]


def bayesian(space: Space, guess: search.Guess, evaluations: int, seed: int) -> list[float]:
    return [trial.loss for trial in search.search(space, guess, evaluations, seed)]


SEARCHES: dict[str, Callable[[Space, search.Guess, int, int], list[float]]] = {
    "random": at_random, "evolution": evolved, "bayesian": bayesian,
}  # fmt: skip


def tables(results: dict[str, Any]) -> list[Table]:
    guesses = Table("Spearman's rank correlation with the loss after retraining", ["guess", "correlation", "choices"])
    rows = results["guesses"]
    for name in rows[0]["guesses"]:
        guesses.rows.append([name, f"{spearman([r['guesses'][name] for r in rows], [r['loss'] for r in rows]):.2f}", len(rows)])
    made = [guesses]
    if "searches" in results:
        found = Table(
            "Smallest guess after so many evaluations, median over seeds", ["search", "10", "20", str(results["evaluations"])]
        )
        for name, runs in results["searches"].items():
            found.rows.append([name, *(f"{median(min(run[:n]) for run in runs):.3f}" for n in (10, 20, results["evaluations"]))])
        made.append(found)
    if "ends" in results:
        ends = Table("Retrained", ["choice", "million MACs", "guess", "loss", "top-1"])
        for name, row in results["ends"].items():
            ends.rows.append(
                [name, f"{row['mmacs']:.1f}", f"{row['guess']:.3f}", f"{mean(row['loss']):.3f}", f"{mean(row['top1']):.1%}"]
            )
        made.append(ends)
    made[-1].notes.append(one_line(results["machine"]))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of a finished training")
    parser.add_argument("--rate", type=float, default=3.0, help="FLOPs rate of every choice")
    parser.add_argument("--choices", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "prune_search.json")
    args = parser.parse_args()
    run = folder.read(args.run)
    collection = formats.read(run.recipe.data, Path(run.recipe.data.root))
    trained = network.build(run.recipe, len(run.labels))
    net = trained.net.eval()
    net.load_state_dict(load_file(run.best))
    learn = proxy.take(run.recipe, collection, trained, "train", 10**6)
    held = proxy.take(run.recipe, collection, trained, "validation")
    clips, labels = torch.cat([a for a, _ in learn]), torch.cat([b for _, b in learn])
    calibration = learn[:4]
    shape = (1, *clips.shape[1:])
    costs = cost.layers(net, shape)
    counted = by_macs(costs)
    space = Space(counted, [PATTERN], counted.dense / args.rate)
    guesses = Guesses(net, calibration, held, {layer.name: layer.macs for layer in space.layers})
    results: dict[str, Any] = {
        "benchmark": "prune_search", "machine": describe("torch"), "network": run.recipe.model.name, "shape": shape,
        "data": Path(run.recipe.data.root).name, "dense": judged(net, held), "flops_rate": args.rate,
        "evaluations": args.evaluations, "epochs": args.epochs, "seeds": args.seeds,
    }  # fmt: skip
    before = json.loads(args.output.read_text()) if args.output.is_file() else {}
    same = all(before.get(key) == json.loads(json.dumps(value)) for key, value in results.items() if key != "machine")
    results = {**(before if same else {}), **results}
    results.setdefault("guesses", [])
    print({key: value for key, value in results.items() if key != "machine"}, flush=True)
    rng = np.random.default_rng(0)
    for number, position in search._random(space, rng, args.choices)[len(results["guesses"]) :]:
        rates = space.rates(number, position)
        after = retrained(net, rates, clips, labels, held, args.epochs, seed=0)
        results["guesses"].append({"rates": rates, "guesses": guesses.all(rates), "loss": after[0], "top1": after[1]})
        print(results["guesses"][-1], flush=True)
        save(args.output, results)
    found = results.setdefault("searches", {})
    for name, find in SEARCHES.items():
        for seed in range(len(found.setdefault(name, [])), args.seeds):
            found[name].append(find(space, guesses.recalibrated, args.evaluations, seed))
            save(args.output, results)
    trials = search.search(space, guesses.recalibrated, args.evaluations, seed=0)
    chosen = {trial.start: trial for trial in trials if trial.start in ("uniform", "greedy")}
    chosen["searched"] = min(trials, key=lambda trial: trial.loss)
    results["ends"] = {}
    for name, trial in chosen.items():
        after = [retrained(net, trial.rates, clips, labels, held, args.epochs, seed) for seed in range(args.seeds)]
        results["ends"][name] = {
            "rates": trial.rates, "mmacs": trial.ms, "guess": trial.loss, "loss": [a for a, _ in after],
            "top1": [b for _, b in after],
        }  # fmt: skip
        save(args.output, results)
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
