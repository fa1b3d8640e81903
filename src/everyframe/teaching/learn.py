"""Head and event rule from the features of a few examples. Each example is left out in turn to choose both, and each gesture as a
whole: what a head says of a gesture that it was not taught is what it will say of other things that hands do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everyframe.modelfile.schema import EventRule
from everyframe.runtime.prediction import softmax
from everyframe.teaching import moments
from everyframe.teaching.examples import Example
from everyframe.teaching.head import Head, Rows, folds, leave_out
from everyframe.teaching.rule import STRANGE, Outcome, Stream, tune

BACKGROUND = "none"
#: how much the quiet beginning of an example weighs, where its gesture weighs 1
_QUIET = 0.3
#: moments that a piece of background footage teaches
_MOMENTS = 12


@dataclass(frozen=True, eq=False)
class Learned:
    """labels: the background first. told[a][b]: how often an example of gesture a was taken for b by a head that had never seen
    it. outcome: the event rule on those same streams. penalty: the strength of L2 that leave-one-out chose.
    """

    labels: tuple[str, ...]
    head: Head
    rule: EventRule
    outcome: Outcome
    told: dict[str, dict[str, int]]
    penalty: float

    @property
    def accuracy(self) -> float:
        """Share of the examples that were told right when they had been left out."""
        return sum(row[label] for label, row in self.told.items()) / sum(sum(row.values()) for row in self.told.values())


def learn(taken: Sequence[Example], window: int, step_s: float) -> Learned:
    """window: feature frames that the model's head averages. step_s: seconds from step to step."""
    labels = (BACKGROUND, *sorted({example.label for example in taken if example.label is not None}))
    rows = rows_of(taken, labels, window)
    own = [labels.index(example.label or BACKGROUND) for example in taken]
    penalty, unseen = leave_out(rows, folds(range(len(taken)), own))
    solution = rows.fit(penalty)
    streams = [Stream(softmax(unseen[n].logits(example.features)), own[n]) for n, example in enumerate(taken)]
    strange = _strangers(taken, own, rows, penalty, solution)
    rule, outcome = tune([*streams, *strange], labels, BACKGROUND, step_s)
    return Learned(labels, rows.head(solution, rows.familiar()), rule, outcome, _table(taken, streams, labels, window), penalty)


def _strangers(taken: Sequence[Example], own: Sequence[int], rows: Rows, penalty: float, solution: np.ndarray) -> list[Stream]:
    """What is said of each gesture by a head that was taught only the others; nothing where there is but one."""
    gestures, found = sorted(set(own) - {0}), list[Stream]()
    for gesture in gestures if len(gestures) > 1 else ():
        left = [n for n, label in enumerate(own) if label == gesture]
        head = rows.head(rows.fit(penalty, without=left, start=solution), rows.familiar(left))
        logits = [head.logits(taken[n].features) for n in left]
        for one in logits:
            one[:, gesture] = -np.inf  # there is no such label
        found += [Stream(softmax(one), STRANGE) for one in logits]
    return found


def told(scores: np.ndarray, example: Example, window: int) -> int:
    """The class with the highest mean score (steps, classes) over the moments of an example's gesture."""
    return int(scores[moments.gesture(example.moves, example.seen, window)].mean(0).argmax())


def rows_of(taken: Sequence[Example], labels: Sequence[str], window: int) -> Rows:
    """What the examples teach. Each example weighs as much as any other of its gesture, and each class as any other."""
    features, label, weight, group = [], list[int](), list[float](), list[int]()

    def add(example: Example, at: np.ndarray, index: int, total: float, number: int) -> None:
        features.append(example.features[at])
        label.extend([index] * len(at))
        weight.extend([total / max(1, len(at))] * len(at))
        group.extend([number] * len(at))

    for number, example in enumerate(taken):
        if example.label is None:
            at = np.unique(np.linspace(0, len(example.seen) - 1, _MOMENTS).round().astype(int))
            add(example, at, 0, 1.0, number)
            continue
        add(example, moments.gesture(example.moves, example.seen, window), labels.index(example.label), 1.0, number)
        add(example, moments.before(example.moves, example.seen), 0, _QUIET, number)
    classes, share = np.array(label), np.array(weight)
    for index in range(len(labels)):
        if (classes == index).any():
            share[classes == index] /= share[classes == index].sum()
    return Rows(np.concatenate(features), classes, share, np.array(group), len(labels))


def _table(taken: Sequence[Example], streams: Sequence[Stream], labels: Sequence[str], window: int) -> dict[str, dict[str, int]]:
    """What each example was taken for when it had been left out: the label with the highest mean score over its moments."""
    table = {label: dict.fromkeys(labels, 0) for label in labels[1:]}
    for example, stream in zip(taken, streams, strict=True):
        if example.label is not None:
            table[example.label][labels[told(stream.scores, example, window)]] += 1
    return table
