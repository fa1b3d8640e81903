"""Rates and pattern for a time target, searched with a table of measured layers and a cheap guess of the accuracy.

After Zhan et al., ICCV 2021 (arXiv:2108.08910) and Zhao et al. (arXiv:2012.13801): a latency model of the target engine, and
Bayesian optimization over the rates of all layers. Every point that is looked at meets the target by the table, so each
evaluation answers one question only: which layers bear it best.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from everyframe.errors import RecipeError, UsageError
from everyframe.files import check_writable, make_folder, write_bytes
from everyframe.progress import CountProgress, bar, silent
from everyframe.pruning import cost, latency, proxy
from everyframe.pruning.bayes import expected_improvement
from everyframe.pruning.greedy import CAP
from everyframe.pruning.pattern import Pattern
from everyframe.pruning.proxy import Batches, Proxy
from everyframe.pruning.run import with_dense
from everyframe.pruning.space import FINE, Space
from everyframe.pruning.stages import Stages
from everyframe.recipes.pruning import PruneRecipe, Scheme, usual_group
from everyframe.training import folder, network
from everyframe.training import run as training

EVALUATIONS = 40
FILE = "search.toml"
#: of the evaluations, drawn at random before the model of the loss is used
FIRST = 0.25
#: candidates of each kind that the model is asked about; spread of those near the best
CANDIDATES, SPREADS = 400, (0.05, 0.15, 0.3)

Guess = Callable[[Mapping[str, float], Pattern], float]


@dataclass(frozen=True)
class Trial:
    """ms: by the table. loss: the proxy's. start: how the point was found (`uniform`, `greedy`, `random`, `model`)."""

    pattern: Pattern
    rates: dict[str, float]
    ms: float
    loss: float
    start: str


@dataclass(frozen=True)
class Found:
    """trials: in the order of their evaluation. dense_ms: of the network as it is."""

    trials: tuple[Trial, ...]
    dense_ms: float
    target_ms: float

    @property
    def best(self) -> Trial:
        return min(self.trials, key=lambda trial: trial.loss)

    def to_dict(self) -> dict[str, Any]:
        best = self.best
        return {
            "dense_ms": self.dense_ms, "target_ms": self.target_ms, "ms": best.ms, "loss": best.loss, "rates": best.rates,
            "pattern": str(best.pattern), "choices": len(self.trials),
        }  # fmt: skip

    def text(self) -> str:
        layers = len(self.best.rates)
        return (
            f"{self.dense_ms:.3g} ms a clip as it is, {self.best.ms:.3g} ms by the table with zeros in {layers} "
            f"layer{'s' * (layers != 1)} ({self.best.pattern}, best of {len(self.trials)} choices)"
        )

    def recipe(self, given: PruneRecipe, engine: str) -> str:
        """The given recipe with the best rates and pattern in [prune], as TOML; what was found stands on top."""
        best = self.best
        how_much = dict.fromkeys(("rate", "preset", "threshold", "mask"))
        chosen = {**how_much, "scheme": best.pattern.scheme, "group": best.pattern.group, "rates": best.rates}
        made = given.model_copy(update={"prune": given.prune.model_copy(update=chosen)})
        return (
            f"# {self.dense_ms:.3g} ms a clip as it is, {best.ms:.3g} ms with these rates, by the table of layers of the engine\n"
            f"# {engine}, one thread. Best of {len(self.trials)} choices; loss {best.loss:.4g} before retraining.\n\n"
            f"{folder.as_toml(made)}"
        )


def run(
    recipe: PruneRecipe,
    output: Path,
    *,
    where: str | None = None,
    data: Path | None = None,
    target_ms: float | None = None,
    speedup: float | None = None,
    schemes: Sequence[Scheme] = (),
    engine: str = "native",
    evaluations: int = EVALUATIONS,
) -> Found:
    """Searches rates for the recipe's dense network and writes a recipe with them to `output`, for `everyframe prune`.

    recipe: with prune.dense; where, data: as in `pruning.run.start`. target_ms: for a clip, one thread; speedup: over the dense
    network; one of both. schemes: to choose from; default: the recipe's. engine: a name of `runtime.engine.ENGINES` whose time
    counts. Raises an EveryframeError before any work where something does not fit, and after the measurement of the layers for a
    target that cannot be reached. Ctrl-C keeps the layers that were measured, and ends the search with what was found.
    """
    check_writable(output)
    asked = {"target_ms": target_ms, "speedup": speedup, "engine": engine, "evaluations": evaluations}
    found, text = _search(recipe, where, data, schemes, **asked)  # type: ignore[arg-type]
    write_bytes(text.encode(), output)
    return found


def into(recipe: PruneRecipe, path: Path, *, where: str | None = None, data: Path | None = None, speedup: float) -> Found:
    """The same for a run folder that is to be: the recipe is its `search.toml`. Raises UsageError where a training lies in it."""
    folder.check_new(path)
    found, text = _search(recipe, where, data, (), speedup=speedup)
    make_folder(path)
    write_bytes(text.encode(), path / FILE)
    return found


