"""What a search may choose: rates and a pattern with which, by the table of measured layers, a network is fast enough."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from everyframe.errors import UsageError
from everyframe.pruning.cost import LayerCost
from everyframe.pruning.greedy import CAP, greedy
from everyframe.pruning.latency import Latency
from everyframe.pruning.pattern import Pattern

#: steps of a rate
FINE = 100


class Space:
    """Points that meet the target. A point is a number of a pattern and a position in [0, 1]^layers, which is a rate when it is
    multiplied by `cap`; positions are shifted together until the table says that the target is met.
    """

    def __init__(self, measured: Latency, patterns: Sequence[Pattern], target_ms: float, cap: float = CAP) -> None:
        self.layers, self.dense, self.target_ms, self.cap = measured.layers, measured.dense, target_ms, cap
        curves, fastest = [], measured.dense
        self.patterns: list[Pattern] = []
        for pattern in patterns:
            curve = np.array([self._curve(measured, layer, pattern) for layer in self.layers]).reshape(-1, FINE + 1)
            least = measured.dense - curve[:, round(cap * FINE)].sum()
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

    def _curve(self, measured: Latency, layer: LayerCost, pattern: Pattern) -> list[float]:
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
        names = [layer.name for layer in self.layers]
        wished = {"uniform": np.zeros(len(self.layers))}
        with contextlib.suppress(UsageError):  # every layer at the cap would not be enough
            rates = greedy(self.layers, max(self.dense / self.target_ms, 1.0), cap=self.cap, only=names)
            wished["greedy"] = np.array([rates.get(layer.name, 0.0) / self.cap for layer in self.layers])
        found: dict[tuple[int, bytes], tuple[str, int, np.ndarray]] = {}
        for number in range(len(self.patterns)):
            for how, position in wished.items():
                fitted = self.fit(np.array([number]), position[None])[0]
                found.setdefault((number, fitted.tobytes()), (how, number, fitted))
        return list(found.values())
