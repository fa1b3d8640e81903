"""After the last epoch: the best weights as clip and step model, evaluated as a user will meet them, and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from everyframe import evaluation, modelfile
from everyframe.conversion import stream
from everyframe.data.clips import Collection
from everyframe.data.header import glance
from everyframe.errors import EveryframeError
from everyframe.evaluation import report
from everyframe.evaluation.page import Section
from everyframe.evaluation.result import Calibration
from everyframe.modelfile.schema import Preprocess, Pruned
from everyframe.models import export
from everyframe.progress import bar, status
from everyframe.training.folder import Run
from everyframe.training.loop import Position
from everyframe.training.network import Trained
from everyframe.training.objective import rank

#: validation videos that the finished model is evaluated on, evenly spread where there are more
VIDEOS = 1000


@dataclass(frozen=True)
class Result:
    """What a training led to. ended: it was not interrupted. accuracy: what `everyframe evaluate` says, where anything was
    held out.
    """

    path: Path
    at: Position
    ended: bool
    accuracy: evaluation.Result | None = None
    notes: tuple[str, ...] = ()

    @property
    def top1(self) -> float | None:
        """The share of the validation clips that the best weights get right."""
        return max(self.at.rows, key=rank)["top1"] if self.at.rows else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "run": str(self.path), "ended": self.ended, "epochs": self.at.epoch, "seconds": round(self.at.seconds, 1),
            "validation_top1": self.top1,
            "accuracy": self.accuracy.to_dict() if self.accuracy else None, "notes": list(self.notes),
        }  # fmt: skip

    def text(self) -> str:
        held = f": {self.top1:.1%} of the validation clips right" if self.top1 is not None else ""
        lines = [ran(self.at, self.ended) + held]
        if self.accuracy is not None:
            normal = self.accuracy.conditions["normal"]
            parts = [
                f"whole videos {normal.video.top1:.1%}" if normal.video else "",
                f"the stream at a video's end {normal.streaming.end.top1:.1%}" if normal.streaming else "",
                f"always the most frequent label {self.accuracy.most_frequent:.1%}",
            ]
            lines.append(f"validation: {', '.join(filter(None, parts))}")
            if normal.streaming and normal.streaming.silent and self.accuracy.timing:
                lines.append(
                    f"of {self.accuracy.videos} videos {normal.streaming.silent} end before the stream says anything: it answers "
                    f"{self.accuracy.timing.delay_ms / 1000:.1f} s late; causal networks (motionnet, tsm_*_online) answer at once"
                )
        lines += [*self.notes, f"wrote {self.path}/step.onnx, report.html and the rest of the run"]
        return "\n".join([*lines, f"next: everyframe predict {self.path}/step.onnx SOURCE"])


def ran(at: Position, ended: bool) -> str:
    return f"{'trained' if ended else 'interrupted after'} {at.epoch} epochs in {at.seconds / 60:.1f} min"


def deployed(trained: Trained, run: Run, collection: Collection) -> Preprocess:
    """The preprocessing of the finished model: the rate at which the network saw frames in training. `segments` spread a clip
    over the whole video, so that is the rate for a video of typical length.
    """
    given, sampling = trained.preprocess, run.recipe.sampling
    stride: float = sampling.stride
    if sampling.kind == "segments":
        lengths = [header.sampled(given.fps, given.sample_every_n) for header in glance(collection.splits["train"])]
        stride = max(1.0, median(lengths) / trained.made.frames)
    if stride == 1:
        return given
    if given.fps is not None:
        return given.model_copy(update={"fps": round(given.fps / stride, 3)})
    return given.model_copy(update={"sample_every_n": max(1, round((given.sample_every_n or 1) * stride))})


def calibrate(path: Path, found: Mapping[str, Calibration]) -> None:
    """Keeps in each model the temperature that fits its own answers on validation: whole videos of the clip model, and of the
    step model what stands at their end.
    """
    for name, where in (("clip.onnx", "video"), ("step.onnx", "stream")):
        if where in found and (path / name).is_file():
            model = modelfile.load(path / name)
            metadata = modelfile.metadata_of(model, path / name)
            if metadata is not None:
                kept = metadata.model_copy(update={"temperature": round(found[where].temperature, 4)})
                modelfile.save(modelfile.attach(model, kept), path / name)


def finish(
    run: Run, trained: Trained, collection: Collection, at: Position, ended: bool, notes: tuple[str, ...] = (),
    *, pruned: Pruned | None = None, sections: Sequence[Section] = (),
) -> Result:  # fmt: skip
    """Writes clip.onnx, step.onnx, the evaluation and the report. Where a part fails, the rest is still there. pruned: what of
    the weights is zero. sections: of the report, beside the training's own.
    """
    made, accuracy = trained.made, None
    with status("writing the clip and the step model"):
        export(
            made.entry.name, run.path / "clip.onnx", frames=made.frames, size=made.size, labels=run.labels, weights=run.best,
            preprocess=deployed(trained, run, collection), num_classes=len(run.labels), options=made.options,
            pruned=pruned,
        )  # fmt: skip
        try:
            stream(run.path / "clip.onnx", run.path / "step.onnx")
        except EveryframeError as error:
            notes = (*notes, f"no step model: {error.what}")
    if collection.splits.get("validation") and run.recipe.surrogate is None:
        sampling = run.recipe.sampling.model_copy(update={"stride": 1})  # the finished model's rate has it already
        with bar("evaluating") as update:
            accuracy = evaluation.evaluate(
                run.path, collection, sampling=sampling, limit=VIDEOS, data=run.recipe.data.root, progress=update
            )
        calibrate(run.path, accuracy.calibration)
    text = (run.path / "recipe.toml").read_text("utf-8")
    environment = json.loads((run.path / "environment.json").read_text("utf-8"))
    title = f"{'Pruning' if pruned else 'Training'} {run.recipe.name}"
    report.write(run.path, accuracy, title=title, epochs=run.epochs, recipe=text, environment=environment, sections=sections)
    return Result(run.path, at, ended, accuracy, notes)
