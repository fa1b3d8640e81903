"""Rates and pattern for a time target, searched with a table of measured layers and a cheap guess of the accuracy.

After Zhan et al., ICCV 2021 (arXiv:2108.08910) and Zhao et al. (arXiv:2012.13801): a latency model of the target engine, and
Bayesian optimisation over the rates of all layers. Every point that is looked at meets the target by the table, so each
evaluation answers one question only: which layers bear it best.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from everyframe.errors import UsageError
from everyframe.runtime.progress import bar
from everyframe.train.prune import cost, latency
from everyframe.train.prune.bayes import expected_improvement
from everyframe.train.prune.greedy import CAP, greedy
from everyframe.train.prune.latency import Latency
from everyframe.train.prune.pattern import Pattern
from everyframe.train.prune.proxy import Batches, Proxy

EVALUATIONS = 40
#: of the evaluations, drawn at random before the model of the loss is used
FIRST = 0.25
#: candidates of each kind that the model is asked about; spread of those near the best
CANDIDATES, SPREADS = 400, (0.05, 0.15, 0.3)
#: steps of a rate
FINE = 100

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

    def section(self) -> dict[str, object]:
        """What a pruning recipe says under [prune]."""
        best = self.best
        return {"scheme": best.pattern.scheme, "group": best.pattern.group, "rates": best.rates}


def run(
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
    split. target_ms: of one thread for a clip, or speedup, over the dense network; one of both. Ctrl-C while searching ends the
    search with what was found. Raises UsageError before long work for settings that contradict each other, and after the
    measurement for a target that no pattern reaches.
    """
    if (target_ms is None) == (speedup is None):
        raise UsageError("A search needs a target.", expected="target_ms or speedup", got="both" if speedup else "neither")
    if not all(value > 0 for value in (target_ms, speedup) if value is not None) or evaluations < 1:
        raise UsageError("Targets and evaluations are positive.", got=f"target {target_ms or speedup}, {evaluations} evaluations")
    costs = cost.layers(net, shape)
    guess = Proxy(net, calibration, validation)
    measured = latency.measure(net, shape, costs, patterns, engine=engine)
    space = Space(measured, patterns, measured.dense / speedup if speedup else target_ms, cap)  # type: ignore[arg-type]
    with bar("searching rates") as update:
        trials = search(space, guess, evaluations, seed, update)
    return Found(tuple(trials), measured.dense, space.target_ms)


class Space:
    """Points that meet the target. A point is a number of a pattern and a position in [0, 1]^layers, which is a rate when it is
    multiplied by `cap`; positions are shifted together until the table says that the target is met.
    """

    def __init__(self, measured: Latency, patterns: Sequence[Pattern], target_ms: float, cap: float = CAP) -> None:
        self.layers = latency.worthwhile(measured.costs, patterns)
        self.costs, self.dense, self.target_ms, self.cap = measured.costs, measured.dense, target_ms, cap
        curves, fastest = [], measured.dense
        self.patterns: list[Pattern] = []
        for pattern in patterns:
            curve = np.array([self._curve(measured, layer, pattern) for layer in self.layers]).reshape(-1, FINE + 1)
            least = measured.dense - curve[:, int(cap * FINE)].sum()
            fastest = min(fastest, least)
            if least <= target_ms:
                curves.append(curve)
                self.patterns.append(pattern)
        if not self.patterns:
            raise UsageError(
                "The network cannot become so fast by pruning.", got=f"{target_ms:.3g} ms",
                expected=f"at least {fastest:.3g} ms for a clip, from {measured.dense:.3g} ms dense",
                hint="ask for less, take another pattern, or shrink the clip",
            )  # fmt: skip
        self.curves = np.stack(curves)  # (patterns, layers, FINE + 1) milliseconds saved

    def _curve(self, measured: Latency, layer: cost.LayerCost, pattern: Pattern) -> list[float]:
        """Milliseconds saved at each step of the rate; nothing where the pattern does not fit the layer."""
        fits = pattern.fits(layer.weight_shape)
        return [measured.table.saved(layer, pattern, step / FINE) if fits else 0.0 for step in range(FINE + 1)]

    def fit(self, numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """(n,) patterns and (n, layers) positions -> the positions that meet the target, in whole steps of a rate."""
        low, high = np.full(len(positions), -1.0), np.ones(len(positions))
        for _ in range(12):  # steps of a rate are a hundredth
            middle = (low + high) / 2
            slow = self.ms(numbers, self._steps(numbers, positions + middle[:, None])) > self.target_ms
            low, high = np.where(slow, middle, low), np.where(slow, high, middle)
        return self._steps(numbers, positions + high[:, None]) / (self.cap * FINE)

    def ms(self, numbers: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """(n,) of points in steps of a rate."""
        return self.dense - self.curves[numbers[:, None], np.arange(len(self.layers)), steps].sum(1)

    def rates(self, number: int, position: np.ndarray) -> dict[str, float]:
        steps = self._steps(np.array([number]), position[None])[0]
        return {layer.name: int(step) / FINE for layer, step in zip(self.layers, steps, strict=True) if step}

    def _steps(self, numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
        fits = np.array([[pattern.fits(layer.weight_shape) for layer in self.layers] for pattern in self.patterns])
        return np.where(fits[numbers], np.round(np.clip(positions, 0, 1) * self.cap * FINE), 0).astype(int)

    def starts(self) -> list[tuple[str, int, np.ndarray]]:
        """For every pattern: all layers alike, and the hand rule at the FLOPs rate that the speed-up would be; points that meet
        the target, each once.
        """
        wished = {"uniform": np.zeros(len(self.layers))}
        with contextlib.suppress(UsageError):  # every layer at the cap would not be enough
            rates = greedy(self.layers, max(self.dense / self.target_ms, 1.0), cap=self.cap)
            wished["greedy"] = np.array([rates.get(layer.name, 0.0) / self.cap for layer in self.layers])
        found: dict[tuple[int, bytes], tuple[str, int, np.ndarray]] = {}
        for number in range(len(self.patterns)):
            for how, position in wished.items():
                fitted = self.fit(np.array([number]), position[None])[0]
                found.setdefault((number, fitted.tobytes()), (how, number, fitted))
        return list(found.values())


def search(
    space: Space, guess: Guess, evaluations: int, seed: int, update: Callable[[int, int], None] = lambda done, of: None
) -> list[Trial]:
    """Evaluates starts, then points at random, then those that the model of the loss promises most of. No point twice."""
    rng = np.random.default_rng(seed)
    points: list[tuple[int, np.ndarray]] = []
    trials: list[Trial] = []
    queue = space.starts()
    try:
        while len(trials) < evaluations:
            update(len(trials), evaluations)
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
    """The candidate with the largest expected improvement, of random ones and of neighbours of the best."""
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
