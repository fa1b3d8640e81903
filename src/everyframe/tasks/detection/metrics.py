"""Average precision as KITTI computes it: in the picture, on the ground, and in space.

Of each class and difficulty some of what is labeled does not count: what is too small, too hidden or too much cut off for it, and
a class that looks alike (a van is no false car). What is found there is neither right nor wrong, and so is what is too small in
the picture. In the picture what lies in a part that nobody labeled does not count either; such parts have no place in space.

Scores at which recall passes each of 41 steps are the thresholds; the precision at each, or the best beyond it, is averaged over
all but the first (since 2019, "R40"), or over every fourth ("R11"). Intervals are by scans that are drawn again (bootstrap).
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
#: draws of an interval, and how many of them are computed at once
DRAWS, _AT_ONCE = 1000, 50
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


@dataclass(frozen=True)
class Ranking:
    """What is right and wrong in each of S scans from each score on, of one class, difficulty and space.

    labeled: (S,) how many count. right: scores of what is right, falling, and `right_in`, the scans it is in. scores, falling, at
    each of which `more` (E, 2) becomes right and wrong in the scan `where`; less than nothing where a label takes another box.
    """

    labeled: np.ndarray
    right: np.ndarray
    right_in: np.ndarray
    scores: np.ndarray
    where: np.ndarray
    more: np.ndarray

    def curves(self, times: np.ndarray) -> np.ndarray:
        """(R, S) how often each scan counts -> (R, 41) precision by recall, or the best beyond it."""
        made = np.zeros((len(times), STEPS))
        for begin in range(0, len(times), _AT_ONCE):
            part = times[begin : begin + _AT_ONCE]
            ranks = np.cumsum(part[:, self.right_in], 1)
            good, all_ = (np.cumsum(part[:, self.where] * more, 1) for more in (self.more[:, 0], self.more.sum(1)))
            for row, labeled in enumerate(part @ self.labeled):
                thresholds = self.right[_thresholds(ranks[row], int(labeled))]
                last = np.searchsorted(-self.scores, -thresholds, "right") - 1
                found = all_[row, last]
                made[begin + row, : len(last)] = np.divide(good[row, last], found, out=np.zeros(len(last)), where=found > 0)
        return np.maximum.accumulate(made[:, ::-1], 1)[:, ::-1]


def ranking(
    truth: Sequence[Objects], found: Sequence[Objects], name: str, difficulty: str, space: str, least: float | None = None
) -> Ranking:
    """truth, found: of the same scans. least: share of the union; None: that of the class."""
    limit = CLASSES[name][0] if least is None else least
    scans = [
        _scan(labels, boxes, name, DIFFICULTIES[difficulty], space, limit) for labels, boxes in zip(truth, found, strict=True)
    ]
    right = [_matched(scan, limit) for scan in scans]
    scores, more = zip(*(_steps(scan, limit) for scan in scans), strict=True) if scans else ((), ())
    every, which = (_joined(each) for each in (right, scores))
    order, falling = (np.argsort(-each[0], kind="stable") for each in (every, which))
    return Ranking(
        np.array([(scan.truth == _COUNTS).sum() for scan in scans], int),
        every[0][order], every[1][order], which[0][falling], which[1][falling],
        np.concatenate([*more, np.zeros((0, 2), int)])[falling],
    )  # fmt: skip


def average_precision(
    truth: Sequence[Objects], found: Sequence[Objects], name: str, difficulty: str, space: str, least: float | None = None
) -> Precision:
    """As `ranking` takes them."""
    return precision(ranking(truth, found, name, difficulty, space, least))


def precision(ranked: Ranking) -> Precision:
    curve, labeled = ranked.curves(np.ones((1, len(ranked.labeled)), int))[0], int(ranked.labeled.sum())
    if not labeled:
        return Precision(float("nan"), float("nan"), 0, curve)
    return Precision(float(curve[1:].mean()), float(curve[::4].mean()), labeled, curve)


def drawn(scans: int) -> np.ndarray:
    """(R, S): how often each of S scans is there when S of them are drawn with replacement. The same for each model."""
    return np.random.default_rng(0).multinomial(scans, np.full(scans, 1 / scans), size=DRAWS)


def drawn_precision(ranked: Ranking, times: np.ndarray) -> np.ndarray:
    """(R,) R40 of `drawn` scans; NaN where nothing is labeled in them."""
    return np.where(times @ ranked.labeled > 0, ranked.curves(times)[:, 1:].mean(1), np.nan)


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """The 95 % interval of drawn values (R,), by percentiles. None where they are all NaN."""
    known = values[~np.isnan(values)]
    return (float(np.percentile(known, 2.5)), float(np.percentile(known, 97.5))) if len(known) else None


def _joined(each: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Values of all scans, and the scans they are of."""
    return np.concatenate([*each, np.zeros(0)]), np.repeat(np.arange(len(each)), [len(values) for values in each])


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


def _steps(scan: _Scan, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores (e,), and how much more is right and wrong from each on (e, 2)."""
    near = (scan.shared > limit).any(0)
    alone = scan.scores[~near & (scan.found == _COUNTS) & ~scan.stuff]  # no label takes them, whatever else is there
    part = _Scan(scan.shared[:, near], scan.truth, scan.found[near], scan.scores[near], scan.stuff[near])
    scores = np.unique(part.scores)[::-1]
    counts = np.array([_counted(part, limit, score) for score in scores], int).reshape(-1, 2)
    wrong = np.tile((0, 1), (len(alone), 1))
    return np.append(scores, alone), np.concatenate([np.diff(counts, axis=0, prepend=0), wrong])


def _thresholds(ranks: np.ndarray, labeled: int) -> np.ndarray:
    """Places in a falling list of scores at which recall comes nearest to each step. ranks: how many are right up to each."""
    made: list[int] = []
    count, rank = int(ranks[-1]) if len(ranks) else 0, 0
    while rank < count:
        step = len(made) / (STEPS - 1)
        rank = min(max(rank, int(step * labeled - 1.5)), count - 1)  # what is left out here is not near enough
        while rank + 1 < count and (rank + 2) / labeled - step < step - (rank + 1) / labeled:
            rank += 1
        made.append(rank)
        rank += 1
    return np.searchsorted(ranks, np.array(made, int) + 1)