def _search(
    recipe: PruneRecipe, where: str | None, data: Path | None, schemes: Sequence[Scheme], *, target_ms: float | None = None,
    speedup: float | None = None, engine: str = "native", evaluations: int = EVALUATIONS,
) -> tuple[Found, str]:  # fmt: skip
    """What was found, and the recipe as a file."""
    _check(target_ms, speedup, evaluations)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError(
            "A search measures times, which several processes would spoil for each other.", expected="one process",
            got=f"{os.environ['WORLD_SIZE']} of torchrun",
            hint="everyframe prune RUN -o OUT --speedup ... --search-only, then torchrun ... -m everyframe prune OUT/search.toml",
        )  # fmt: skip
    if recipe.prune.dense is None:
        raise RecipeError(
            "A search needs a trained network.", where="key prune.dense", hint="everyframe train it, then name its run folder"
        )
    recipe, collection = training.read(with_dense(recipe), where, data)
    stages = Stages(recipe, collection, Path(), None)
    stages.check_dense()
    trained = network.build(stages.plain(stages.given), len(collection.labels))
    batches = [proxy.take(recipe, collection, trained, split) for split in ("train", "validation")]
    shape = (1, trained.preprocess.channels, trained.made.frames, *trained.made.size)
    given = recipe.prune
    patterns = [
        Pattern(scheme, usual_group(scheme) if scheme == "plane" != given.scheme else given.group)
        for scheme in schemes or (given.scheme,)
    ]
    found = find(
        trained.net.eval(), shape, *batches, target_ms=target_ms, speedup=speedup, patterns=patterns, engine=engine,
        evaluations=evaluations, seed=recipe.training.seed,
    )  # fmt: skip
    return found, found.recipe(recipe, engine)


def find(
    net: nn.Module,
    shape: Sequence[int],
    calibration: Batches,
    validation: Batches,
    *,
    target_ms: float | None = None,
    speedup: float | None = None,
    patterns: Sequence[Pattern] = (Pattern(),),
    engine: str = "native",
    evaluations: int = EVALUATIONS,
    seed: int = 0,
    cap: float = CAP,
) -> Found:
    """Measures the layers (minutes, once for a machine), then evaluates `evaluations` choices.

    net: trained. shape: of one clip, (1, C, T, H, W). calibration, validation: `proxy.take` of the training and the validation
    split. The other arguments are those of `run`.
    """
    _check(target_ms, speedup, evaluations)
    costs = cost.layers(net, shape)
    guess = Proxy(net, calibration, validation)
    dense = latency.whole(net, shape, engine)
    wanted = dense / speedup if speedup else target_ms or dense
    if wanted >= dense:
        raise UsageError("The network is that fast already.", expected=f"less than {dense:.3g} ms", got=f"{wanted:.3g} ms")
    layers, table = latency.worthwhile(costs, patterns, dense / wanted), latency.Table.open(engine)
    table.measure(layers, patterns)
    space = Space(latency.Latency(table, costs, layers, dense), patterns, wanted, cap)
    with bar("searching rates") as progress:
        trials = search(space, guess, evaluations, seed, progress)
    return Found(tuple(trials), dense, wanted)


def _check(target_ms: float | None, speedup: float | None, evaluations: int) -> None:
    if (target_ms is None) == (speedup is None):
        raise UsageError(
            "A search needs a target.", expected="target_ms or speedup", got="neither" if speedup is None else "both"
        )
    if not all(0 < value < inf for value in (target_ms, speedup) if value is not None) or evaluations < 1:
        raise UsageError("Targets and evaluations are positive.", got=f"target {target_ms or speedup}, {evaluations} evaluations")


def search(space: Space, guess: Guess, evaluations: int, seed: int, progress: CountProgress = silent) -> list[Trial]:
    """Evaluates starts, then points at random, then those that the model of the loss promises most of. No point twice."""
    rng = np.random.default_rng(seed)
    points: list[tuple[int, np.ndarray]] = []
    trials: list[Trial] = []
    queue = space.starts()
    try:
        while len(trials) < evaluations:
            progress(len(trials), evaluations)
            if len(trials) < len(queue):
                how, number, position = queue[len(trials)]
            elif len(trials) < max(len(queue), round(FIRST * evaluations)):
                how, number, position = "random", *_random(space, rng, 1)[0]
            else:
                how, number, position = "model", *_promising(space, rng, points, trials)
            points.append((number, position))
            rates, pattern = space.rates(number, position), space.patterns[number]
            steps = np.round(position * space.cap * FINE).astype(int)
            ms = float(space.ms(np.array([number]), steps[None])[0])
            trials.append(Trial(pattern, rates, ms, guess(rates, pattern), how))
    except KeyboardInterrupt:
        if not trials:
            raise
    return trials


def _random(space: Space, rng: np.random.Generator, count: int) -> list[tuple[int, np.ndarray]]:
    numbers = rng.integers(len(space.patterns), size=count)
    return list(zip(numbers.tolist(), space.fit(numbers, rng.random((count, len(space.layers)))), strict=True))


def _promising(
    space: Space, rng: np.random.Generator, points: Sequence[tuple[int, np.ndarray]], trials: Sequence[Trial]
) -> tuple[int, np.ndarray]:
    """The candidate with the largest expected improvement, of random ones and of neighbors of the best."""
    best = [points[i] for i in np.argsort([trial.loss for trial in trials])[:5]]
    chosen = rng.integers(len(best), size=CANDIDATES)
    near = np.stack([best[i][1] for i in chosen])
    moved = near + rng.choice(SPREADS, CANDIDATES)[:, None] * rng.standard_normal(near.shape) * (rng.random(near.shape) < 0.5)
    numbers = np.array([best[i][0] for i in chosen])
    candidates = [*_random(space, rng, CANDIDATES), *zip(numbers.tolist(), space.fit(numbers, moved), strict=True)]
    seen = {(number, position.tobytes()) for number, position in points}
    fresh = [point for point in candidates if (point[0], point[1].tobytes()) not in seen] or candidates
    known, asked = _features(space, points), _features(space, fresh)
    return fresh[int(np.argmax(expected_improvement(known, np.array([trial.loss for trial in trials]), asked)))]


def _features(space: Space, points: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """(n, layers + patterns): positions, and which pattern."""
    numbers = np.array([number for number, _ in points])
    return np.hstack([np.stack([position for _, position in points]), np.eye(len(space.patterns))[numbers]])
