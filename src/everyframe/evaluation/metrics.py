"""Figures of answers that are not one class of several, each as its field computes it. Arrays in, numbers out.

multilabel  average precision of all points (PASCAL VOC 2010, Charades), F1 at a threshold
regress     MAE, RMSE and Pearson's r, with intervals
frames      accuracy, edit score and segmental F1 (Lea et al., arXiv:1611.05267; MS-TCN, arXiv:1903.01945)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from everyframe.runtime import prediction

Z = 1.959964  # of a 95 % interval
RESAMPLES = 1000
FOLDS = 5
OVERLAPS = (0.10, 0.25, 0.50)
#: a segment: label, first frame, the one behind its last
Segment = tuple[int, int, int]


# --- any of several labels ---


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float | None:
    """Precision summed over the steps of recall, (n,) bool and (n,): equal scores are one step, nothing is interpolated.
    None where no truth is positive.
    """
    positives = int(truth.sum())
    if not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last of each run of equal scores
    hits = np.cumsum(truth[order])[ends]
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / positives)


def mean_precision(truth: np.ndarray, scores: np.ndarray) -> float | None:
    """mAP of (n, classes): the mean over classes of which there is a positive."""
    found = [ap for column, said in zip(truth.T, scores.T, strict=True) if (ap := average_precision(column, said)) is not None]
    return float(np.mean(found)) if found else None


def counts(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """(3, classes): right, said in vain, missed; of (n, classes) bool."""
    return np.stack([(truth & said).sum(0), (~truth & said).sum(0), (truth & ~said).sum(0)])


def precision_recall_f1(right: float, vain: float, missed: float) -> tuple[float | None, float | None, float | None]:
    """None where there is nothing to divide by."""
    return tuple(above / below if below else None for above, below in (
        (right, right + vain), (right, right + missed), (2 * right, 2 * right + vain + missed),
    ))  # type: ignore[return-value]  # fmt: skip


def f1_scores(table: np.ndarray) -> tuple[float | None, float | None]:
    """(macro, micro) of `counts`. macro: the mean over classes that are true or said somewhere."""
    each = [f1 for column in table.T if (f1 := precision_recall_f1(*column.tolist())[2]) is not None]
    return (float(np.mean(each)) if each else None), precision_recall_f1(*table.sum(1).tolist())[2]


# --- quantities ---


def mae(truth: np.ndarray, said: np.ndarray) -> float:
    return float(np.abs(truth - said).mean())


def rmse(truth: np.ndarray, said: np.ndarray) -> float:
    return float(np.sqrt(np.square(truth - said).mean()))


def pearson(truth: np.ndarray, said: np.ndarray) -> float | None:
    """r of (n,) and (n,); None where one of both does not vary."""
    a, b = truth - truth.mean(), said - said.mean()
    below = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float(np.clip((a * b).sum() / below, -1, 1)) if below > 0 else None


def bootstrap(figure: Callable[[np.ndarray], float | None], table: np.ndarray) -> tuple[float, float] | None:
    """The 95 % interval of figure(table) by percentiles of resampled rows, (videos, columns), the same in every run. None of
    fewer than two videos.
    """
    if len(table) < 2:
        return None
    rng = np.random.default_rng(0)
    made = (figure(table[rng.integers(len(table), size=len(table))]) for _ in range(RESAMPLES))
    found = [value for value in made if value is not None]
    return (float(np.percentile(found, 2.5)), float(np.percentile(found, 97.5))) if found else None


def fisher(r: float, count: int) -> tuple[float, float] | None:
    """The 95 % interval of r by Fisher's transformation. None of fewer than four."""
    if count < 4:
        return None
    if abs(r) == 1:
        return r, r
    middle, half = np.arctanh(r), Z / np.sqrt(count - 3)
    return float(np.tanh(middle - half)), float(np.tanh(middle + half))


# --- a label a frame ---


