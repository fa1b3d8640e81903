"""A linear classifier on frozen features: multinomial logistic regression with L2, in numpy; and how far features may lie from
what was taught before the answer is the background, whatever the classifier says.

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
#: folds of examples at the most: so many heads are fitted for each penalty
FOLDS = 24
#: share of the moments of left-out examples that lie within the limit of familiarity
_FAMILIAR = 0.95
#: what the background's logit gains at twice the limit
_STEEP = 2.0
#: spread of a feature within gestures at the least, as a share of that of all features
_LEAST_SPREAD = 0.3


@dataclass(frozen=True, eq=False)
class Familiar:
    """Open-set rejection. The distance of features to a gesture is the mean square of (features - center) / spread; once the
    nearest gesture is farther than `limit`, the background's logit rises by `steep` for each such distance more.

    center (F,), spread (F,); means (K - 1, F): of the gestures, as (mean - center) / spread / sqrt(F).
    """

    center: np.ndarray
    spread: np.ndarray
    means: np.ndarray
    limit: float
    steep: float = _STEEP

    def distance(self, features: np.ndarray) -> np.ndarray:
        """(n, F) -> (n,), to the nearest gesture."""
        z = (features - self.center) / self.spread / np.sqrt(len(self.center))
        return np.stack([np.square(z - mean).sum(-1) for mean in self.means]).min(0)

    def beyond(self, features: np.ndarray) -> np.ndarray:
        """(n, F) -> (n,): what the background's logit gains."""
        return self.steep * np.maximum(self.distance(features) / self.limit - 1, 0)


@dataclass(frozen=True, eq=False)
class Head:
    """logits = features @ weight.T + bias; `familiar` raises the first, the background's. weight (K, F), bias (K,), float64."""

    weight: np.ndarray
    bias: np.ndarray
    familiar: Familiar | None = None

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(n, F) -> (n, K)."""
        made: np.ndarray = features @ self.weight.T + self.bias
        if self.familiar is not None:
            made[:, 0] += self.familiar.beyond(features)
        return made


class Rows:
    """Moments to learn from. features (n, F); label (n,) class of each, 0 the background; weight (n,) how much each counts; group
    (n,) the example that it belongs to: what leave-one-out leaves out as a whole.
    """

    def __init__(self, features: np.ndarray, label: np.ndarray, weight: np.ndarray, group: np.ndarray, classes: int) -> None:
        self.label, self.weight, self.group, self.classes = label, weight, group, classes
        self.features = features = np.asarray(features, np.float64)
        share = weight[:, None] / weight.sum()
        self.mean = (share * features).sum(0)
        spread = np.sqrt((share * (features - self.mean) ** 2).sum(0))
        # a feature that hardly ever changed must not count as much as the others
        self.scale = (spread + 1e-2 * np.sqrt(np.mean(spread**2)) + 1e-12) * np.sqrt(features.shape[1])
        u, s, self.basis = np.linalg.svd((features - self.mean) / self.scale, full_matrices=False)
        kept = s > 1e-6 * max(s.max(), 1e-300)
        self.coordinates, self.basis = (u * s)[:, kept], self.basis[kept]  # (n, r), (r, F)

    def head(self, solution: np.ndarray, familiar: Familiar | None = None) -> Head:
        """A solution (r + 1, K) in coordinates as weights on the features themselves."""
        weight = (self.basis.T @ solution[:-1]).T / self.scale  # (K, F)
        return Head(weight, solution[-1] - weight @ self.mean, familiar)

    def fit(self, penalty: float, without: Sequence[int] = (), start: np.ndarray | None = None) -> np.ndarray:
        """The solution (r + 1, K); `without` leaves groups out."""
        kept = ~np.isin(self.group, without)
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

    def familiar(self, without: Sequence[int] = ()) -> Familiar:
        """Of the gestures, `without` some groups. The limit is what moments of examples keep to that are left out themselves."""
        kept = (self.label > 0) & ~np.isin(self.group, without)
        label, weight, group = self.label[kept], self.weight[kept], self.group[kept]
        features = self.features[kept]
        center = np.average(features, axis=0, weights=weight)
        there, at = np.unique(label, return_inverse=True)
        total = np.bincount(at, weight)
        means = np.stack([np.average(features[at == k], axis=0, weights=weight[at == k]) for k in range(len(there))])
        spread = np.sqrt(np.average(np.square(features - means[at]), axis=0, weights=weight))
        spread = np.maximum(spread, _LEAST_SPREAD * np.sqrt(np.mean(spread**2)) + 1e-12)
        z, means = ((x - center) / spread / np.sqrt(len(center)) for x in (features, means))
        distance = np.square(z[:, None] - means).sum(-1)  # (n, gestures)
        for one in np.unique(group):
            mine = group == one
            k, share = at[mine][0], weight[mine].sum()
            if share < total[k] * (1 - 1e-9):  # the mean without this example
                others = (means[k] * total[k] - weight[mine] @ z[mine]) / (total[k] - share)
                distance[mine, k] = np.square(z[mine] - others).sum(-1)
        nearest = distance.min(1)
        order = np.argsort(nearest)
        reached = np.cumsum(weight[order]) >= _FAMILIAR * weight.sum()
        return Familiar(center, spread, means, float(nearest[order][reached][0]) + 1e-12)


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


def folds(groups: Sequence[int], labels: Sequence[int], most: int = FOLDS) -> list[tuple[int, ...]]:
    """Groups that are left out together: each for itself, or of many `most` sets with a share of every label."""
    order = sorted(range(len(groups)), key=lambda i: (labels[i], i))
    dealt = [tuple(groups[i] for i in order[start::most]) for start in range(most)]
    return [fold for fold in dealt if fold]


def leave_out(rows: Rows, sets: Sequence[Sequence[int]], penalties: Sequence[float] = PENALTIES) -> tuple[float, dict[int, Head]]:
    """The penalty under which examples that were left out are predicted best (log loss over their moments), and for each
    group the head that has never seen it. sets: groups that are left out together.
    """
    penalty, found = best_penalty(rows, sets, penalties)
    heads = [rows.head(solution, rows.familiar(left)) for left, solution in zip(sets, found, strict=True)]
    return penalty, {group: head for left, head in zip(sets, heads, strict=True) for group in left}


def best_penalty(rows: Rows, sets: Sequence[Sequence[int]], penalties: Sequence[float]) -> tuple[float, list[np.ndarray]]:
    """The first half of `leave_out`: the penalty, and the solutions without each of the sets."""
    best: tuple[float, float, list[np.ndarray]] | None = None
    whole: np.ndarray | None = None
    for penalty in penalties:
        whole = rows.fit(penalty, start=whole)
        found = [rows.fit(penalty, without=left, start=whole) for left in sets]
        costs = [_cost(rows, group, solution) for left, solution in zip(sets, found, strict=True) for group in left]
        cost = float(np.mean(costs))
        if best is None or cost < best[0]:
            best = cost, penalty, found
        elif cost > 1.2 * best[0]:
            break  # the loss has a single valley: weaker penalties only overfit more
    _, penalty, found = best or (0.0, penalties[0], [])
    return penalty, found


def _cost(rows: Rows, group: int, solution: np.ndarray) -> float:
    own = rows.group == group
    logs = log_softmax(rows.coordinates[own] @ solution[:-1] + solution[-1])
    picked = logs[np.arange(len(logs)), rows.label[own]]
    return -float(np.average(picked, weights=rows.weight[own]))
