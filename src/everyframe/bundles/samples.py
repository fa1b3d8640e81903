"""What a network is given when real videos go through it, states included: for vendors' calibration, and to compare with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from everyframe.errors import ModelError, SourceError
from everyframe.modelfile.interface import interface, metadata_or_raise, one_kind
from everyframe.modelfile.schema import BESIDE, Metadata
from everyframe.modelfile.walk import Walk
from everyframe.quantization.videos import Model
from everyframe.runtime.prediction import not_finite
from everyframe.video.sources import Source

LONGEST = 64  # frames of a step network's example


@dataclass(frozen=True)
class Example:
    """frames: prepared, (1, C, T, H, W) or (N, C, H, W). logits: of the last run, (classes,)."""

    frames: np.ndarray
    logits: np.ndarray


def opened(model: onnx.ModelProto, where: Path) -> Model:
    """Raises ModelError for a model without metadata, and for one that names nothing."""
    metadata = metadata_or_raise(model, where)
    check_task(metadata, where.name)
    return Model(model, metadata, one_kind(interface(model, metadata, where), where, "a bundle takes one"), where.name)


def check_task(metadata: Metadata | None, where: object) -> None:
    """Raises ModelError for a model that recognizes nothing."""
    if metadata is not None and metadata.task is not None and metadata.task in BESIDE:
        raise ModelError(
            f"The programs of bundles show what a model recognizes, and this one {BESIDE[metadata.task][0]}.", where=where,
            hint="`everyframe compile` makes C of it, and `everyframe check` says whether a device takes its ONNX file",
        )  # fmt: skip


def folders(names: Sequence[str]) -> dict[str, str]:
    """A folder's name for each input: tensors' own names are no file names."""
    return {name: f"{place:02d}_{re.sub(r'[^0-9A-Za-z]+', '_', name).strip('_')}" for place, name in enumerate(names)}


def keep(model: Model, sources: Sequence[Source], folder: Path, most: int, raw: bool) -> int:
    """Writes the inputs of up to `most` runs, evenly spread over all videos, each beginning with fresh states: a folder an input,
    a file a run. raw: bare numbers instead of .npy. Returns how many. Raises SourceError, and EngineError for answers that are
    not finite.
    """
    total = sum(1 for _ in model.inputs(sources))
    wanted = set(np.linspace(0, total - 1, min(most, total)).round().astype(int).tolist())
    before, begun, places = 0, 0, folders(input_names(model.model))
    walk = Walk(model.model, places)
    for place in places.values():
        (folder / place).mkdir(parents=True)
    for number, (video, frames) in enumerate(model.inputs(sources)):
        if video != before:
            walk.reset()
            before, begun = video, number
        feed = walk.step(frames)
        _check_finite(feed[model.interface.logits], sources[video], number - begun, model)
        for name, place in places.items() if number in wanted else ():
            if raw:
                feed[name].tofile(folder / place / f"{number:06d}.bin")
            else:
                np.save(folder / place / f"{number:06d}.npy", feed[name])
    return len(wanted)


def example(model: Model, sources: Sequence[Source]) -> Example:
    """The beginning of the first video that is long enough for a prediction. Raises SourceError."""
    metadata = model.metadata
    clip = metadata.kind == "clip"
    enough = 1 if clip else metadata.feature_delay // metadata.hop + 1
    runs = 1 if clip else max(enough, LONGEST // metadata.hop)
    for source in sources:
        walk, logits = Walk(model.model), None
        taken: list[np.ndarray] = []
        for _, frames in _first(model, source, runs):
            logits = walk.step(frames)[model.interface.logits]
            _check_finite(logits, source, len(taken), model)
            taken.append(frames)
        if logits is not None and len(taken) >= enough:
            return Example(np.concatenate(taken), np.asarray(logits, np.float32).ravel())
    least = enough * model.frames_a_step
    raise SourceError("The videos are too short for a prediction.", expected=f"{least} frames in one of them")


def _check_finite(logits: np.ndarray, source: Source, number: int, model: Model) -> None:
    if not np.isfinite(logits).all():
        raise not_finite(logits, "logits", f"{source.name}, {model.runs[:-1]} {number}", pictures=True)


def _first(model: Model, source: Source, runs: int) -> Iterator[tuple[int, np.ndarray]]:
    """Up to so many runs of a video; none if it is too short."""
    try:
        for number, run in enumerate(model.inputs([source])):
            if number == runs:
                return
            yield run
    except SourceError:
        return


def input_names(model: onnx.ModelProto) -> list[str]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in weights]
