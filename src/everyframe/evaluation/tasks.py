"""A model that does not name one class of several, over clips labeled as it answers: several labels, quantities, frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from everyframe.data import sampling
from everyframe.data.decode import PICTURE_RATE
from everyframe.data.formats import truths
from everyframe.data.formats.truths import Annotated
from everyframe.data.header import probe
from everyframe.data.truths import Labeled
from everyframe.errors import SourceError, UsageError
from everyframe.evaluation.fit import NOTHING, Fitted, fit
from everyframe.evaluation.measure import Settings, array_of, clip_answers, in_one_line, order_of, shown, stream_answers
from everyframe.evaluation.models import Pair
from everyframe.evaluation.result import TENTHS
from everyframe.evaluation.run import SHOWN, check_settings, chosen, limited, run_all, some, timing
from everyframe.evaluation.task_result import TaskResult
from everyframe.evaluation.task_tally import Answer, Asked, conditions, curve, label_rows, video_row
from everyframe.progress import CountProgress, silent
from everyframe.runtime.engine import cores
from everyframe.runtime.prediction import Prediction, shares
from everyframe.runtime.program import Program
from everyframe.video.sources import ARRAYS

NO_SPLIT = "all"
Stopped = Callable[[], bool]


def listed(data: Path, task: str, clip_list: str | None) -> tuple[Path, Path] | None:
    """(the list, the folder of the clips): what was named, `data` itself where it is a file, or a list called as usual."""
    if data.is_file():
        return (data, data.parent) if data.suffix.lower() in (".csv", ".json", ".txt", ".tsv") else None
    if clip_list is not None:
        there = next((place for place in (data / clip_list, Path(clip_list)) if place.exists()), None)
        if there is None:
            raise SourceError("The list of clips is not there.", where="--list", got=clip_list)
        return there, data
    found = next((data / name for name in truths.USUAL if (data / name).exists()), None)
    return None if found is None else (found, data)


def says_more(pair: Pair, data: Path, form: str, clip_list: str | None) -> bool:
    """Whether clips are read by `annotated`: a model that labels frames is also measured on clips of one class each."""
    if pair.task != "frames":
        return pair.task != "classify"
    return form == "folders" and data.suffix.lower() != ".toml" and listed(data, pair.task, clip_list) is not None


def annotated(data: Path, task: str, clip_list: str | None, classes: str | None) -> Annotated:
    """The clips of a list in the form that the task takes. Raises UsageError where there is none, SourceError."""
    found = listed(data, task, clip_list)
    if found is None:
        raise UsageError(
            "The labels of this data are not what the model answers.", where=data,
            expected=f"a list for {task}: {truths.READERS[task].expected}", got="one class a clip",
            hint="name the list with --list FILE (docs/evaluate.md shows them), or say --task if the model is misunderstood",
        )  # fmt: skip
    named = None if classes is None else next((p for p in (data / classes, Path(classes)) if p.is_file()), None)
    if classes is not None and named is None:
        raise SourceError("The list of labels is not there.", where="--classes", got=classes)
    return truths.read(*found, task, named)


def evaluate(
    pair: Pair,
    data: Annotated,
    *,
    split: str | None = None,
    settings: Settings = Settings(),
    limit: int | None = None,
    workers: int | None = None,
    labels: tuple[str, ...] | None = None,
    label_map: Mapping[str, str] | None = None,
    name: str = "",
    progress: CountProgress = silent,
) -> TaskResult:
    """The figures of the model's task. split: of those that the list names; None: validation, or all where it names none. name:
    how the data is called. The rest is as for `run.evaluate`. Raises SourceError (no clip can be read), UsageError.
    """
    known = pair.any
    task = pair.task
    check_settings(settings, pair)
    if task == "frames" and settings.view != "non-overlapping":
        raise UsageError("Labels of frames are measured on clips side by side.", where=f"--views {settings.view}",
                         expected="non-overlapping")  # fmt: skip
    splits = _splits(data)
    split = split or ("validation" if "validation" in splits else NO_SPLIT)
    clips = limited(chosen(splits, split), limit)
    fitted = fit(clips, task, labels or known.labels, known.interface.classes, label_map)
    asked = Asked(fitted.matched.labels, known.threshold, fitted.background)
    names = [one.clip.path for one in clips]
    made = run_all(names, lambda n, stopped: _answer(n, clips[n], fitted, pair, settings, stopped), workers or cores(), progress)
    read = [one for one in made if one.error is None]
    if not read:
        raise SourceError(
            "None of the clips can be read.", where=made[0].clip.clip.path, got=made[0].error,
            hint="check the folder and the list",
        )  # fmt: skip
    found = conditions(read, task, asked)
    matched = fitted.matched
    return TaskResult(
        task=task,
        model=pair.name,
        engine=pair.engine,
        data=name,
        split=split,
        available={split: len(clips) for split, clips in splits.items()},
        labels=asked.labels,
        threshold=asked.threshold if task == "multilabel" else None,
        view=settings.view,
        clip_frames=pair.clip.metadata.frames if pair.clip else None,
        planned=len(clips),
        videos=len(read),
        unreadable=len(made) - len(read),
        partial=len(made) < len(clips),
        seed=settings.seed,
        flush=settings.flush,
        silent=sum(pair.step is not None and not any(where.startswith("stream") for where in one.said["normal"]) for one in read),
        timing=timing(pair),
        conditions=found,
        classes=label_rows(read, task, asked),
        curve=curve(read, task, asked),
        data_only=matched.data_only,
        model_only=matched.model_only,
        notes=(*pair.notes, *_notes(fitted, data)),
        rows=tuple(video_row(one, task, asked, found["normal"]) for one in made),
    )


def _splits(data: Annotated) -> dict[str, tuple[Labeled, ...]]:
    names = dict.fromkeys(one.split or NO_SPLIT for one in data.clips)
    return {name: tuple(one for one in data.clips if (one.split or NO_SPLIT) == name) for name in names}


def _notes(fitted: Fitted, data: Annotated) -> list[str]:
    notes, matched = [], fitted.matched
    if matched.assumed:
        notes.append("the model has no labels: the data's were taken in the order of their names; --labels FILE names them")
    if matched.data_only:
        notes.append(f"labels that the model does not know: {some(matched.data_only)}")
    if matched.model_only:
        notes.append(f"labels of the model without a namesake in the data: {some(matched.model_only)}")
    return notes + list(data.problems[:SHOWN])


# --- one clip ---


def _answer(number: int, one: Labeled, fitted: Fitted, pair: Pair, settings: Settings, stopped: Stopped) -> Answer:
    try:
        frames, middle, size = shown(one.clip, pair, settings.view)
    except SourceError as error:
        return Answer(one, np.empty(0), error=in_one_line(error))
    truth = fitted.truth(one, len(frames), _rate(one, pair))
    made: Answer = Answer(one, truth, len(frames))
    said: dict[str, dict[str, np.ndarray]] = {}
    for condition in settings.conditions:
        order = order_of(condition, len(frames), number, settings)
        found: dict[str, np.ndarray] = {}
        if pair.clip is not None:
            answers = clip_answers(pair.clip, frames[order], size, settings, stopped)
            found |= _framed_clips(answers, len(frames), pair.clip, settings) if fitted.task == "frames" else _mean(answers)
        if pair.step is not None:
            streamed = stream_answers(pair.step, middle[order], settings.flush, stopped)
            if fitted.task == "frames":
                found |= _framed_stream(streamed, len(frames), pair.step)
            else:
                more, standing = _whole_stream(streamed, len(frames))
                found |= more
                made = replace(made, standing=standing) if condition == "normal" else made
        # a label a frame goes where its frame is played
        said[condition] = _back(found, order) if fitted.task == "frames" else found
    return replace(made, said=said)


def _rate(one: Labeled, pair: Pair) -> float:
    """Frames a second, as the network sees them: its own, or every n-th of the source's."""
    wanted = pair.preprocess
    if wanted.fps:
        return pair.any.rate
    if one.clip.path.suffix.lower() in ARRAYS:
        times = [frame.pts_s for frame in array_of(one.clip, pair)]
        return (len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else pair.any.rate
    source = probe(one.clip).fps if one.clip.pictures is None else float(PICTURE_RATE)
    return source / (wanted.sample_every_n or 1) if source else pair.any.rate


def _mean(answers: Iterator[Prediction]) -> dict[str, np.ndarray]:
    scores = [shares(one.scores) for one in answers]
    return {"clip": np.mean(scores, axis=0)} if scores else {}


def _whole_stream(answers: Iterator[tuple[int, Prediction]], count: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """({where: answer}, (10, classes) of what stands at each tenth)."""
    said = [(at, shares(one.scores)) for at, one in answers]
    within = [(at, scores) for at, scores in said if at <= count]
    if not said:
        return {}, None
    standing = np.full((len(TENTHS), len(said[0][1])), np.nan)
    for place, share in enumerate(TENTHS):
        seen = [scores for at, scores in within if at <= np.ceil(count * share)]
        standing[place] = seen[-1] if seen else np.nan
    average = {"stream average": np.mean([scores for _, scores in within], axis=0)} if within else {}
    return {"stream end": said[-1][1], **average}, standing


def _labels_of(one: Prediction) -> np.ndarray:
    """(m,): the label of each frame that was answered, oldest first."""
    rows = one.frames if one.frames is not None else one.scores[None]
    return np.array([shares(row).argmax() for row in rows])


def _framed_stream(answers: Iterator[tuple[int, Prediction]], count: int, program: Program) -> dict[str, np.ndarray]:
    """Each step's labels, at the frames that they are about."""
    hop, delay = program.metadata.hop, program.metadata.feature_delay
    made = np.full(count, NOTHING)
    for at, one in answers:
        labels, first = _labels_of(one), at - delay - hop
        for k in range(hop):
            if 0 <= first + k < count:
                made[first + k] = labels[k * len(labels) // hop]
    return {"stream": made} if (made != NOTHING).any() else {}


def _framed_clips(answers: Iterator[Prediction], count: int, program: Program, settings: Settings) -> dict[str, np.ndarray]:
    """Clips side by side; frames that fill up the last one count once."""
    length, made = program.metadata.frames, np.full(count, NOTHING)
    for rows, one in zip(sampling.covering(count, length, settings.sampling), answers, strict=False):
        labels = _labels_of(one)
        for k, row in enumerate(rows):
            if made[row] == NOTHING:
                made[row] = labels[k * len(labels) // length]
    return {"clip": made}


def _back(found: dict[str, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
    """Labels of frames that were played in another order, at their own places. A frozen frame has all places."""
    if len(np.unique(order)) < len(order):
        return found
    made = {}
    for where, labels in found.items():
        made[where] = np.full(len(labels), NOTHING)
        made[where][order] = labels
    return made
