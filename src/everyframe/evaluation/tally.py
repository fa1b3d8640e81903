"""From outcomes of single videos to figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from everyframe.evaluation import metrics
from everyframe.evaluation.measure import Outcome, Played, rank
from everyframe.evaluation.result import (
    TENTHS,
    Calibration,
    ClassRow,
    Condition,
    Decided,
    Figures,
    Others,
    Point,
    Score,
    Settled,
    Streaming,
    VideoRow,
)

#: share of videos in which a decision may be wrong
FALSE_ALARMS = 0.05
#: share of the videos from which on a class drowns the others
MOST = 0.4
MISSED = 1 << 30  # the rank of a truth that was not predicted because nothing was


def score(ranks: Sequence[int] | np.ndarray, *, independent: bool = False) -> Score | None:
    """None of no predictions. independent: of different videos, so that an interval can be given."""
    got = np.asarray(ranks)
    if not len(got):
        return None
    right = int((got < 1).sum())
    low, high = wilson(right, len(got)) if independent else (None, None)
    return Score(right / len(got), float((got < 5).mean()), len(got), low, high)


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z = 1.959964
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / count + spread / (4 * count)))
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))  # rounding must not put the share outside


def condition(outcomes: Sequence[Outcome], name: str, rate: float, *, streamed: bool) -> Condition:
    """outcomes: of readable videos, all played in the order `name`. rate: frames a second, as the network sees them."""
    played = [outcome.played[name] for outcome in outcomes]
    video = [rank(p.video, o.truth) for o, p in zip(outcomes, played, strict=True) if p.video is not None]
    clips = [r for p in played for r in p.clip_ranks]
    return Condition(
        score(clips), score(video, independent=True), _streaming(outcomes, played, rate) if streamed else None
    )  # fmt: skip


def _streaming(outcomes: Sequence[Outcome], played: Sequence[Played], rate: float) -> Streaming:
    pairs = list(zip(outcomes, played, strict=True))
    none = Score(0.0, 0.0, 0)
    return Streaming(
        score([_rank(p.last, o.truth) for o, p in pairs], independent=True) or none,
        score([_rank(p.average, o.truth) for o, p in pairs], independent=True) or none,
        score(np.concatenate([p.ranks for p in played])),
        tuple(_point(outcomes, played, share) for share in TENTHS),
        _settled(outcomes, played, rate),
        sum(not len(p.at) for p in played),
        decided(outcomes, played, rate),
    )  # fmt: skip


def _rank(scores: np.ndarray | None, truth: int) -> int:
    return MISSED if scores is None else rank(scores, truth)


def _point(outcomes: Sequence[Outcome], played: Sequence[Played], share: float) -> Point:
    standing = []
    for outcome, one in zip(outcomes, played, strict=True):
        seen = np.searchsorted(one.at, np.ceil(outcome.frames * share), side="right")  # predictions made until then
        standing.append(int(one.ranks[seen - 1]) if seen else MISSED)
    ranks = np.array(standing)
    return Point(share, float((ranks < 1).mean()), float((ranks < 5).mean()), float((ranks < MISSED).mean()))


def right_from(played: Played) -> int | None:
    """The frame (how many had arrived) from which all predictions were right; None if the last was not."""
    wrong = np.flatnonzero(played.ranks > 0)
    first = wrong[-1] + 1 if len(wrong) else 0
    return int(played.at[first]) if first < len(played.at) else None


def _settled(outcomes: Sequence[Outcome], played: Sequence[Played], rate: float) -> Settled:
    found = [(at, o.frames) for o, p in zip(outcomes, played, strict=True) if (at := right_from(p)) is not None]
    if not found:
        return Settled(0, None, None, None)
    frames = float(np.median([at for at, _ in found]))
    return Settled(len(found), frames, frames / rate, float(np.median([at / n for at, n in found])))


def decided(
    outcomes: Sequence[Outcome], played: Sequence[Played], rate: float, allowed: float = FALSE_ALARMS
) -> Decided | None:  # fmt: skip
    """None where nothing was predicted."""
    scores = np.concatenate([p.sure for p in played]) if played else np.empty(0)
    if not len(scores):
        return None
    right, wrong, threshold = list[tuple[int, int]](), 0, 1.0
    # from above until it is too often wrong; so many thresholds at the most
    for tried in np.unique(np.quantile(scores, np.linspace(0, 1, 200), method="nearest"))[::-1].tolist():
        found = _decisions(outcomes, played, tried)
        if found[1] > allowed * len(outcomes):
            break
        (right, wrong), threshold = found, tried
    frames = float(np.median([at for at, _ in right])) if right else None
    share = float(np.median([at / n for at, n in right])) if right else None
    seconds = None if frames is None else frames / rate
    return Decided(allowed, threshold, len(right) / len(outcomes), wrong / len(outcomes), frames, seconds, share)


def _decisions(outcomes: Sequence[Outcome], played: Sequence[Played], threshold: float) -> tuple[list[tuple[int, int]], int]:
    """((frames until it, frames of the video) of each right decision, how many are wrong)."""
    right, wrong = list[tuple[int, int]](), 0
    for outcome, one in zip(outcomes, played, strict=True):
        sure = np.flatnonzero(one.sure >= threshold)
        if len(sure) and one.ranks[sure[0]] < 1:
            right.append((int(one.at[sure[0]]), outcome.frames))
        elif len(sure):
            wrong += 1
    return right, wrong


def balanced(counts: np.ndarray | None, truths: Sequence[int]) -> float | None:
    """Mean recall of the classes that there are videos of. counts: (truth, prediction); silent videos are in truths alone."""
    if counts is None:
        return None
    there, videos = np.unique(truths, return_counts=True)
    return float(np.mean(np.diag(counts)[there] / videos))


def others(outcomes: Sequence[Outcome], labels: Sequence[str]) -> Others | None:
    """Accuracy without the class that most videos are of; None where no class has MOST of them, or only one other is there."""
    truths, videos = np.unique([one.truth for one in outcomes], return_counts=True)
    most = int(truths[videos.argmax()])
    if videos.max() < MOST * len(outcomes) or len(truths) < 3:
        return None
    rest = [one for one in outcomes if one.truth != most]

    def right(name: str) -> float | None:
        said = [(getattr(one.played["normal"], name), one.truth) for one in rest]
        if all(scores is None for scores, _ in said):
            return None
        told = [scores is not None and int(np.delete(scores, most).argmax()) == truth - (truth > most) for scores, truth in said]
        return float(np.mean(told))

    return Others(labels[most], len(truths) - 1, len(rest), right("video"), right("last"))


def confusion(outcomes: Sequence[Outcome], classes: int, *, streaming: bool) -> np.ndarray | None:
    """(truth, prediction) counts of videos. None where nothing was predicted."""
    counts, found = np.zeros((classes, classes), int), False
    for outcome in outcomes:
        played = outcome.played["normal"]
        scores = played.last if streaming else played.video
        if scores is not None:
            counts[outcome.truth, int(scores.argmax())] += 1
            found = True
    return counts if found else None


def calibrations(outcomes: Sequence[Outcome]) -> dict[str, Calibration]:
    """Of those videos, played normally, that got an answer."""
    found = {}
    for where, name in (("video", "video"), ("stream", "last")):
        said = [(scores, one.truth) for one in outcomes if (scores := getattr(one.played["normal"], name)) is not None]
        if said:
            scores, truth = np.stack([each for each, _ in said]), np.array([truth for _, truth in said])
            ece, bins = metrics.calibration(scores.max(axis=1), scores.argmax(axis=1) == truth)
            best, after = metrics.calibrated(scores, truth)
            found[where] = Calibration(ece, best, tuple(bins), after)
    return found


def figures(counts: np.ndarray, index: int, videos: int) -> Figures:
    """Of one class. videos: how many there are of it, silent ones included."""
    right, said = int(counts[index, index]), int(counts[:, index].sum())
    return Figures(right / said if said else None, right / max(1, videos), 2 * right / max(1, said + videos))


def class_rows(
    outcomes: Sequence[Outcome], labels: Sequence[str], video: np.ndarray | None, streaming: np.ndarray | None
) -> tuple[ClassRow, ...]:
    """One row for each label of which there are videos or predictions."""
    rows = []
    for i, label in enumerate(labels):
        count = sum(outcome.truth == i for outcome in outcomes)
        both = [None if counts is None else figures(counts, i, count) for counts in (video, streaming)]
        if count or any(counts is not None and counts[:, i].any() for counts in (video, streaming)):
            rows.append(ClassRow(label, count, *both))
    return tuple(rows)


def video_row(outcome: Outcome, labels: Sequence[str]) -> VideoRow:
    if outcome.error is not None:
        return VideoRow(outcome.clip.name, labels[outcome.truth], 0, error=outcome.error)
    played = outcome.played["normal"]
    return VideoRow(
        outcome.clip.name, labels[outcome.truth], outcome.frames,
        len(played.clip_ranks), sum(r < 1 for r in played.clip_ranks),
        *_said(played.video, outcome.truth, labels), *_said(played.last, outcome.truth, labels), right_from(played),
    )  # fmt: skip


def _said(scores: np.ndarray | None, truth: int, labels: Sequence[str]) -> tuple[str | None, float | None, float | None]:
    """Label, its score, the truth's score."""
    if scores is None:
        return None, None, None
    best = int(scores.argmax())
    return labels[best], round(float(scores[best]), 6), round(float(scores[truth]), 6)
