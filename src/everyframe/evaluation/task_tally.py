"""From answers about single videos to figures, for each task: a table of what is said of a whole, of a label and of a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from everyframe.data.truths import Labeled
from everyframe.evaluation import metrics
from everyframe.evaluation.fit import NOTHING
from everyframe.evaluation.task_result import Figure, LabelRow

Figures = dict[str, Figure]
#: where an answer comes from -> the answer: (classes,), or of frames (frames,) labels
Said = Mapping[str, np.ndarray]
SEVERAL = "; "  # between labels in a cell


@dataclass(frozen=True, eq=False)
class Answer:
    """About one video. truth: as `fit` makes it. said: how it was played -> where -> answer; what is silent is not in it.
    standing: (10, classes), what the stream said at each tenth, NaN before its first prediction. error: why it could not be read.
    """

    clip: Labeled
    truth: np.ndarray
    frames: int = 0
    said: Mapping[str, Said] = field(default_factory=dict)
    standing: np.ndarray | None = None
    error: str | None = None


@dataclass(frozen=True)
class Asked:
    """labels: of the model. threshold: of multilabel. background: the label of frames that are in no segment. intervals: they
    take a thousand times as long.
    """

    labels: tuple[str, ...]
    threshold: float
    background: int = NOTHING
    intervals: bool = True


#: (truth, answer) of all videos that have both
Pairs = Sequence[tuple[np.ndarray, np.ndarray]]


# --- any of several labels ---


def _multilabel(pairs: Pairs, asked: Asked) -> Figures:
    truth, scores = _stacked(pairs)
    said = scores >= asked.threshold
    macro, _ = metrics.f1_scores(metrics.counts(truth, said))
    each = np.stack([(truth & said).sum(1), (~truth & said).sum(1), (truth & ~said).sum(1)], axis=1)
    return {
        "mAP": Figure(metrics.mean_precision(truth, scores)),
        "macro F1": Figure(macro),
        "micro F1": _measured(lambda rows: metrics.precision_recall_f1(*rows.sum(0).tolist())[2], each, asked),
    }


def _multilabel_row(pairs: Pairs, asked: Asked, label: int) -> tuple[int, Figures]:
    truth, scores = (column[:, label] for column in _stacked(pairs))
    table = metrics.counts(truth[:, None], scores[:, None] >= asked.threshold)
    three = zip(("precision", "recall", "F1"), metrics.precision_recall_f1(*table[:, 0].tolist()), strict=True)
    found = {"AP": metrics.average_precision(truth, scores), **dict(three)}
    return int(truth.sum()), {name: Figure(value) for name, value in found.items()}


def _multilabel_said(truth: np.ndarray, said: np.ndarray | None, asked: Asked) -> dict[str, Any]:
    names = [] if said is None else [asked.labels[i] for i in np.flatnonzero(said >= asked.threshold)]
    return {"": None if said is None else SEVERAL.join(names)}


# --- quantities ---


_ERRORS: Mapping[str, Callable[[np.ndarray], float]] = {
    "MAE": lambda rows: metrics.mae(*rows.T),
    "RMSE": lambda rows: metrics.rmse(*rows.T),
}


def _regress(pairs: Pairs, asked: Asked) -> Figures:
    """Of several quantities the mean of each figure."""
    rows = [figures for i in range(len(asked.labels)) if (figures := _regress_row(pairs, asked, i)[1])]
    if len(rows) == 1:
        return rows[0]
    each = {name: [value for row in rows if (value := row[name].value) is not None] for name in ("MAE", "RMSE", "r")}
    return {name: Figure(float(np.mean(values)) if values else None) for name, values in each.items()}


def _regress_row(pairs: Pairs, asked: Asked, label: int) -> tuple[int, Figures]:
    table = np.array([(truth[label], said[label]) for truth, said in pairs], float).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    if not len(table):
        return 0, {}
    r = metrics.pearson(*table.T)
    found = {name: _measured(figure, table, asked) for name, figure in _ERRORS.items()}
    return len(table), found | {"r": _with(r, None if r is None else metrics.fisher(r, len(table)))}


def _regress_said(truth: np.ndarray, said: np.ndarray | None, asked: Asked) -> dict[str, Any]:
    return {f" {label}": None if said is None else round(float(said[i]), 6) for i, label in enumerate(asked.labels)}


# --- a label a frame ---


def _frame_counts(truth: np.ndarray, said: np.ndarray, asked: Asked) -> np.ndarray:
    """(12,): frames that are right, frames, edit score, then right, in vain and missed segments at each overlap. Frames about
    which the truth says nothing do not count; those without an answer are wrong.
    """
    known = truth != NOTHING
    aside = frozenset({NOTHING, asked.background})
    there, found = metrics.segments(truth[known], aside), metrics.segments(said[known], aside)
    segments = [metrics.overlapping(there, found, least) for least in metrics.OVERLAPS]
    right = int((truth[known] == said[known]).sum())
    return np.array([right, known.sum(), metrics.edit_score(there, found), *np.ravel(segments)])


_FRAMES: Mapping[str, Callable[[np.ndarray], float | None]] = {
    "accuracy": lambda rows: float(rows[:, 0].sum() / rows[:, 1].sum()) if rows[:, 1].any() else None,
    "edit": lambda rows: float(rows[:, 2].mean()),
} | {
    f"F1@{least * 100:.0f}": lambda rows, at=3 + 3 * i: metrics.precision_recall_f1(*rows[:, at : at + 3].sum(0).tolist())[2]
    for i, least in enumerate(metrics.OVERLAPS)
}  # fmt: skip


def _frames(pairs: Pairs, asked: Asked) -> Figures:
    table = np.array([_frame_counts(truth, said, asked) for truth, said in pairs])
    return {name: _measured(figure, table, asked) for name, figure in _FRAMES.items()}


def _frames_row(pairs: Pairs, asked: Asked, label: int) -> tuple[int, Figures]:
    truth, said = (np.concatenate(side) for side in zip(*pairs, strict=True))
    table = metrics.counts((truth == label)[:, None], ((said == label) & (truth != NOTHING))[:, None])
    found = zip(("precision", "recall", "F1"), metrics.precision_recall_f1(*table[:, 0].tolist()), strict=True)
    return int((truth == label).sum()), {name: Figure(value) for name, value in found}


def _frames_said(truth: np.ndarray, said: np.ndarray | None, asked: Asked) -> dict[str, Any]:
    rows = None if said is None else _frame_counts(truth, said, asked)[None]
    found = {name: None if rows is None else figure(rows) for name, figure in _FRAMES.items()}
    return {f" {name}": None if value is None else round(value, 6) for name, value in found.items()}


# --- of all ---


@dataclass(frozen=True)
class Task:
    """whole: figures of all videos; the first one is the main one. row: (how often, figures) of a label. said: what a row of
    predictions.csv says of one answer, by the end of the column's name. truth: of a video, for that row. silence: an answer for
    videos without one; None: they do not count.
    """

    whole: Callable[[Pairs, Asked], Figures]
    row: Callable[[Pairs, Asked, int], tuple[int, Figures]]
    said: Callable[[np.ndarray, np.ndarray | None, Asked], dict[str, Any]]
    truth: Callable[[np.ndarray, Asked], dict[str, Any]]
    silence: float | None = None


TASKS: Mapping[str, Task] = {
    "multilabel": Task(
        _multilabel, _multilabel_row, _multilabel_said,
        lambda truth, asked: {"truth": SEVERAL.join(asked.labels[i] for i in np.flatnonzero(truth))}, silence=0.0,
    ),
    "regress": Task(
        _regress, _regress_row, _regress_said,
        lambda truth, asked: {
            f"truth {label}": round(float(truth[i]), 6) if np.isfinite(truth[i]) else None for i, label in enumerate(asked.labels)
        },
    ),
    "frames": Task(_frames, _frames_row, _frames_said, lambda truth, asked: {}, silence=NOTHING),
}  # fmt: skip


def conditions(answers: Sequence[Answer], task: str, asked: Asked) -> dict[str, dict[str, Figures]]:
    return {
        name: {where: TASKS[task].whole(pairs, asked) for where, pairs in _places(answers, task, name).items() if pairs}
        for name in answers[0].said
    }


def label_rows(answers: Sequence[Answer], task: str, asked: Asked) -> tuple[LabelRow, ...]:
    """One for each label of which there is a truth."""
    places = {where: pairs for where, pairs in _places(answers, task, "normal").items() if pairs}
    rows = []
    for i, label in enumerate(asked.labels):
        found = {where: TASKS[task].row(pairs, asked, i) for where, pairs in places.items()}
        count = max((count for count, _ in found.values()), default=0)
        if count:
            rows.append(LabelRow(label, count, {where: figures for where, (_, figures) in found.items()}))
    return tuple(rows)


def curve(answers: Sequence[Answer], task: str, asked: Asked) -> tuple[tuple[float, float | None], ...]:
    """The main figure of what stands at each tenth of the videos."""
    stood = [(one.truth, one.standing) for one in answers if one.standing is not None]
    found: list[tuple[float, float | None]] = []
    for tenth in range(10 if stood else 0):
        rows = [(truth, _or_silence(standing[tenth], task)) for truth, standing in stood]
        pairs = [(truth, said) for truth, said in rows if said is not None]
        figures = TASKS[task].whole(pairs, replace(asked, intervals=False)) if pairs else {}
        found.append(((tenth + 1) / 10, next(iter(figures.values())).value if figures else None))
    return tuple(found)


def video_row(one: Answer, task: str, asked: Asked, places: Iterable[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"video": one.clip.clip.name, "frames": one.frames}
    if one.error is None:
        row |= TASKS[task].truth(one.truth, asked)
        for where in places:
            said = TASKS[task].said(one.truth, one.said["normal"].get(where), asked)
            row |= {f"{where}{name}": value for name, value in said.items()}
    return row | {"error": one.error}


def _places(answers: Sequence[Answer], task: str, condition: str) -> dict[str, Pairs]:
    """where -> pairs. A video without an answer there has silence, if the task has that."""
    silence = TASKS[task].silence
    found: dict[str, Pairs] = {}
    for where in dict.fromkeys(where for one in answers for where in one.said[condition]):
        pairs = []
        for one in answers:
            said = one.said[condition].get(where)
            if said is None and silence is not None:
                said = np.full(one.truth.shape, silence)
            if said is not None:
                pairs.append((one.truth, said))
        found[where] = pairs
    return found


def _or_silence(said: np.ndarray, task: str) -> np.ndarray | None:
    if np.isfinite(said).all():
        return said
    silence = TASKS[task].silence
    return None if silence is None else np.full(said.shape, silence)


def _stacked(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([truth for truth, _ in pairs]), np.stack([said for _, said in pairs])


def _measured(figure: Callable[[np.ndarray], float | None], table: np.ndarray, asked: Asked) -> Figure:
    """Of a row for each video."""
    return _with(figure(table), metrics.bootstrap(figure, table) if asked.intervals else None)


def _with(value: float | None, interval: tuple[float, float] | None) -> Figure:
    return Figure(value) if value is None or interval is None else Figure(value, *interval)
