"""Models on videos: what they say, and how good that is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from everyframe.api.given import File, Model, paths, several, source, there
from everyframe.progress import CountProgress, TextProgress, silent

if TYPE_CHECKING:
    from everyframe.api.outcomes import Evaluation, EventReport, Predictions, SpanEvaluation, TaskEvaluation
    from everyframe.data.views import Views
    from everyframe.modelfile.schema import Task


@paths
def predict(
    model: Model,
    videos: Any,
    output: File | None = None,
    *,
    engine: str = "auto",
    threads: int | None = None,
    labels: Sequence[str] | None = None,
    steady: str | None = None,
    task: Task | None = None,
    threshold: float | None = None,
    refractory: float | None = None,
    stride: int | None = None,
    top_k: int = 5,
    max_frames: int | None = None,
    seconds: float | None = None,
    realtime: bool = False,
    fps: float | None = None,
    pts: Iterable[float] | None = None,
    bgr: bool | None = None,
    progress: TextProgress | None = None,
) -> Predictions:
    """All predictions of a file, a folder or a glob; several videos go one after another, each from a fresh state. For a camera
    name `max_frames` or `seconds`, or watch it as it goes: `open(model).predict(0)`. Or of frames: an iterator or a list of
    uint8 pictures (h, w, 3), an array (T, h, w, 3), a `cv2.VideoCapture`; of a model that takes no pictures, frames (C, ...) or
    an array (C, T, ...), also as .npy, .npz and .csv.

    engine, threads, labels, steady, task, threshold, refractory: as for `open`. stride: of clip models, frames between
    predictions. top_k: labels kept in `top`. max_frames, seconds: of each video. realtime: play files at their own speed, and
    drop what is late. fps, pts, bgr: of frames, as `Program.predict` has them. output: a file of JSON lines; None keeps them in
    memory. A prediction has scores and logits (classes,) float32, pts_s in seconds, latency_ms in milliseconds.
    Raises ModelError, SourceError, EngineError, UsageError, OutputError.

    >>> found = ef.predict("step.onnx", "video.mp4", engine="ort")
    >>> found[0].top[0].label in ("still", "left", "right"), found[0].scores.shape
    (True, (3,))
    """
    from everyframe.api.models import open
    from everyframe.api.outcomes import Predictions
    from everyframe.errors import UsageError
    from everyframe.files import check_writable
    from everyframe.runtime.feed import is_frames, named
    from everyframe.video import resolve

    if output is not None:
        check_writable(output)
    progress = progress or silent
    if hasattr(videos, "__aiter__"):
        raise UsageError(
            "An async iterator is watched as it goes.", got=type(videos).__name__,
            hint="`async for prediction in everyframe.open(model).predict(frames)`",
        )  # fmt: skip
    endless = max_frames is None and seconds is None
    if endless and not is_frames(videos) and any(video.live for video in resolve(named(videos))):
        raise UsageError(
            "A camera has no end.", where=videos, expected="max_frames or seconds",
            hint="`for prediction in everyframe.open(model).predict(source)` watches it as it goes",
        )  # fmt: skip
    found, notes = [], dict[str, None]()
    with open(model, engine, threads, labels, steady=steady, task=task, threshold=threshold, refractory=refractory) as program:
        for each in program.predict(
            videos,
            stride=stride,
            top_k=top_k,
            max_frames=max_frames,
            seconds=seconds,
            realtime=realtime,
            fps=fps,
            pts=pts,
            bgr=bgr,
            note=notes.setdefault,
        ):
            found.append(each)
            progress(f"frame {each.frame}")
    made = Predictions(found, list(notes))
    if output is not None:
        made.save(output)
    return made


@paths
def evaluate(
    model: Model,
    data: File,
    output: File | None = None,
    *,
    form: str = "folders",
    split: str | None = None,
    clip_list: str | None = None,
    classes: str | None = None,
    labels: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    views: Views = "non-overlapping",
    segments: bool = False,
    short: Literal["loop", "hold"] | None = None,
    rate: str = "native",
    task: Task | None = None,
    threshold: float | None = None,
    flush: bool = False,
    controls: Sequence[str] = (),
    seed: int = 0,
    limit: int | None = None,
    fps: float | None = None,
    engine: str = "auto",
    threads: int = 1,
    workers: int | None = None,
    progress: CountProgress | None = None,
) -> Evaluation | TaskEvaluation | SpanEvaluation:
    """How good a model is on labeled videos: its clips, whole videos, and the stream at every frame. Ctrl-C gives what is done.

    A model that names one class of several gives an `Evaluation`, from clips of one class each. One that says any of several
    labels (multilabel), quantities (regress), or a label for each frame (frames) gives a `TaskEvaluation`, from a list that says
    as much (docs/evaluate.md): `data` itself, `clip_list`, or a usual name in the folder. One with an event rule gives a
    `SpanEvaluation` where `data` is a list of spans of long recordings.
    model: a clip or step model, a compiled one, or a run folder. data: the folder of the videos, or a recipe (.toml) that names
    them. form: folders, list, kinetics, jester, something, ucf101, hmdb51 or efficient3d. split: validation, train, test or all;
    None is validation, or all of data that has no splits, but for what its training held out of them.
    clip_list, classes: files of that format. labels: of the model, instead of its own. label_map: data label -> model label.
    views: clips of each video (non-overlapping, middle, 10-crop, 30-view). segments: a clip has one frame of each of T equal
    parts. short: videos too short for a clip `loop` or `hold`. rate: how a clip model is converted. task: what the answer is,
    instead of what the model says. threshold: of multilabel, from which score on a label is said (0.5). flush: hold the last
    frame until the stream has seen it. controls: also with the frames `reversed`, `shuffled` (by `seed`) or `frozen`. limit: so
    many videos, evenly spread. fps: of arrays that do not say their times. threads: of the engine, for each of `workers` videos
    at once. output: a folder for tables, pictures and a page. progress: told how many videos are done, and of how many.
    Raises ModelError, SourceError, RecipeError, UsageError, OutputError.

    >>> found = ef.evaluate("step.onnx", "clips", split="all", workers=1)
    >>> found.videos, 0 <= found.conditions["normal"].streaming.end.top1 <= 1
    (4, True)
    """
    from everyframe.api.outcomes import Evaluation, SpanEvaluation, TaskEvaluation
    from everyframe.errors import SourceError
    from everyframe.evaluation import evaluate, open_pair, spans, tasks
    from everyframe.evaluation.measure import Settings
    from everyframe.evaluation.source import chosen
    from everyframe.files import results_in
    from everyframe.recipes.training import Sampling

    if not Path(data).exists():
        raise SourceError("There is no such folder of clips.", where=data, expected="a folder", hint="check the path")
    given = there(model) if isinstance(model, str) else source(model)
    run = Path(model) if isinstance(model, str | os.PathLike) else None
    names = None if labels is None else several("labels", labels)
    played = several("controls", controls)
    made: Evaluation | TaskEvaluation | SpanEvaluation
    with results_in(None if output is None else Path(output)):
        pair = open_pair(given, engine=engine, threads=threads, labels=names, rate=rate, task=task, threshold=threshold)
        pair = replace(pair, fps=fps)
        if tasks.says_more(pair, Path(data), form, clip_list):
            how = Sampling(kind="segments" if segments else "clip", short=short or "loop")
            more = tasks.evaluate(
                pair, tasks.annotated(Path(data), pair.task, clip_list, classes), split=split,
                settings=Settings(views, how, flush, ("normal", *dict.fromkeys(played)), seed), limit=limit, workers=workers,
                labels=names, label_map=label_map, name=str(data), progress=progress or silent,
            )  # fmt: skip
            made = TaskEvaluation(**vars(more))
        elif Path(data).is_file() and Path(data).suffix.lower() != ".toml":
            events = spans.evaluate(
                pair, Path(data), label_map=label_map, workers=workers, name=str(data), progress=progress or silent
            )
            made = SpanEvaluation(**vars(events))
        else:
            found, sampling, split, part = chosen(Path(data), run, form, split, clip_list, classes)
            changes = {"kind": "segments" if segments else sampling.kind, "short": short or sampling.short}
            result = evaluate(
                pair, found, split=split, view=views, sampling=sampling.model_copy(update=changes), flush=flush,
                controls=played, seed=seed, limit=limit, workers=workers, label_map=label_map, data=str(data),
                part=part, progress=progress or silent,
            )  # fmt: skip
            made = Evaluation(**vars(result))
        if output is not None:
            made.save(output)
    return made


@paths
def evaluate_events(
    model: Model = "builtin",
    data: File | None = None,
    output: File | None = None,
    *,
    label_map: Mapping[str, str] | None = None,
    threshold: float | None = None,
    refractory: float | None = None,
    baseline: bool = True,
    quick: bool = False,
    progress: TextProgress | None = None,
) -> EventReport:
    """How well a motion model tells its gestures as single events: recall, false events a minute, and single gestures also with
    the frames reversed and shuffled, all on rendered video. Beside `evaluate`, since labels of clips say nothing of when.

    model: one with the labels and the event rule of the built-in model. data: a folder of recorded video to measure on as well;
    videos in folders named like labels hold one gesture each, in all others every event is false. label_map: folder -> label,
    where names differ. threshold, refractory: as for `open`. baseline: measure the optical-flow rule beside it. quick: a tenth of
    the rendered video. output: a file for the figures (JSON). Raises ModelError, SourceError, UsageError, OutputError.

    >>> ef.evaluate_events("step.onnx")
    Traceback (most recent call last):
    everyframe.errors.ModelError: This model does not recognize the motions...
    """
    from everyframe.api.outcomes import EventReport
    from everyframe.errors import SourceError
    from everyframe.files import check_writable
    from everyframe.motions import evaluate as events

    if data is not None and not Path(data).exists():
        raise SourceError("There is no such folder of clips.", where=data, expected="a folder", hint="check the path")
    if output is not None:
        check_writable(output)
    recognizer = events.open_model(source(model), threshold, refractory)
    sizes = {name: max(4, count // 10) for name, count in events.SIZES.items()} if quick else None
    folder = None if data is None else Path(data)
    found = events.evaluate(recognizer, folder, sizes=sizes, baseline=baseline, label_map=label_map, progress=progress or silent)
    made = EventReport(found)
    if output is not None:
        made.save(output)
    return made
