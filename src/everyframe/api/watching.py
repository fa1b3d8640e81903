"""Models on videos: what they say, and how good that is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from everyframe.api.given import File, Model, several, source, there
from everyframe.progress import CountProgress, TextProgress, silent

if TYPE_CHECKING:
    from everyframe.api.outcomes import Evaluation, EventReport, Predictions
    from everyframe.data.views import Views


def predict(
    model: Model,
    videos: str | int | os.PathLike[str],
    output: File | None = None,
    *,
    engine: str = "auto",
    threads: int | None = None,
    labels: Sequence[str] | None = None,
    steady: str | None = None,
    stride: int | None = None,
    top_k: int = 5,
    max_frames: int | None = None,
    seconds: float | None = None,
    progress: TextProgress | None = None,
) -> Predictions:
    """All predictions of a file, a folder or a glob; several videos go one after another, each from a fresh state. For a camera
    name `max_frames` or `seconds`, or watch it as it goes: `open(model).predict(0)`.

    engine, threads, labels, steady: as for `open`. stride: of clip models, frames between predictions. top_k: labels kept in
    `top`. max_frames, seconds: of each video. output: a file of JSON lines; None keeps them in memory. A prediction has scores
    and logits (classes,) float32, pts_s in seconds, latency_ms in milliseconds.
    Raises ModelError, SourceError, EngineError, UsageError, OutputError.

    >>> found = ef.predict("step.onnx", "video.mp4", engine="ort")
    >>> found[0].top[0].label in ("still", "left", "right"), found[0].scores.shape
    (True, (3,))
    """
    from everyframe.api.models import open
    from everyframe.api.outcomes import Predictions
    from everyframe.errors import UsageError
    from everyframe.files import check_writable
    from everyframe.video import resolve

    if output is not None:
        check_writable(output)
    progress = progress or silent
    if max_frames is None and seconds is None and any(video.live for video in resolve(videos)):
        raise UsageError(
            "A camera has no end.", where=videos, expected="max_frames or seconds",
            hint="`for prediction in everyframe.open(model).predict(source)` watches it as it goes",
        )  # fmt: skip
    found = []
    with open(model, engine, threads, labels, steady=steady) as program:
        for each in program.predict(videos, stride=stride, top_k=top_k, max_frames=max_frames, seconds=seconds):
            found.append(each)
            progress(f"frame {each.frame}")
    made = Predictions(found)
    if output is not None:
        made.save(output)
    return made


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
    flush: bool = False,
    controls: Sequence[str] = (),
    seed: int = 0,
    limit: int | None = None,
    engine: str = "auto",
    threads: int = 1,
    workers: int | None = None,
    progress: CountProgress | None = None,
) -> Evaluation:
    """Accuracy on labeled videos: of clips, of whole videos, and of the stream at every frame. Ctrl-C gives what is done.

    model: a clip or step model, a compiled one, or a run folder. data: the folder of the videos, or a recipe (.toml) that names
    them. form: folders, list, kinetics, jester, something, ucf101, hmdb51 or efficient3d. split: validation, train, test or all;
    None is validation, or all of data that has no splits, but for what its training held out of them.
    clip_list, classes: files of that format. labels: of the model, instead of its own. label_map: data label -> model label.
    views: clips of each video (non-overlapping, middle, 10-crop, 30-view). segments: a clip has one frame of each of T equal
    parts. short: videos too short for a clip `loop` or `hold`. rate: how a clip model is converted. flush: hold the last frame
    until the stream has seen it. controls: also with the frames `reversed`, `shuffled` (by `seed`) or `frozen`. limit: so many
    videos, evenly spread. threads: of the engine, for each of `workers` videos at once. output: a folder for tables, pictures
    and a page. progress: told how many videos are done, and of how many.
    Raises ModelError, SourceError, RecipeError, UsageError, OutputError.

    >>> found = ef.evaluate("step.onnx", "clips", split="all", workers=1)
    >>> found.videos, 0 <= found.conditions["normal"].streaming.end.top1 <= 1
    (4, True)
    """
    from everyframe.api.outcomes import Evaluation
    from everyframe.errors import SourceError
    from everyframe.evaluation import evaluate, open_pair, report
    from everyframe.evaluation.source import chosen

    if not Path(data).exists():
        raise SourceError("There is no such folder of clips.", where=data, expected="a folder", hint="check the path")
    if output is not None:
        report.prepare(Path(output))
    given = there(model) if isinstance(model, str) else source(model)
    run = Path(model) if isinstance(model, str | os.PathLike) else None
    found, sampling, split, part = chosen(Path(data), run, form, split, clip_list, classes)
    changes = {"kind": "segments" if segments else sampling.kind, "short": short or sampling.short}
    names = None if labels is None else several("labels", labels)
    pair = open_pair(given, engine=engine, threads=threads, labels=names, rate=rate)
    result = evaluate(
        pair, found, split=split, view=views, sampling=sampling.model_copy(update=changes), flush=flush,
        controls=several("controls", controls), seed=seed, limit=limit, workers=workers, label_map=label_map, data=str(data),
        part=part, progress=progress or silent,
    )  # fmt: skip
    made = Evaluation(**vars(result))
    if output is not None:
        made.save(output)
    return made


def evaluate_events(
    model: Model = "builtin",
    data: File | None = None,
    output: File | None = None,
    *,
    baseline: bool = True,
    quick: bool = False,
    progress: TextProgress | None = None,
) -> EventReport:
    """How well a motion model tells its gestures as single events: recall, false events a minute, and single gestures also with
    the frames reversed and shuffled, all on rendered video. Beside `evaluate`, since labels of clips say nothing of when.

    model: one with the labels and the event rule of the built-in model. data: a folder of recorded video to measure on as well.
    baseline: measure the optical-flow rule beside it. quick: a tenth of the rendered video. output: a file for the figures
    (JSON). Raises ModelError, SourceError, UsageError, OutputError.

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
    recognizer = events.open_model(source(model))
    sizes = {name: max(4, count // 10) for name, count in events.SIZES.items()} if quick else None
    folder = None if data is None else Path(data)
    found = events.evaluate(recognizer, folder, sizes=sizes, baseline=baseline, progress=progress or silent)
    made = EventReport(found)
    if output is not None:
        made.save(output)
    return made
