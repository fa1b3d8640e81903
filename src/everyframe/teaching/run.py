"""From a few examples to a step model of one's own: the road of `everyframe teach`.

backbone (cut) -> features of every example -> head and event rule (learn) -> the new head in its place -> check -> file
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from everyframe import modelfile
from everyframe.conversion.facts import Options
from everyframe.conversion.step import convert
from everyframe.conversion.verify import verify
from everyframe.errors import EveryframeError, ModelError, UsageError
from everyframe.files import check_writable
from everyframe.modelfile.schema import FeatureSpec, Metadata, Provenance
from everyframe.progress import TextProgress, silent
from everyframe.runtime.program import BUILTIN
from everyframe.teaching.cut import Backbone, check, cut, with_head
from everyframe.teaching.examples import Clip, Example, Reader, distinct, folders, marked, read_all
from everyframe.teaching.learn import BACKGROUND, Learned, learn
from everyframe.teaching.window import shortened
from everyframe.version import __version__
from everyframe.video.sources import resolve

#: examples that a gesture needs: one to learn from while the other is left out
FEWEST = 2


@dataclass(frozen=True, eq=False)
class Taught:
    """What was learned, and from what. counts: examples of each gesture. layer: the classifier whose place the new head takes,
    behind `width` features: means over `window` frames of what the classifier read, or `means`. difference: the largest
    relative one between the file's logits and the head on the features.
    """

    path: Path | None  # None where nothing was written
    learned: Learned
    counts: Mapping[str, int]
    background_s: float
    width: int
    layer: str
    window: int
    means: tuple[FeatureSpec, ...]
    difference: float
    seconds: float
    notes: list[str]
    broken: list[EveryframeError]
    model: onnx.ModelProto


def teach(
    model: str | os.PathLike[str] = "builtin",
    examples: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    output: str | os.PathLike[str] | None = "mine.onnx",
    *,
    background: Iterable[str | os.PathLike[str]] = (),
    window: int | None = None,
    progress: TextProgress = silent,
) -> Taught:
    """Teaches a step or clip model new gestures from a few examples of each and writes the step model `output`, where given.

    examples: a folder (or several) with a folder of clips for each gesture; one called `none` is background; or a list of
    spans of long recordings. background: more footage without any gesture. window: feature frames that the head averages.
    Raises SourceError, UsageError, ModelError, OutputError.
    """
    begun = time.perf_counter()
    if output is not None:
        check_writable(output, read=(model,))
    roots = [examples] if isinstance(examples, str | os.PathLike) else list(examples)
    missing = list[str]()
    clips, notes = distinct([clip for root in roots for clip in _examples(root, missing)] + _footage(background))
    notes = [*missing, *notes]
    _check_enough([*(c.label for c in clips), *(label for c in clips for *_, label in c.spans)])
    progress("taking the classifier off")
    backbone, notes_of_model, source = _backbone(model, window)
    reader = Reader(backbone, str(model))
    taken, broken = read_all(reader, clips, progress)
    _check_enough([example.label for example in taken], broken)
    progress("learning, and leaving each example out in turn")
    step_s = reader.hop / reader.rate
    learned = learn(taken, backbone.metadata.window, step_s)
    metadata = _metadata(source, backbone.metadata, learned, str(model), len(taken))
    taught = with_head(backbone, learned.head, metadata)
    difference = check(taught, backbone, learned.head)
    path = modelfile.save(taught, output) if output is not None else None
    return Taught(
        path, learned, Counter(example.label for example in taken if example.label is not None),
        sum(len(example.seen) for example in taken if example.label is None) * step_s, backbone.width, backbone.layer,
        backbone.metadata.window, backbone.means, difference, time.perf_counter() - begun,
        [*notes, *notes_of_model, *_delay_note(taken, reader), *_background_note(taken)], broken, taught,
    )  # fmt: skip


def _examples(root: str | os.PathLike[str], missing: list[str]) -> list[Clip]:
    return marked(Path(root), missing) if Path(root).is_file() else folders(root, BACKGROUND)


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
    where = BUILTIN if os.fspath(model) == "builtin" else model
    given: onnx.ModelProto = modelfile.load(where)
    metadata, notes = modelfile.metadata_of(given, where), []
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


def _delay_note(taken: Sequence[Example], reader: Reader) -> list[str]:
    short = sum(e.moves.frames <= reader.delay for e in taken if e.label is not None)
    if not short:
        return []
    return [
        f"{short} examples are not longer than the {reader.delay} frames ({reader.delay / reader.rate:.1f} s) that this model's "
        "predictions lie behind; their last frame was held for as long"
    ]


def _background_note(taken: Sequence[Example]) -> list[str]:
    if any(example.label is None for example in taken):
        return []
    return ["no background footage: how often other things raise events there is not known; add --background VIDEO"]


def _metadata(source: Metadata, bare: Metadata, learned: Learned, model: str, count: int) -> Metadata:
    digest = hashlib.sha256((source.provenance.weights_sha256 or "").encode())
    head = learned.head
    familiar = (head.familiar.center, head.familiar.spread, head.familiar.means) if head.familiar is not None else ()
    for value in (head.weight, head.bias, *familiar):
        digest.update(value.astype(np.float32).tobytes())
    provenance = Provenance(
        model=source.provenance.model, weights_sha256=digest.hexdigest(), tool=f"everyframe {__version__}",
        passes=(*source.provenance.passes, "teach"),
        notes=(*source.provenance.notes, f"a head taught on {Path(model).name} with {count} clips"),
    )  # fmt: skip
    return bare.model_copy(update={"labels": learned.labels, "events": learned.rule, "provenance": provenance})
