"""A model over labeled videos, several at once; what is measured when it is ended early is kept."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np

from everyframe.data.clips import Collection
from everyframe.data.views import Views
from everyframe.errors import EngineError, SourceError, UsageError
from everyframe.evaluation.controls import CONDITIONS, CONTROLS
from everyframe.evaluation.match import Matched, match
from everyframe.evaluation.measure import SEVERAL_CROPS, Outcome, Settings, measure
from everyframe.evaluation.models import Pair, open_pair
from everyframe.evaluation.result import Result, Timing
from everyframe.evaluation.tally import balanced, calibrations, class_rows, condition, confusion, video_row
from everyframe.progress import CountProgress, silent
from everyframe.recipes.training import Sampling
from everyframe.runtime.engine import cores

SHOWN = 12  # names in a note
One = TypeVar("One")


def evaluate(
    model: str | Path | Pair,
    collection: Collection,
    *,
    split: str = "validation",
    view: Views = "non-overlapping",
    sampling: Sampling = Sampling(),
    flush: bool = False,
    controls: Sequence[str] = (),
    seed: int = 0,
    limit: int | None = None,
    engine: str = "auto",
    threads: int = 1,
    workers: int | None = None,
    labels: tuple[str, ...] | None = None,
    label_map: Mapping[str, str] | None = None,
    data: str = "",
    part: str = "",
    progress: CountProgress = silent,
) -> Result:
    """Accuracy of the clip network, and of its step network at every frame.

    split: one of the collection's, or `all`. view: see `data.views`. sampling: which frames make a clip. flush: at a video's
    end hold its last frame until the step network has fully seen it. controls: of CONTROLS. limit: only so many videos,
    evenly spread over the list. threads: of the engine, for each of `workers` videos at once (default: one a core).
    data, part: how the data is called in the result, and why this split. progress: (videos done, of so many). Ctrl-C
    ends it early, with a result that says so.

    Raises ModelError, SourceError (no video can be read), UsageError.
    """
    settings = Settings(view, sampling, flush, ("normal", *dict.fromkeys(controls)), seed)
    _check_names(settings)
    clips = chosen(collection.splits, split)
    pair = model if isinstance(model, Pair) else open_pair(model, engine=engine, threads=threads, labels=labels)
    check_settings(settings, pair)
    known = pair.any
    if pair.task not in ("classify", "frames"):
        raise UsageError(
            "Videos of one label each measure only a model that names one of several classes.", where=pair.name,
            expected="classify or frames", got=pair.task, hint="name a list that says more: --list FILE",
        )  # fmt: skip
    matched = match(collection.labels, labels or known.labels, known.interface.classes, label_map)
    wanted = [(clip, matched.index[clip.label]) for clip in clips if clip.label >= 0]
    todo = [(clip, truth) for clip, truth in wanted if truth >= 0]
    if not todo:
        raise UsageError("No video of this split has a label that the model knows.", where=f"split {split}")
    left_out = len(wanted) - len(todo)
    todo = list(limited(todo, limit))
    names = [clip.path for clip, _ in todo]
    outcomes = run_all(names, lambda n, stopped: measure(n, *todo[n], pair, settings, stopped), workers or cores(), progress)
    return _result(outcomes, pair, settings, matched, collection, data, split, len(todo), left_out, part)


def check_settings(settings: Settings, pair: Pair) -> None:
    """Raises UsageError for a view or a control that there is not, or that the model cannot be shown."""
    _check_names(settings)
    if settings.view in SEVERAL_CROPS and pair.preprocess.crop is None:
        raise UsageError(
            "This view takes several crops, and the model's preprocessing crops nothing.", where=f"--views {settings.view}",
            hint="choose --views non-overlapping or middle",
        )  # fmt: skip


def _check_names(settings: Settings) -> None:
    if settings.view not in get_args(Views):
        raise UsageError("There is no such view.", where="--views", expected=", ".join(get_args(Views)), got=settings.view)
    for name in settings.conditions:
        if name not in CONDITIONS:
            raise UsageError("There is no such control.", expected=", ".join(CONTROLS), got=name)


def chosen(splits: Mapping[str, tuple[One, ...]], split: str) -> tuple[One, ...]:
    """The clips of a split, or of `all`. Raises UsageError where there are none."""
    found = tuple(clip for clips in splits.values() for clip in clips) if split == "all" else splits.get(split, ())
    if not found:
        there = ", ".join(f"{name} ({len(clips)})" for name, clips in splits.items() if clips)
        raise UsageError(
            "There are no videos in this split.", where=f"split {split}", expected=f"all, {there}" if there else None
        )
    return found


def limited(clips: Sequence[One], limit: int | None) -> Sequence[One]:
    """So many of them, evenly spread."""
    return clips if limit is None or limit >= len(clips) else [clips[i * len(clips) // limit] for i in range(limit)]


def run_all(
    names: Sequence[object], call: Callable[[int, Callable[[], bool]], One], workers: int, progress: CountProgress
) -> list[One]:
    """call(number, stopped) of each, several at once, in their order whatever they were finished in; fewer if ended early.
    names: of the videos, where an engine fails at one.
    """
    stop, count = threading.Event(), len(names)
    done: dict[int, One] = {}
    # threads: the engines and the decoder leave the interpreter's lock while they work
    with ThreadPoolExecutor(workers) as pool:
        futures = {
            pool.submit(call, number, stop.is_set): number
            # mixed, so that what is measured until it is ended early is of all classes
            for number in np.random.default_rng(0).permutation(count).tolist()
        }
        try:
            progress(0, count)
            for future in as_completed(futures):
                number = futures[future]
                done[number] = _result_of(future, names[number])
                progress(len(done), count)
        except KeyboardInterrupt:
            pass
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    if not done:
        raise KeyboardInterrupt
    return [done[number] for number in sorted(done)]


def _result_of(future: Future[One], name: object) -> One:
    try:
        return future.result()
    except EngineError as error:
        raise EngineError(
            error.what, where=f"{error.where} of {name}", expected=error.expected, got=error.got, hint=error.hint
        ) from None


def _result(
    outcomes: list[Outcome], pair: Pair, settings: Settings, matched: Matched, collection: Collection, data: str,
    split: str, planned: int, left_out: int, part: str,
) -> Result:  # fmt: skip
    read = [outcome for outcome in outcomes if outcome.error is None]
    if not read:
        raise SourceError(
            "None of the videos can be read.", where=outcomes[0].clip.path, got=outcomes[0].error,
            hint="check the folder and the format of the list",
        )  # fmt: skip
    labels = matched.labels
    rate = (pair.step or pair.any).rate
    video = confusion(read, len(labels), streaming=False)
    streaming = confusion(read, len(labels), streaming=True)
    truths = [outcome.truth for outcome in read]
    equal = {"video": balanced(video, truths), "stream": balanced(streaming, truths)}
    return Result(
        model=pair.name,
        engine=pair.engine,
        data=data,
        split=split,
        part=part,
        available={name: len(clips) for name, clips in collection.splits.items()},
        labels=labels,
        most_frequent=max(Counter(outcome.truth for outcome in read).values()) / len(read),
        view=settings.view,
        sampling=settings.sampling.kind,
        clip_frames=pair.clip.metadata.frames if pair.clip else None,
        planned=planned,
        videos=len(read),
        unreadable=len(outcomes) - len(read),
        left_out=left_out,
        partial=len(outcomes) < planned,
        seed=settings.seed,
        flush=settings.flush,
        timing=timing(pair),
        conditions={name: condition(read, name, rate, streamed=pair.step is not None) for name in settings.conditions},
        classes=class_rows(read, labels, video, streaming),
        confusion=_rows(video),
        confusion_streaming=_rows(streaming),
        data_only=matched.data_only,
        model_only=matched.model_only,
        notes=(*pair.notes, *_notes(matched, collection, left_out)),
        rows=tuple(video_row(outcome, labels) for outcome in outcomes),
        calibration=calibrations(read),
        balanced={where: share for where, share in equal.items() if share is not None},
    )


def _rows(counts: np.ndarray | None) -> tuple[tuple[int, ...], ...] | None:
    return None if counts is None else tuple(tuple(row) for row in counts.tolist())


def timing(pair: Pair) -> Timing | None:
    if pair.step is None:
        return None
    meta, rate = pair.step.metadata, pair.step.rate
    return Timing(
        meta.hop, meta.window, meta.feature_delay, meta.feature_delay * 1e3 / rate, meta.delay, meta.delay * 1e3 / rate,
        rate, meta.preprocess.fps is None,
    )  # fmt: skip


def _notes(matched: Matched, collection: Collection, left_out: int) -> list[str]:
    notes = []
    if matched.assumed:
        notes.append("the model has no labels: the order of the data's was taken; --labels FILE names them")
    if matched.data_only:
        notes.append(f"labels that the model does not know ({left_out} videos left out): {some(matched.data_only)}")
    if matched.model_only:
        notes.append(f"labels of the model without a namesake in the data: {some(matched.model_only)}")
    return notes + list(collection.problems[:SHOWN])


def some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
