"""What labels can be read from frozen features: a linear classifier and the nearest neighbors, by how many clips have labels.

So are networks judged that learned without labels (Exemplar-CNN, arXiv:1406.6909, section 4): nothing of them learns any more. n
clips, F features, K classes. The linear classifier is multinomial logistic regression with L2; its penalty, and the number of
neighbors, are chosen on the labeled clips alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from everyframe.teaching.head import Rows, best_penalty, folds

#: labeled clips a class; None: all there are
CLIPS: tuple[int | None, ...] = (5, 10, 20, None)
DRAWS = 5
PENALTIES = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
NEIGHBORS = (1, 3, 5, 10, 20)
#: parts of the labeled clips, of which each is left out once to choose the penalty
PARTS = 5
RESAMPLED = 1000


@dataclass(frozen=True, eq=False)
class Features:
    """Of a data set in one network. train (n, F), test (m, F); labels of both, from 0."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: int


@dataclass(frozen=True)
class ProbeRow:
    """clips: labeled ones of each class, None: all; a class that has fewer gives all. top1: mean over the draws; low, high: its
    95 % interval over draws and test videos; spread: standard deviation over the draws. chosen: what each draw chose, a
    penalty or a number of neighbors.
    """

    network: str
    classifier: str
    clips: int | None
    top1: float
    low: float
    high: float
    spread: float
    draws: int
    chosen: tuple[float, ...]


@dataclass(frozen=True)
class Probe:
    """train, test: how many videos. width: features of each network, by its name. skipped: what cannot be read, and why.
    planned, missing: networks, and how many of them were not come to.
    """

    model: str
    data: str
    split: str
    labels: tuple[str, ...]
    train: int
    test: int
    most_frequent: float
    width: dict[str, int]
    rows: tuple[ProbeRow, ...]
    seed: int
    planned: int
    missing: int = 0
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    heading = ("network", "classifier", "clips a class", "top-1", "95 %", "draws")

    def table(self) -> list[tuple[str, ...]]:
        return [
            (
                row.network, row.classifier, "all" if row.clips is None else str(row.clips), f"{row.top1:.1%}",
                f"{row.low * 100:.0f}-{row.high * 100:.0f}", str(row.draws),
            )
            for row in self.rows
        ]  # fmt: skip

    def summary(self) -> str:
        return (
            f"frozen features on {self.data}: {self.train} labeled videos, {self.test} to test on ({self.split}), "
            f"{len(self.labels)} classes; always saying the most frequent label: {self.most_frequent:.1%}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def probe(given: Features, network: str, clips: Sequence[int | None], draws: int, seed: int) -> list[ProbeRow]:
    """Both classifiers by the number of labeled clips. A number that no class has is left out. Draws depend on the seed alone, so
    that all networks learn from the same clips.
    """
    most = int(np.bincount(given.train_labels).max())
    found = []
    for name, classify in CLASSIFIERS.items():
        for count in (one for one in clips if one is None or one < most):
            answers, chosen = [], []
            for draw in range(1 if count is None else draws):
                taken = drawn(given.train_labels, count, np.random.default_rng((seed, draw)))
                said, choice = classify(given.train[taken], given.train_labels[taken], given.test, given.classes)
                answers.append(said == given.test_labels)
                chosen.append(choice)
            right = np.stack(answers)
            low, high = interval(right, np.random.default_rng(seed))
            spread = float(right.mean(1).std(ddof=1)) if len(right) > 1 else 0.0
            found.append(
                ProbeRow(network, name, count, float(right.mean()), low, high, spread, len(right), tuple(chosen))
            )  # fmt: skip
    return found


def drawn(labels: np.ndarray, count: int | None, rng: np.random.Generator) -> np.ndarray:
    """Numbers of `count` clips of each class, in order."""
    if count is None:
        return np.arange(len(labels))
    parts = [rng.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(parts))


def linear(train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int) -> tuple[np.ndarray, float]:
    """(answers (m,), the penalty)."""
    numbers = np.arange(len(train))
    rows = Rows(train, labels, np.ones(len(train)), numbers, classes)
    parts = folds(numbers.tolist(), labels.tolist(), PARTS) if len(train) > 1 else []
    penalty = best_penalty(rows, parts, PENALTIES)[0] if parts else PENALTIES[0]
    return rows.head(rows.fit(penalty)).logits(test).argmax(1), penalty


def neighbors(train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int) -> tuple[np.ndarray, float]:
    """(answers (m,), how many neighbors), by the cosine of features without their mean. The number is the one under which most of
    the labeled clips are told by the others; of equal votes those of the nearer count more.
    """
    mean = train.mean(0)
    a, b = (_unit(x - mean) for x in (train, test))
    counts = [k for k in NEIGHBORS if k < len(train)] or [1]
    among = a @ a.T
    np.fill_diagonal(among, -np.inf)
    told = {k: float((_vote(among, labels, k, classes) == labels).mean()) for k in counts}
    best = max(counts, key=lambda k: (told[k], -k))
    return _vote(b @ a.T, labels, best, classes), best


CLASSIFIERS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, int], tuple[np.ndarray, float]]] = {
    "linear": linear,
    "neighbors": neighbors,
}


def _unit(x: np.ndarray) -> np.ndarray:
    made: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return made


def _vote(likeness: np.ndarray, labels: np.ndarray, k: int, classes: int) -> np.ndarray:
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :k]
    weight = 1 - 1e-3 * np.arange(k)
    votes = np.zeros((len(likeness), classes))
    for place in range(k):
        votes[np.arange(len(votes)), labels[nearest[:, place]]] += weight[place]
    return votes.argmax(1)


def interval(right: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The 95 % interval of the mean of (draws, videos), both drawn again with replacement."""
    draws, videos = right.shape
    means = [
        right[rng.integers(0, draws, draws)].mean(0)[rng.integers(0, videos, videos)].mean() for _ in range(RESAMPLED)
    ]  # fmt: skip
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
