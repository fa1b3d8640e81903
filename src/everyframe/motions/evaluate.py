"""How good a motion model is, and how that is measured. One call makes the whole table:

    report = evaluate(model, data=None)

Procedural: held-out streams (a seed no training uses) for event recall and false events; single gestures for 8-way
accuracy with
controls (time reversed, frames shuffled). Real (`data`): mapped classes of hand_gestures, and everything else as
false events a minute.
An optical-flow rule is measured on exactly the same, its event rule tuned on the same validation streams.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from everyframe import modelfile
from everyframe.conversion import stream
from everyframe.errors import ModelError, SourceError, UsageError
from everyframe.modelfile.file import Held
from everyframe.modelfile.interface import interface
from everyframe.modelfile.schema import EventRule, Metadata, Preprocess
from everyframe.modelfile.walk import Walk
from everyframe.motions import clips, flow_rule, metrics
from everyframe.progress import TextProgress, silent
from everyframe.rendering.hands import dataset
from everyframe.rendering.hands.motions import LABELS, REVERSED, Interval
from everyframe.runtime.events import asked_of
from everyframe.runtime.prediction import softmax

BUILT_IN = Path(__file__).parents[1] / "assets" / "motions.onnx"
SIZES = {"streams": 600, "negatives": 300, "singles": 60}  # singles: of each label
TUNING = 250  # streams that the flow rule's event rule is tuned on
HELD_S = 1.0  # for so long the last frame of a clip of one gesture is held: a camera would not have stopped there
AT_ONCE = 10  # streams rendered between two words of progress


@dataclass
class Recognizer:
    """score: (T, H, W) uint8 -> (T, 8) probabilities; with the rule that makes events of them."""

    name: str
    score: Callable[[np.ndarray], np.ndarray]
    rule: EventRule
    preprocess: Preprocess


class StepScorer:
    """A step model in onnxruntime, one frame at a time, from a fresh state for every stream."""

    def __init__(self, model: onnx.ModelProto, metadata: Metadata, where: object) -> None:
        self.walk = Walk(model, states=metadata.states, threads=1)
        self.interface = interface(model, metadata, where)
        self.metadata = metadata

    def __call__(self, video: np.ndarray) -> np.ndarray:
        p, m = self.metadata.preprocess, self.metadata
        if self.interface.folded:
            frames = video[:, None, :, :, None]  # (T, 1, H, W, 1) bytes
        else:
            frames = ((video.astype(np.float32) * p.scale - p.mean[0]) / p.std[0]).astype(np.float32)[:, None, None]
        self.walk.reset()
        rows = [self.walk.step(frame)[self.interface.logits][0] for frame in frames]  # one frame: (1, C, H, W), gray
        lag = m.feature_delay  # rows before it saw nothing yet
        result = softmax(np.stack(rows))
        result[:lag] = np.eye(len(LABELS))[0]
        return result


def open_model(path: str | os.PathLike[str], threshold: float | None = None, refractory: float | None = None) -> Recognizer:
    """A step model, or a clip model which is converted first. threshold, refractory: instead of its event rule's. Raises
    ModelError if it does not recognize the motions.
    """
    model = modelfile.load(path)
    metadata = modelfile.metadata_of(model, path)
    if metadata is None or metadata.labels != LABELS or metadata.events is None:
        raise ModelError(
            "This model does not recognize the motions.",
            where=path,
            expected=f"labels {', '.join(LABELS)} and an event rule",
            got="no metadata" if metadata is None else metadata.labels,
            hint="use the built-in model or one trained by `everyframe train motions`",
        )
    if metadata.kind == "clip":
        return open_model(Held(stream(path, None).step, Path(path).name), threshold, refractory)
    rule = asked_of(metadata, threshold, refractory, path).events or metadata.events
    return Recognizer(Path(path).name, StepScorer(model, metadata, path), rule, metadata.preprocess)


def evaluate(
    model: Recognizer,
    data: Path | None = None,
    *,
    sizes: dict[str, int] | None = None,
    baseline: bool = True,
    label_map: Mapping[str, str] | None = None,
    progress: TextProgress = silent,
) -> dict:
    """Everything, for the model and for the optical-flow rule beside it."""
    sizes = {**SIZES, **(sizes or {})}
    fps, _ = _seen(model)
    report: dict = {}
    rivals = [model]
    if baseline:
        flow = Recognizer(
            "optical_flow_rule", lambda video: flow_rule.scores(video, fps), EventRule(background=LABELS[0]), model.preprocess
        )
        videos, intervals = _rendered("tuning the flow rule", progress, "validation", 0, TUNING, model)
        flow.rule = metrics.tune(_scored(flow, videos, "tuning the flow rule", progress), intervals, fps)
        rivals.append(flow)
    for rival in rivals:
        report[rival.name] = {"rule": rival.rule.model_dump(), **procedural(rival, sizes, progress)}
        if data is not None:
            report[rival.name]["real"] = real(rival, data, label_map, progress)
    return report


def _first(model: Recognizer, scores: np.ndarray) -> str:
    """The label of the first event, or the background: what a host would have acted on."""
    events = metrics.detect(scores, model.rule, model.preprocess.fps or 1)
    return events[0].label if events else model.rule.background


def _seen(model: Recognizer) -> tuple[float, tuple[int, int]]:
    """Frames a second and picture size (height, width) of what it sees. Raises UsageError where it has none."""
    fps, size = model.preprocess.fps, model.preprocess.resize
    if fps is None or not isinstance(size, tuple):
        raise UsageError("The model has no frame rate or no picture size.", expected="preprocess.fps and preprocess.resize")
    return fps, size


def _rendered(
    what: str, progress: TextProgress, split: str, seed: int, count: int, model: Recognizer, **options: Any
) -> tuple[list[np.ndarray], list[list[Interval]]]:
    """Video as the model sees it and truth of so many streams, a few at a time."""
    fps, size = _seen(model)
    videos: list[np.ndarray] = []
    intervals: list[list[Interval]] = []
    for begin in range(0, count, AT_ONCE):
        progress(f"{what}: rendering {begin} of {count}")
        made = dataset.streams(split, seed, range(begin, min(begin + AT_ONCE, count)), fps=fps, size=size, **options)
        videos += list(made.video)
        intervals += made.intervals
    return videos, intervals


def _scored(model: Recognizer, videos: Sequence[np.ndarray], what: str, progress: TextProgress) -> list[np.ndarray]:
    found = []
    for number, video in enumerate(videos):
        progress(f"{what}: {number} of {len(videos)}")
        found.append(model.score(video))
    return found


def procedural(model: Recognizer, sizes: dict[str, int], progress: TextProgress) -> dict:
    """Held-out rendered video: mixed streams, negatives only, single gestures with controls."""
    fps, _ = _seen(model)
    result = {}
    for seed, (kind, negative) in enumerate((("streams", None), ("negatives", True))):
        what = f"{model.name}: rendered {kind}"
        videos, intervals = _rendered(what, progress, "test", seed, sizes[kind], model, negative=negative)
        result[kind] = metrics.tally(_scored(model, videos, what, progress), intervals, model.rule, fps).report()
    what = f"{model.name}: single gestures"
    truth: list[str] = []
    singles: list[np.ndarray] = []
    for i, label in enumerate(LABELS):
        own, _ = _rendered(
            what, progress, "test", 10 + i, sizes["singles"], model, frames=60, label=label, negative=i == 0, single=True
        )
        truth += [label] * len(own)
        singles += own
    rng = np.random.default_rng(0)
    played = {
        "normal": singles,
        "reversed": [v[::-1] for v in singles],
        "shuffled": [v[rng.permutation(len(v))] for v in singles],
    }
    got = {
        how: [_first(model, scores) for scores in _scored(model, shown, f"{what}, {how}", progress)]
        for how, shown in played.items()
    }
    right = lambda how, table: float(np.mean([g == table[t] for g, t in zip(got[how], truth, strict=True)]))  # noqa: E731
    same = {label: label for label in LABELS}
    confusion = {t: dict.fromkeys(LABELS, 0) for t in LABELS}
    for t, g in zip(truth, got["normal"], strict=True):
        confusion[t][g] += 1
    result["singles"] = {
        "count": len(truth),
        "accuracy": round(right("normal", same), 4),
        "accuracy_by_label": {t: round(row[t] / max(1, sum(row.values())), 4) for t, row in confusion.items()},
        "reversed_against_same_label": round(right("reversed", same), 4),
        "reversed_against_reversed_label": round(right("reversed", REVERSED), 4),
        "shuffled": round(right("shuffled", same), 4),
        "confusion": confusion,
    }
    return result


def real(model: Recognizer, data: Path, label_map: Mapping[str, str] | None, progress: TextProgress) -> dict:
    """Real clips: class-per-folder gestures (each split of hand_gestures for itself), false events a minute on everything
    else."""
    result: dict = {}
    known = sorted(p for p in (data / "hand_gestures").glob("*") if p.is_dir())
    others = [folder for folder in (data / "clips", data / "ut_interaction") if folder.is_dir()]
    parts = {f"hand_gestures/{p.name}": p for p in known} | {p.name: p for p in others} or {data.name: data}
    for name, folder in parts.items():
        paths = clips.videos(folder)
        if not paths:
            raise SourceError(
                "There are no videos in this folder.", where=folder, expected=f"files {', '.join(sorted(clips.SUFFIXES))}"
            )
        table = {} if folder in others else clips.classes(paths, label_map)
        result[name] = _labeled(model, paths, table, progress) if table else _unlabeled(model, paths, progress)
    return result


def _labeled(model: Recognizer, paths: list[Path], table: dict[str, tuple[str, ...]], progress: TextProgress) -> dict:
    """first: the first event's label is right. any: some event is. peak: the highest score among gestures is (knowing there is
    one). silent: no event at all. as_cut: the same without HELD_S.
    """
    rows: dict[str, dict] = {}
    false, seconds = 0, 0.0
    fps = model.preprocess.fps or 1
    for path in paths:
        progress(f"{model.name}: {path}")
        name = path.parent.name
        labels = table[name]
        video = clips.read(path, model.preprocess)
        end = (len(video) - 0.5) / fps
        scores = model.score(np.concatenate([video, np.repeat(video[-1:], round(HELD_S * fps), 0)]))
        events = metrics.detect(scores, model.rule, fps)
        row = rows.setdefault(
            name, {"label": "|".join(labels), "clips": 0, "first": 0, "any": 0, "peak": 0, "silent": 0, "said": {}, "as_cut": {}}
        )
        row["clips"] += 1
        said = events[0].label if events else "none"
        early = said if events and events[0].pts_s < end else "none"
        row["said"][said] = row["said"].get(said, 0) + 1
        row["as_cut"][early] = row["as_cut"].get(early, 0) + 1
        row["first"] += said in labels
        row["silent"] += not events
        if labels == ("none",):
            false, seconds = false + len(events), seconds + len(video) / fps
        else:
            row["any"] += any(e.label in labels for e in events)
            row["peak"] += LABELS[1 + int(scores[:, 1:].max(0).argmax())] in labels
    positive = [r for r in rows.values() if r["label"] != "none"]
    count = sum(r["clips"] for r in positive)
    share = lambda key: round(sum(r[key] for r in positive) / max(1, count), 4)  # noqa: E731
    cut = lambda right: sum(r["as_cut"].get(label, 0) for r in positive for label in right(r)) / max(1, count)  # noqa: E731
    return {
        "mapped_clips": count,
        "first": share("first"),
        "any": share("any"),
        "peak": share("peak"),
        "silent": share("silent"),
        "as_cut": {"first": round(cut(lambda r: r["label"].split("|")), 4), "silent": round(cut(lambda r: ["none"]), 4)},
        "false_per_minute_on_other_classes": round(false / max(1e-9, seconds / 60), 2),
        "other_minutes": round(seconds / 60, 2),
        "classes": rows,
    }


def _unlabeled(model: Recognizer, paths: list[Path], progress: TextProgress) -> dict:
    """Nobody makes a gesture for the machine here, so every event is false."""
    events: dict[str, int] = {}
    seconds = 0.0
    for path in paths:
        progress(f"{model.name}: {path}")
        video = clips.read(path, model.preprocess)
        seconds += len(video) / (model.preprocess.fps or 1)
        for event in metrics.detect(model.score(video), model.rule, model.preprocess.fps or 1):
            events[event.label] = events.get(event.label, 0) + 1
    return {
        "clips": len(paths),
        "minutes": round(seconds / 60, 2),
        "events": events,
        "false_per_minute": round(sum(events.values()) / max(1e-9, seconds / 60), 2),
    }
