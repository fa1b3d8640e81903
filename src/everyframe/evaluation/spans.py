"""Events of a model on long recordings, against the spans in which things really happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from everyframe.data.formats import spans
from everyframe.data.truths import Labeled, Name
from everyframe.errors import SourceError, UsageError
from everyframe.evaluation.match import match
from everyframe.evaluation.measure import in_one_line
from everyframe.evaluation.models import Pair
from everyframe.evaluation.run import run_all, some
from everyframe.evaluation.tally import wilson
from everyframe.modelfile.schema import EventRule
from everyframe.progress import CountProgress, silent
from everyframe.runtime.engine import cores
from everyframe.runtime.events import Event
from everyframe.runtime.program import Program

#: seconds behind a span's end in which its event may still come, beside the model's own delay
LATE_S = 1.0

Part = tuple[float, float, str]


@dataclass(frozen=True)
class SpanRow:
    """Of one label, or of all. spans: that there are; found: with an event of their label; wrong: whose first event has another.
    low, high: the 95 % interval of recall. false: events that are of no span. delay_s: from a span's begin to its event, median.
    """

    label: str
    spans: int
    found: int
    wrong: int
    false: int
    recall: float | None = None
    low: float | None = None
    high: float | None = None
    delay_s: float | None = None


@dataclass(frozen=True)
class SpanResult:
    """false_a_minute: events that are of no span, over all the time that was played. background_a_minute: those outside of the
    spans, over the time outside. late_s: how long behind its end a span may still be found.
    """

    model: str
    engine: str
    data: str
    recordings: int
    unreadable: int
    partial: bool
    seconds: float
    background_s: float
    late_s: float
    rule: Mapping[str, Any]
    all: SpanRow
    labels: tuple[SpanRow, ...]
    false_a_minute: float | None
    background_a_minute: float | None
    notes: tuple[str, ...]
    events: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Played:
    parts: tuple[Part, ...]
    name: str
    events: tuple[Event, ...] = ()
    seconds: float = 0.0
    error: str | None = None


def evaluate(
    pair: Pair, path: Path, *, label_map: Mapping[str, str] | None = None, workers: int | None = None, name: str = "",
    progress: CountProgress = silent,
) -> SpanResult:  # fmt: skip
    """path: a list of spans. Raises UsageError for a model without an event rule, SourceError."""
    program = pair.step
    if program is None or (rule := program.metadata.events) is None:
        raise UsageError(
            "Spans are measured by events, and this model has no rule for them.", where=pair.name,
            expected="a step model with an event rule, as `teach` makes", hint="evaluate it on clips: --format spans --list FILE",
        )  # fmt: skip
    missing = list[str]()
    listed = spans.recordings(path, problems=missing)
    words = sorted({str(label) for _, parts in listed for *_, label in parts} - {spans.BACKGROUND, rule.background})
    known = pair.any
    matched = match(words, known.labels, known.interface.classes, label_map)
    names = {word: matched.labels[at] for word, at in zip(words, matched.index, strict=True) if at >= 0}
    files = [one.clip.path for one, _ in listed]
    made = run_all(files, lambda n, stopped: _play(*listed[n], names, program, stopped), workers or cores(), progress)
    read = [one for one in made if one.error is None]
    if not read:
        raise SourceError("None of the recordings can be read.", where=path, got=made[0].error, hint="check that they play")
    late = LATE_S + program.metadata.feature_delay / program.rate
    notes = [*missing, *(f"{one.name}: {one.error}" for one in made if one.error)]
    for one in read:
        notes += spans.beyond(one.name, one.parts, one.seconds)
    read = [replace(one, parts=tuple(part for part in one.parts if part[0] < one.seconds)) for one in read]
    if matched.data_only:
        notes.append(f"labels that the model does not know, whose spans do not count: {some(matched.data_only)}")
    lost = (len(made) - len(read), len(made) < len(listed))
    return _result(read, pair, rule, sorted(set(names.values())), late, notes, lost, name)


def _play(
    one: Labeled, parts: Sequence[tuple[float, float, Name]], names: Mapping[str, str], program: Program,
    stopped: Callable[[], bool],
) -> _Played:  # fmt: skip
    known = tuple((begin, end, names[str(label)]) for begin, end, label in parts if str(label) in names)
    events, last = list[Event](), 0.0
    try:
        for prediction in program.predict(one.clip.path):
            last = prediction.pts_s
            if prediction.event is not None:
                events.append(prediction.event)
            if stopped():
                break
    except SourceError as error:
        return _Played(known, one.clip.name, error=in_one_line(error))
    return _Played(known, one.clip.name, tuple(events), last + 1 / program.rate)


def assigned(parts: Sequence[Part], events: Sequence[Event], late_s: float) -> tuple[list[list[Event]], list[Event]]:
    """(events of each span, events of none). An event belongs to the span that it falls into, or else to the last that ended no
    more than `late_s` before and has not been told yet; of overlapping spans to one of its label.
    """
    own: list[list[Event]] = [[] for _ in parts]
    none = list[Event]()
    for event in events:
        within = [i for i, (begin, end, _) in enumerate(parts) if begin <= event.pts_s < end]
        behind = [i for i, (_, end, _) in enumerate(parts) if end <= event.pts_s < end + late_s]
        open_ = [i for i in behind if not any(e.label == parts[i][2] for e in own[i])]
        late = sorted(open_, key=lambda i: -parts[i][1])
        same = [i for i in (*within, *late) if parts[i][2] == event.label]
        chosen = same[:1] or within[:1] or late[:1]
        (own[chosen[0]] if chosen else none).append(event)
    return own, none


def _result(
    read: Sequence[_Played],
    pair: Pair,
    rule: EventRule,
    labels: Sequence[str],
    late: float,
    notes: list[str],
    lost: tuple[int, bool],
    name: str,
) -> SpanResult:
    rows = {label: {"spans": 0, "found": 0, "wrong": 0, "false": 0} for label in labels}
    delays: dict[str, list[float]] = {label: [] for label in labels}
    told, outside, background = [], 0, 0.0
    for one in read:
        own, none = assigned(one.parts, one.events, late)
        for (begin, end, label), found in zip(one.parts, own, strict=True):
            right = next((e for e in found if e.label == label), None)
            rows[label]["spans"] += 1
            rows[label]["found"] += right is not None
            rows[label]["wrong"] += bool(found) and found[0].label != label
            if right is not None:
                delays[label].append(right.pts_s - begin)
            for event in found:
                told.append(_told(one, event, (begin, end, label), event is right))
                if event is not right:
                    rows.setdefault(event.label, {"spans": 0, "found": 0, "wrong": 0, "false": 0})["false"] += 1
        for event in none:
            told.append(_told(one, event, None, False))
            rows.setdefault(event.label, {"spans": 0, "found": 0, "wrong": 0, "false": 0})["false"] += 1
        outside += len(none)
        background += sum(end - begin for begin, end in spans.between(one.parts, one.seconds))
    made = tuple(_row(label, row, delays.get(label, [])) for label, row in rows.items())
    total = {key: sum(row[key] for row in rows.values()) for key in ("spans", "found", "wrong", "false")}
    seconds = sum(one.seconds for one in read)
    return SpanResult(
        pair.name, pair.engine, name, len(read), *lost, round(seconds, 3), round(background, 3), round(late, 3),
        rule.model_dump(), _row("all", total, [d for some_ in delays.values() for d in some_]), made,
        60 * total["false"] / seconds if seconds else None, 60 * outside / background if background else None,
        tuple(notes), tuple(told),
    )  # fmt: skip


def _row(label: str, counts: Mapping[str, int], delays: Sequence[float]) -> SpanRow:
    recall = counts["found"] / counts["spans"] if counts["spans"] else None
    low, high = wilson(counts["found"], counts["spans"]) if counts["spans"] else (None, None)
    return SpanRow(label, **counts, recall=recall, low=low, high=high, delay_s=float(np.median(delays)) if delays else None)


def _told(one: _Played, event: Event, part: Part | None, right: bool) -> dict[str, Any]:
    return {
        "recording": one.name, "pts_s": round(event.pts_s, 3), "label": event.label, "score": round(event.score, 4),
        "span": part, "right": right,
    }  # fmt: skip
