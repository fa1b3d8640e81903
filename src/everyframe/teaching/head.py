"""A linear classifier on frozen features: multinomial logistic regression with L2, in numpy.

n rows (moments), F features, K classes. Features are standardised and divided by sqrt(F), so that one strength of the
penalty means the same for 96 features as for 2048. Solved in the space that the rows span, which is exact: the penalized
solution lies in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

#: strengths of the penalty that leave-one-out chooses from, strongest first
PENALTIES = (3e-2, 1e-2, 3e-3)
_ITERATIONS, _MEMORY, _FLAT = 60, 8, 1e-4


@dataclass(frozen=True, eq=False)
class Head:
    """logits = features @ weight.T + bias. weight (K, F), bias (K,), float64."""

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(n, F) -> (n, K)."""
        return features @ self.weight.T + self.bias


class Rows:
    """Moments to learn from. features (n, F); label (n,) class of each; weight (n,) how much each counts; group (n,) the
    example that it belongs to: what leave-one-out leaves out as a whole.
    """

    def __init__(self, features: np.ndarray, label: np.ndarray, weight: np.ndarray, group: np.ndarray, classes: int) -> None:
        self.label, self.weight, self.group, self.classes = label, weight, group, classes
        features = np.asarray(features, np.float64)
        share = weight[:, None] / weight.sum()
        self.mean = (share * features).sum(0)
        spread = np.sqrt((share * (features - self.mean) ** 2).sum(0))
        # a feature that hardly ever changed must not count as much as the others
        self.scale = (spread + 1e-2 * np.sqrt(np.mean(spread**2)) + 1e-12) * np.sqrt(features.shape[1])
        u, s, self.basis = np.linalg.svd((features - self.mean) / self.scale, full_matrices=False)
        kept = s > 1e-6 * max(s.max(), 1e-300)
        self.coordinates, self.basis = (u * s)[:, kept], self.basis[kept]  # (n, r), (r, F)

    def head(self, solution: np.ndarray) -> Head:
        """A solution (r + 1, K) in coordinates as weights on the features themselves."""
        weight = (self.basis.T @ solution[:-1]).T / self.scale  # (K, F)
        return Head(weight, solution[-1] - weight @ self.mean)

    def fit(self, penalty: float, without: int | None = None, start: np.ndarray | None = None) -> np.ndarray:
        """The solution (r + 1, K); `without` leaves a group out."""
        kept = slice(None) if without is None else self.group != without
        x, label, weight = self.coordinates[kept], self.label[kept], self.weight[kept]
        x = np.hstack([x, np.ones((len(x), 1))])
        target = np.eye(self.classes)[label]
        share = (weight / weight.sum())[:, None]
        decay = np.full((x.shape[1], 1), penalty)
        decay[-1] = 1e-6  # the bias is free, but stays finite for a class that was left out altogether

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            w = flat.reshape(-1, self.classes)
            logs = log_softmax(x @ w)
            value = -float((share * target * logs).sum()) + 0.5 * float((decay * w * w).sum())
            return value, (x.T @ (share * (np.exp(logs) - target)) + decay * w).ravel()

        first = np.zeros((x.shape[1], self.classes)) if start is None else start
        return minimize(loss, first.ravel()).reshape(-1, self.classes)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    low = logits - logits.max(-1, keepdims=True)
    return low - np.log(np.exp(low).sum(-1, keepdims=True))


def minimize(loss: Callable[[np.ndarray], tuple[float, np.ndarray]], x: np.ndarray) -> np.ndarray:
    """L-BFGS (Nocedal and Wright, algorithm 7.5) with backtracking, for smooth convex functions."""
    value, slope = loss(x)
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(_ITERATIONS):
        if np.abs(slope).max() < _FLAT:
            break
        way = _direction(slope, steps)
        length = 1.0 if steps else min(1.0, 1 / float(np.linalg.norm(slope)))
        fall = float(way @ slope)
        while True:
            new_value, new_slope = loss(x - length * way)
            if new_value <= value - 1e-4 * length * fall or length < 1e-10:
                break
            length /= 2
        moved, turned = -length * way, new_slope - slope
        if moved @ turned > 1e-14:
            steps = [*steps[1 - _MEMORY :], (moved, turned)]
        x, value, slope = x + moved, new_value, new_slope
    return x


def _direction(slope: np.ndarray, steps: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    way, shares = slope.copy(), []
    for moved, turned in reversed(steps):
        share = (moved @ way) / (moved @ turned)
        shares.append(share)
        way -= share * turned
    if steps:
        moved, turned = steps[-1]
        way *= (moved @ turned) / (turned @ turned)
    for (moved, turned), share in zip(steps, reversed(shares), strict=True):
        way += moved * (share - (turned @ way) / (moved @ turned))
    return way


def leave_one_out(rows: Rows, groups: Sequence[int], penalties: Sequence[float] = PENALTIES) -> tuple[float, dict[int, Head]]:
    """The penalty under which examples that were left out are predicted best (log loss over their moments), and for each
    group the head that has never seen it.
    """
    best: tuple[float, float, dict[int, np.ndarray]] | None = None
    whole: np.ndarray | None = None
    for penalty in penalties:
        whole = rows.fit(penalty, start=whole)
        found = {group: rows.fit(penalty, without=group, start=whole) for group in groups}
        cost = float(np.mean([_cost(rows, group, solution) for group, solution in found.items()]))
        if best is None or cost < best[0]:
            best = cost, penalty, found
        elif cost > 1.2 * best[0]:
            break  # the loss has a single valley: weaker penalties only overfit more
    _, penalty, found = best or (0.0, penalties[0], {})
    return penalty, {group: rows.head(solution) for group, solution in found.items()}


def _cost(rows: Rows, group: int, solution: np.ndarray) -> float:
    own = rows.group == group
    logs = log_softmax(rows.coordinates[own] @ solution[:-1] + solution[-1])
    picked = logs[np.arange(len(logs)), rows.label[own]]
    return -float(np.average(picked, weights=rows.weight[own]))
