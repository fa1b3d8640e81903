"""Average precision as KITTI computes it: in the picture, on the ground, and in space.

Of each class and difficulty some of what is labeled does not count: what is too small, too hidden or too much cut off for it, and
a class that looks alike (a van is no false car). What is found there is neither right nor wrong, and so is what is too small in
the picture. In the picture what lies in a part that nobody labeled does not count either; such parts have no place in space.

Scores at which recall passes each of 41 steps are the thresholds; the precision at each, or the best beyond it, is averaged over
all but the first (since 2019, "R40"), or over every fourth ("R11").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from everyframe.data.scans import overlap
from everyframe.data.scans.objects import Objects

#: classes -> how much of the union a found box has to share, and the class that looks alike
CLASSES: dict[str, tuple[float, str]] = {"Car": (0.7, "Van"), "Pedestrian": (0.5, "Person_sitting"), "Cyclist": (0.5, "")}


@dataclass(frozen=True)
class Difficulty:
    """height: pixels in the picture that an object has more of. hidden, cut: at most."""

    height: float
    hidden: int
    cut: float


DIFFICULTIES = {"easy": Difficulty(40, 0, 0.15), "moderate": Difficulty(25, 1, 0.3), "hard": Difficulty(25, 2, 0.5)}
#: what is shared -> of which boxes
SPACES: dict[str, tuple[Callable[..., np.ndarray], str]] = {
    "picture": (overlap.picture, "picture"), "ground": (overlap.ground, "upright"), "space": (overlap.space, "upright"),
}  # fmt: skip
STEPS = 41
#: whether it counts: it does, it is neither right nor wrong, it is of another class
_COUNTS, _NEITHER, _OTHER = 0, 1, -1


@dataclass(frozen=True)
class Precision:
    """r40, r11: of 0..1; NaN where nothing of that kind is labeled. labeled: how many count. curve: (41,) precision by recall."""

    r40: float
    r11: float
    labeled: int
    curve: np.ndarray


@dataclass
class _Scan:
    """One scan, one class, one difficulty. shared: (labeled, found). truth, found: whether each counts. stuff: (found,), in a
    part of the picture that nobody labeled.
    """

    shared: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    stuff: np.ndarray


def average_precision(
    truth: Sequence[Objects], found: Sequence[Objects], name: str, difficulty: str, space: str, least: float | None = None
) -> Precision:
    """truth, found: of the same scans. least: share of the union; None: that of the class."""
    limit = CLASSES[name][0] if least is None else least
    scans = [
        _scan(labels, boxes, name, DIFFICULTIES[difficulty], space, limit) for labels, boxes in zip(truth, found, strict=True)
    ]
    labeled = sum(int((scan.truth == _COUNTS).sum()) for scan in scans)
    right = np.concatenate([_matched(scan, limit) for scan in scans]) if scans else np.zeros(0)
    curve = np.zeros(STEPS)
    thresholds = _thresholds(right, labeled)
    for step, threshold in enumerate(thresholds):
        counts = np.sum([_counted(scan, limit, threshold) for scan in scans], 0)
        curve[step] = counts[0] / counts.sum() if counts.sum() else 0.0
    curve = np.maximum.accumulate(curve[::-1])[::-1]
    if not labeled:
        return Precision(float("nan"), float("nan"), 0, curve)
    return Precision(float(curve[1:].mean()), float(curve[::4].mean()), labeled, curve)


def _scan(labels: Objects, boxes: Objects, name: str, difficulty: Difficulty, space: str, limit: float) -> _Scan:
    share, which = SPACES[space]
    alike = CLASSES[name][1]
    tall = np.abs(labels.picture[:, 3] - labels.picture[:, 1])
    hard = (labels.occluded > difficulty.hidden) | (labels.truncated > difficulty.cut) | (tall <= difficulty.height)
    own = np.array([each == name for each in labels.names], bool)
    like = np.array([each == alike for each in labels.names], bool)
    truth = np.where(own & ~hard, _COUNTS, np.where(own | like, _NEITHER, _OTHER))
    small = np.abs(boxes.picture[:, 3] - boxes.picture[:, 1]) < difficulty.height
    mine = np.array([each == name for each in boxes.names], bool)
    counts = np.where(small, _NEITHER, np.where(mine, _COUNTS, _OTHER))
    wanted, looked = truth != _OTHER, counts != _OTHER
    scores = np.ones(len(boxes)) if boxes.scores is None else boxes.scores
    stuff = np.zeros(len(boxes), bool)
    if space == "picture":
        nobody = np.array([each == "DontCare" for each in labels.names], bool)
        stuff |= (overlap.picture(boxes.picture, labels.picture[nobody], "first") > limit).any(1)
    shared = share(getattr(labels, which)[wanted], getattr(boxes, which)[looked])
    return _Scan(shared, truth[wanted], counts[looked], scores[looked], stuff[looked])


def _matched(scan: _Scan, limit: float) -> np.ndarray:
    """Scores of what is right: each label takes the best of what is left."""
    free, right = np.ones(len(scan.scores), bool), list[float]()
    for shared, counts in zip(scan.shared, scan.truth, strict=True):
        taken = free & (shared > limit)
        if not taken.any():
            continue
        best = int(np.where(taken, scan.scores, -np.inf).argmax())
        free[best] = False
        if counts == _COUNTS and scan.found[best] == _COUNTS:
            right.append(scan.scores[best])
    return np.array(right)


def _counted(scan: _Scan, limit: float, threshold: float) -> np.ndarray:
    """(right, wrong) of what has at least that score: each label takes what shares most and counts, else what does not count."""
    free, right = np.asarray(scan.scores >= threshold), 0
    for shared, counts in zip(scan.shared, scan.truth, strict=True):
        taken = free & (shared > limit)
        if not taken.any():
            continue
        good = taken & (scan.found == _COUNTS)
        best = int(np.where(good, shared, -1).argmax()) if good.any() else int(taken.argmax())
        free[best] = False
        right += int(counts == _COUNTS and good.any())
    return np.array([right, int((free & (scan.found == _COUNTS) & ~scan.stuff).sum())])


def _thresholds(right: np.ndarray, labeled: int) -> list[float]:
    """Scores, falling, at which recall comes nearest to each step."""
    made: list[float] = []
    scores = np.sort(right)[::-1]
    for number, score in enumerate(scores):
        here = (number + 1) / labeled
        following = (number + 2) / labeled if number + 1 < len(scores) else here
        step = len(made) / (STEPS - 1)
        if number + 1 < len(scores) and following - step < step - here:
            continue
        made.append(float(score))
    return made
