"""From a few examples to a step model of one's own: the road of `everyframe teach`.

backbone (cut) -> features and moments of every example -> logistic regression, chosen by leaving examples out -> event rule,
tuned on the examples that were left out -> the new head in the classifier's place -> check -> file
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from everyframe import __version__
from everyframe.errors import EveryframeError, ModelError, UsageError
from everyframe.program import contract
from everyframe.program.contract import EventRule, Metadata, Provenance
from everyframe.program.facts import Options
from everyframe.program.step import convert
from everyframe.program.verify import verify
from everyframe.runtime.events import probabilities
from everyframe.runtime.program import BUILTIN
from everyframe.train.teach import moments
from everyframe.train.teach.cut import Backbone, check, cut, with_head
from everyframe.train.teach.examples import Clip, Example, Reader, distinct, folders, read_all
from everyframe.train.teach.head import Head, Rows, leave_one_out
from everyframe.train.teach.rule import Outcome, Stream, tune
from everyframe.train.teach.window import shortened
from everyframe.video.sources import resolve

BACKGROUND = "none"
#: examples that a gesture needs: one to learn from while the other is left out
FEWEST = 2
#: how much the quiet beginning of an example weighs, where its gesture weighs 1
_QUIET = 0.3
#: moments that a piece of background footage teaches
_MOMENTS = 12


@dataclass(frozen=True, eq=False)
class Lesson:
    """What was learned. counts: examples of each gesture. told[a][b]: how often an example of gesture a that was left out was
    taken for b. outcome: the event rule on the examples and the background that were left out.
    """

    path: Path
    labels: tuple[str, ...]
    counts: dict[str, int]
    told: dict[str, dict[str, int]]
    rule: EventRule
    outcome: Outcome
    background_s: float
    width: int
    layer: str
    window: int
    penalty: float
    difference: float
    seconds: float
    notes: list[str] = field(default_factory=list)
    broken: list[EveryframeError] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """Share of the examples that were told right when they had been left out."""
        return sum(row[label] for label, row in self.told.items()) / sum(self.counts.values())


def teach(
    model: str | os.PathLike[str] = "builtin",
    examples: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    output: str | os.PathLike[str] = "mine.onnx",
    *,
    background: Iterable[str | os.PathLike[str]] = (),
    window: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Lesson:
    """Teaches a step or clip model new gestures from a few examples of each and writes the step model `output`.

    examples: a folder (or several) with a folder of clips for each gesture; one called `none` is background. background: more
    footage without any gesture. window: feature frames that the head averages. Raises SourceError, UsageError, ModelError,
    OutputError.
    """
    begun = time.perf_counter()
    say = progress or (lambda _: None)
    contract.check_writable(output)
    roots = [examples] if isinstance(examples, str | os.PathLike) else list(examples)
    clips, notes = distinct([clip for root in roots for clip in folders(root, BACKGROUND)] + _footage(background))
    _check_enough([clip.label for clip in clips])
    say("taking the classifier off")
    backbone, notes_of_model, source = _backbone(model, window)
    reader = Reader(backbone, str(model))
    taken, broken = read_all(reader, clips, say)
    _check_enough([example.label for example in taken], broken)
    say("learning, and leaving each example out in turn")
    labels = (BACKGROUND, *sorted({e.label for e in taken if e.label is not None}))
    rows = _rows(taken, labels, backbone.metadata.window)
    groups = sorted(set(rows.group.tolist()))
    penalty, unseen = leave_one_out(rows, groups)
    head = rows.head(rows.fit(penalty))
    streams = [
        Stream(probabilities(unseen.get(i, head).logits(e.features)), labels.index(e.label or BACKGROUND))
        for i, e in enumerate(taken)
    ]
    step_s = reader.hop / reader.rate
    rule, outcome = tune(streams, labels, BACKGROUND, step_s)
    metadata = _metadata(source, backbone.metadata, labels, rule, head, str(model), len(taken))
    taught = with_head(backbone, head, metadata)
    difference = check(taught, backbone, head)
    path = contract.save(taught, output)
    counts = {label: sum(e.label == label for e in taken) for label in labels[1:]}
    return Lesson(
        path, labels, counts, _told(taken, streams, labels, backbone.metadata.window), rule, outcome,
        sum(len(e.seen) for e in taken if e.label is None) * step_s, backbone.width, backbone.layer, backbone.metadata.window,
        penalty, difference, time.perf_counter() - begun, [*notes, *notes_of_model, *_delay_note(taken, reader)], broken,
    )  # fmt: skip


def _footage(background: Iterable[str | os.PathLike[str]]) -> list[Clip]:
    clips = [Clip(None, source) for given in background for source in resolve(given)]
    for clip in clips:
        if clip.source.live or clip.source.kind == "stdin":
            raise UsageError(
                "Background footage must be a file.", where=clip.name, expected="a video, a folder or a glob",
                got=clip.source.kind,
                hint="record it with --camera, which ends with a pause that is background",
            )  # fmt: skip
    return clips


def _check_enough(labels: Sequence[str | None], broken: Sequence[EveryframeError] = ()) -> None:
    """A gesture needs two examples; two gestures are needed, or one and background."""
    counts = Counter(label for label in labels if label is not None)
    lost = "; ".join(f"{error.where}: {error.what}" for error in broken)
    few = [f"{label}: {count}" for label, count in counts.items() if count < FEWEST]
    if few:
        raise UsageError(
            "A gesture has too few examples.", where=lost or None, expected=f"at least {FEWEST}, better 5, of each",
            got=", ".join(few), hint="record more, or take the gesture's folder away",
        )  # fmt: skip
    if len(counts) + (None in labels) < 2 or not counts:
        raise UsageError(
            "There is nothing to tell apart.", where=lost or None, expected="two gestures, or one and background footage",
            got=", ".join(counts) or "no gesture", hint="add examples of another gesture, or --background VIDEO",
        )  # fmt: skip


def _backbone(model: str | os.PathLike[str], window: int | None) -> tuple[Backbone, list[str], Metadata]:
    """The model without its classifier, and the metadata of the model itself; a clip model is converted and verified first."""
    where = BUILTIN if os.fspath(model) == "builtin" else Path(model)
    given: onnx.ModelProto = contract.load(where)
    metadata, notes = contract.metadata_of(given, where), []
    if metadata is not None and metadata.kind == "stage":
        raise ModelError("One stage of a split model cannot be taught.", where=where, hint="give the whole step model")
    if metadata is None or metadata.kind == "clip":
        made = convert(given, Options(window=window))
        difference = verify(made)
        notes.append(f"converted to a step model; largest relative difference to the clip network {difference:.1e}")
        given, metadata = made.step, made.metadata
    elif window is not None:
        given, metadata = shortened(given, metadata, window)
    return cut(given, metadata, where), notes, metadata


def _rows(taken: Sequence[Example], labels: tuple[str, ...], window: int) -> Rows:
    """What the examples teach. Each example weighs as much as any other of its gesture, and each class as any other."""
    features, label, weight, group = [], list[int](), list[float](), list[int]()

    def add(example: Example, at: np.ndarray, index: int, total: float, number: int) -> None:
        features.append(example.features[at])
        label.extend([index] * len(at))
        weight.extend([total / max(1, len(at))] * len(at))
        group.extend([number] * len(at))

    for number, example in enumerate(taken):
        if example.label is None:
            at = np.unique(np.linspace(0, len(example.seen) - 1, _MOMENTS).round().astype(int))
            add(example, at, 0, 1.0, number)
            continue
        at = np.flatnonzero(moments.gesture(example.moves, example.seen, window))
        add(example, at if len(at) else np.array([len(example.seen) - 1]), labels.index(example.label), 1.0, number)
        add(example, np.flatnonzero(moments.before(example.moves, example.seen)), 0, _QUIET, number)
    classes, share = np.array(label), np.array(weight)
    for index in range(len(labels)):
        if (classes == index).any():
            share[classes == index] /= share[classes == index].sum()
    return Rows(np.concatenate(features), classes, share, np.array(group), len(labels))


def _told(taken: Sequence[Example], streams: Sequence[Stream], labels: tuple[str, ...], window: int) -> dict[str, dict[str, int]]:
    """What each example was taken for when it had been left out: the label with the highest mean score over its moments."""
    table = {label: dict.fromkeys(labels, 0) for label in labels[1:]}
    for example, stream in zip(taken, streams, strict=True):
        if example.label is not None:
            at = np.flatnonzero(moments.gesture(example.moves, example.seen, window))
            scores = stream.scores[at if len(at) else [-1]].mean(0)
            table[example.label][labels[int(scores.argmax())]] += 1
    return table


def _delay_note(taken: Sequence[Example], reader: Reader) -> list[str]:
    short = sum(e.moves.frames <= reader.delay for e in taken if e.label is not None)
    if not short:
        return []
    return [
        f"{short} examples are not longer than the {reader.delay} frames ({reader.delay / reader.rate:.1f} s) that this model's "
        "predictions lie behind; their last frame was held for as long"
    ]


def _metadata(
    source: Metadata, cut_off: Metadata, labels: tuple[str, ...], rule: EventRule, head: Head, model: str, count: int
) -> Metadata:
    digest = hashlib.sha256((source.provenance.weights_sha256 or "").encode())
    digest.update(head.weight.astype(np.float32).tobytes() + head.bias.astype(np.float32).tobytes())
    provenance = Provenance(
        model=source.provenance.model, weights_sha256=digest.hexdigest(), tool=f"everyframe {__version__}",
        passes=(*source.provenance.passes, "teach"),
        notes=(*source.provenance.notes, f"a head taught on {Path(model).name} with {count} clips"),
    )  # fmt: skip
    return cut_off.model_copy(update={"labels": labels, "events": rule, "provenance": provenance})
