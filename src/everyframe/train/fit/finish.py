"""After the last epoch: the best weights as clip and step model, evaluated as a user will meet them, and the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everyframe.errors import EveryframeError
from everyframe.models import export
from everyframe.program import stream
from everyframe.program.contract import Preprocess
from everyframe.train.data.clips import Collection
from everyframe.train.fit.folder import Run
from everyframe.train.fit.loop import Position
from everyframe.train.fit.network import Trained
from everyframe.train.schema import ClipRecipe


@dataclass(frozen=True)
class Result:
    """What a training led to. ended: it was not interrupted. accuracy: what `everyframe evaluate` says."""

    path: Path
    at: Position
    ended: bool
    accuracy: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": str(self.path), "ended": self.ended, "epochs": self.at.epoch, "seconds": round(self.at.seconds, 1),
            "validation_top1": self.at.best_top1, "accuracy": self.accuracy, "notes": list(self.notes),
        }  # fmt: skip

    def text(self) -> str:
        a = self.at
        lines = [
            f"{'trained' if self.ended else 'interrupted after'} {a.epoch} epochs in {a.seconds / 60:.1f} min: "
            f"{a.best_top1:.1%} of the validation clips right",
            *self.notes,
            f"wrote {self.path}/step.onnx, report.html and the rest of the run",
            f"next: everyframe predict {self.path}/step.onnx SOURCE",
        ]
        return "\n".join(lines)


def deployed(trained: Trained, recipe: ClipRecipe, lengths: float | None) -> Preprocess:
    """The preprocessing of the finished model: the rate at which the network saw frames in training.

    lengths: sampled frames of a typical video, for `segments`, where a clip spans the whole video.
    """
    given, sampling = trained.preprocess, recipe.sampling
    stride: float = sampling.stride
    if sampling.kind == "segments":
        stride = max(1.0, (lengths or trained.made.frames) / trained.made.frames)
    if stride == 1:
        return given
    if given.fps is not None:
        return given.model_copy(update={"fps": round(given.fps / stride, 3)})
    return given.model_copy(update={"sample_every_n": round((given.sample_every_n or 1) * stride)})


def finish(run: Run, trained: Trained, collection: Collection, at: Position, ended: bool, notes: tuple[str, ...] = ()) -> Result:
    """Writes clip.onnx, step.onnx, the evaluation and the report. Where a part fails, the rest is still there."""
    clip, step = run.path / "clip.onnx", run.path / "step.onnx"
    made = trained.made
    export(
        made.entry.name, clip, frames=made.frames, size=made.size, labels=run.labels, weights=run.best,
        preprocess=deployed(trained, run.recipe, None), num_classes=len(run.labels), options=made.options,
    )  # fmt: skip
    try:
        stream(clip, step)
    except EveryframeError as error:
        notes = (*notes, f"no step model: {error.what}")
    return Result(run.path, at, ended, {}, notes)