def segments(labels: Sequence[int] | np.ndarray, leave_out: frozenset[int] = frozenset()) -> list[Segment]:
    """Runs of equal labels. leave_out: the background, and what is no answer."""
    found, at = [], 0
    for label, run in groupby(np.asarray(labels).tolist()):
        begin, at = at, at + sum(1 for _ in run)
        if label not in leave_out:
            found.append((int(label), begin, at))
    return found


def edit_score(truth: Sequence[Segment], said: Sequence[Segment]) -> float:
    """1 less the edits from one order of labels to the other (Levenshtein), as a share of the longer; lengths do not count."""
    a, b = [label for label, *_ in said], [label for label, *_ in truth]
    row = np.arange(len(b) + 1)
    for i, label in enumerate(a, 1):
        before, row = row, np.full(len(b) + 1, i)
        for j, other in enumerate(b, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (label != other))
    return 1 - int(row[-1]) / max(len(a), len(b), 1)


def overlapping(truth: Sequence[Segment], said: Sequence[Segment], least: float) -> tuple[int, int, int]:
    """(right, in vain, missed) segments: right is one whose best match of its label overlaps it by `least` (intersection over
    union) and is not taken yet.
    """
    taken: set[int] = set()
    for label, begin, end in said:
        shares = [
            max(0, min(end, other_end) - max(begin, other)) / (max(end, other_end) - min(begin, other)) * (label == name)
            for name, other, other_end in truth
        ]
        best = int(np.argmax(shares)) if shares else -1
        if best >= 0 and shares[best] >= least and best not in taken:
            taken.add(best)
    return len(taken), len(said) - len(taken), len(truth) - len(taken)


# --- how sure, and how often right ---


def calibration(sure: np.ndarray, right: np.ndarray, bins: int = 15) -> tuple[float, list[tuple[float, float, int]]]:
    """(expected calibration error, (mean score, share right, count) of each bin that holds any): bins of equal width, closed
    above, as Guo et al. have it (arXiv:1706.04599). sure: the winning score of each prediction.
    """
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    rows = [
        (float(sure[place == i].mean()), float(right[place == i].mean()), int((place == i).sum()))
        for i in range(bins) if (place == i).any()
    ]  # fmt: skip
    return sum(abs(said - was) * n for said, was, n in rows) / max(1, len(sure)), rows


def divided(scores: np.ndarray, by: float) -> np.ndarray:
    """Scores (n, classes) of logits divided by a temperature."""
    logits = np.log(np.maximum(scores.astype(np.float64), 1e-12)) / by
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    made: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return made


def temperature(scores: np.ndarray, truth: np.ndarray) -> float:
    """By what logits are to be divided so that these truths (n,) are likeliest, between 1/20 and 20. scores: (n, classes)
    probabilities; a softmax of their logarithms is the same.
    """
    logits = np.log(np.maximum(scores.astype(np.float64), 1e-12))
    return prediction.temperature(logits, np.eye(scores.shape[1])[truth])


def calibrated(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """(temperature, expected calibration error with it): each of FOLDS parts of (n, classes) by the temperature of the others.
    1 and the error as it is, where that does not help what the temperature was not fitted on.
    """

    def judged(scores: np.ndarray) -> tuple[float, float]:
        surprise = -np.log(np.maximum(scores[np.arange(len(truth)), truth], 1e-12)).mean()
        return calibration(scores.max(axis=1), scores.argmax(axis=1) == truth)[0], float(surprise)

    fold, held = np.arange(len(truth)) % FOLDS, scores.astype(np.float64)
    before, whole = judged(scores), temperature(scores, truth)
    for each in range(min(FOLDS, len(truth)) if len(truth) > 1 else 0):
        held[fold == each] = divided(scores[fold == each], temperature(scores[fold != each], truth[fold != each]))
    found = judged(held), judged(divided(scores, whole))
    helps = all(after < plain for each in found for after, plain in zip(each, before, strict=True))
    return (whole, found[0][0]) if helps else (1.0, before[0])
