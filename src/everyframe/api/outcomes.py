"""What watching videos, measuring and listing give; the plain values of results that other rooms make."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

from everyframe import evaluation, modelfile
from everyframe.api.results import save_json, table
from everyframe.errors import OutputError, PluginError, UsageError
from everyframe.evaluation import report, task_report
from everyframe.evaluation.spans import SpanResult
from everyframe.evaluation.task_result import TaskResult
from everyframe.files import check_folder, make_folder, make_ordinary, write_bytes
from everyframe.models.cards.card import Card
from everyframe.rendering import folder as rendering
from everyframe.tasks.detection.apply import Found
from everyframe.tasks.detection.evaluate import Quality as Precisions
from everyframe.tasks.super_resolution.apply import Written, write_picture
from everyframe.tasks.super_resolution.evaluate import Quality
from everyframe.teaching import run as teaching

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from everyframe.api.given import File, Kept
    from everyframe.motions import run as motions
    from everyframe.nas import run as searching
    from everyframe.pruning import result as pruning
    from everyframe.runtime import Prediction
    from everyframe.tasks import learning
    from everyframe.training import finish as training

SHOWN = 50  # predictions of a table


def copied(folder: Path, there: Path, what: str, mark: str | None = None) -> Path:
    """A folder copied into a new one, or over one with `mark`, whole or not at all. Raises OutputError."""
    check_folder(there, mark, what)
    try:
        with tempfile.TemporaryDirectory(dir=there.parent, prefix=f".{there.name}.") as beside:
            fresh = Path(shutil.copytree(folder, Path(beside) / what))
            make_ordinary(fresh)
            if there.exists():
                there.rename(fresh.with_name("old"))
            fresh.rename(there)
    except OSError as error:
        raise OutputError(f"The {what} cannot be written.", where=there, got=error.strerror or str(error)) from None
    return there


class Predictions(Sequence["Prediction"]):
    """The predictions of a video, in order. notes: what the user should know of it, such as colors that are only approximated."""

    def __init__(self, found: Sequence[Prediction], notes: Sequence[str] = ()) -> None:
        self._found = tuple(found)
        self.notes = list(notes)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, at: int) -> Prediction: ...
    @overload
    def __getitem__(self, at: slice) -> Predictions: ...
    def __getitem__(self, at: int | slice) -> Prediction | Predictions:
        return Predictions(self._found[at], self.notes) if isinstance(at, slice) else self._found[at]

    def save(self, path: File) -> Path:
        """Writes one JSON object a line, as `everyframe predict --json` prints them. Raises OutputError."""
        return write_bytes("".join(json.dumps(each.to_dict()) + "\n" for each in self._found).encode(), path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; times in seconds."""
        return {"predictions": [each.to_dict() for each in self._found], "notes": self.notes}

    def _repr_html_(self) -> str:
        step = max(1, -(-len(self) // SHOWN))  # evenly spread
        rows = [(p.frame, f"{p.pts_s:.2f}", p.top[0].label, f"{p.top[0].score:.3f}") for p in self._found[::step] if p.top]
        return table(f"{len(self)} predictions", rows, ("frame", "time s", "label", "score"))


class Evaluation(evaluation.Result):
    """Accuracy of a model on labeled videos (docs/evaluate.md explains every figure); shares are between 0 and 1."""

    def save(self, folder: File, environment: Mapping[str, object] = MappingProxyType({})) -> Path:
        """Writes tables, pictures and a page (report.html) into a folder. environment: what the page says of the machine and the
        command. Raises OutputError.
        """
        report.write(Path(folder), self, environment=environment)
        return Path(folder)

    def _repr_html_(self) -> str:
        rows = []
        for name, found in self.conditions.items():
            streamed = found.streaming.end if found.streaming else None
            scores = ("clips", found.clip), ("videos", found.video), ("stream, at the end", streamed)
            rows += [(name, what, f"{s.top1:.1%}", f"{s.top5:.1%}", s.count) for what, s in scores if s]
        return table(f"{self.model} on {self.videos} videos", rows, ("frames", "of", "top-1", "top-5", "count"))


class TaskEvaluation(TaskResult):
    """How good a model is that says several labels, quantities, or a label for each frame (docs/evaluate.md explains every
    figure). Shares are between 0 and 1, errors in the unit of what is measured.
    """

    def save(self, folder: File, environment: Mapping[str, object] = MappingProxyType({})) -> Path:
        """Writes tables, pictures and a page (report.html) into a folder. environment: what the page says of the machine and the
        command. Raises OutputError.
        """
        task_report.write(Path(folder), self, environment)
        return Path(folder)

    def _repr_html_(self) -> str:
        section = task_report.sections(self)[0]
        return table(f"{self.model} on {self.videos} videos", [tuple(row) for row in section.rows], tuple(section.heading))


class SpanEvaluation(SpanResult):
    """How well events tell what happens in long recordings (docs/evaluate.md explains every figure)."""

    def save(self, folder: File, environment: Mapping[str, object] = MappingProxyType({})) -> Path:
        """Writes metrics.json into a folder. environment: what it says of the machine and the command. Raises OutputError."""
        save_json({**self.to_dict(), "environment": dict(environment)}, make_folder(folder) / "metrics.json")
        return Path(folder)

    def _repr_html_(self) -> str:
        rows = [(row.label, row.spans, row.found, row.wrong, row.false) for row in (self.all, *self.labels)]
        return table(f"{self.model} on {self.recordings} recordings", rows, ("label", "spans", "found", "wrong", "false events"))


class PictureEvaluation(Quality):
    """PSNR (dB) and SSIM of pictures that a model made larger, beside those of bicubic interpolation."""

    def save(self, folder: File, environment: Mapping[str, object] = MappingProxyType({})) -> Path:
        """Writes metrics.json and pictures.csv into a folder. environment: what it says of the machine and the command. Raises
        OutputError.
        """
        path = make_folder(folder)
        save_json({**self.to_dict(), "environment": dict(environment)}, path / "metrics.json")
        write_bytes(report.table(list(self.heading), self.table()), path / "pictures.csv")
        return path

    def _repr_html_(self) -> str:
        return table(self.summary(), self.table(), self.heading)


class ScanEvaluation(Precisions):
    """KITTI's average precision of a model that finds objects in scans."""

    def save(self, folder: File, environment: Mapping[str, object] = MappingProxyType({})) -> Path:
        """Writes metrics.json and classes.csv into a folder. environment: what it says of the machine and the command. Raises
        OutputError.
        """
        path = make_folder(folder)
        save_json({**self.to_dict(), "environment": dict(environment)}, path / "metrics.json")
        write_bytes(report.table(list(self.heading), self.table()), path / "classes.csv")
        return path

    def _repr_html_(self) -> str:
        return table(self.summary(), self.table(), self.heading)


@dataclass(frozen=True)
class Detected(Sequence[Found]):
    """What was found, a `Found` for each scan: `scan`, `boxes` and `ms`."""

    scans: tuple[Found, ...]

    def __len__(self) -> int:
        return len(self.scans)

    @overload
    def __getitem__(self, at: int) -> Found: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Found, ...]: ...
    def __getitem__(self, at: int | slice) -> Found | tuple[Found, ...]:
        return self.scans[at]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"scans": [one.to_dict() for one in self.scans]}

    def _repr_html_(self) -> str:
        return table(f"{len(self)} scans", [(one.scan.name, one.text().split("  ")[1]) for one in self.scans], ("scan", "found"))


@dataclass(frozen=True)
class Enlarged:
    """What was written, or of an array `picture`: (sH, sW, 3) RGB uint8."""

    files: tuple[Written, ...] = ()
    picture: np.ndarray | None = None

    def save(self, path: File) -> Path:
        """Writes the picture that is in memory. Raises OutputError, UsageError."""
        if self.picture is None:
            raise UsageError("The files are written already.", got=", ".join(str(one.path) for one in self.files))
        return write_picture(self.picture, Path(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"files": [one.to_dict() for one in self.files], "shape": None if self.picture is None else self.picture.shape}

    def _repr_html_(self) -> str:
        return table("enlarged", [(one.text(),) for one in self.files] or [("x".join(map(str, self.to_dict()["shape"])),)])


class EventReport(dict[str, Any]):
    """How well motions are recognized as events: a part for each recognizer, by name (docs/evaluate.md explains the figures);
    shares are between 0 and 1.
    """

    def save(self, path: File) -> Path:
        """Writes it as JSON. Raises OutputError."""
        return save_json(self, path)

    def to_dict(self) -> dict[str, Any]:
        return dict(self)

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{one['streams']['recall']:.1%}", one["streams"]["false_per_minute"], f"{one['singles']['accuracy']:.1%}")
            for name, one in self.items()
        ]
        return table("events", rows, ("recognizer", "recall in streams", "false a minute", "single gestures right"))


@dataclass(frozen=True)
class Recorded:
    """Examples that were recorded: `folder` has a folder of clips for each gesture. held: keeps it while this lives, where none
    was named.
    """

    folder: Path
    clips: tuple[Path, ...]
    held: Kept | None = field(default=None, repr=False)

    def save(self, folder: File) -> Path:
        """Copies all clips of the folder into a new one, whole or not at all. Raises OutputError."""
        return copied(self.folder, Path(folder), "clips")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"folder": str(self.folder), "clips": [str(clip) for clip in self.clips]}

    def _repr_html_(self) -> str:
        return table(str(self.folder), [(clip.parent.name, clip.name) for clip in self.clips], ("gesture", "clip"))


@dataclass(frozen=True)
class Rendered(rendering.Rendered):
    """Clips that were drawn. held: keeps them while this lives, where no folder was named."""

    held: Kept | None = field(default=None, repr=False)

    def save(self, folder: File) -> Path:
        """Copies everything into a new folder, whole or not at all. Raises OutputError."""
        return copied(self.folder, Path(folder), "clips")

    def _repr_html_(self) -> str:
        return table(str(self.folder), [(label,) for label in self.labels], ("label",))


class Taught(teaching.Taught):
    """A model with new gestures, and how well each left-out example was told."""

    def save(self, path: File) -> Path:
        """Writes the step model. Raises OutputError."""
        return modelfile.save(self.model, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; keys name their units."""
        learned, outcome = self.learned, self.learned.outcome
        return {
            "file": str(self.path) if self.path else None, "labels": learned.labels, "examples": self.counts,
            "leave_one_out": {"accuracy": learned.accuracy, "told": learned.told, "events_right": outcome.hits,
                              "events_false": outcome.false, "events_false_on_background": outcome.quiet_false,
                              "events_a_minute_on_background": outcome.quiet_a_minute,
                              "events_a_minute_on_untaught_gestures": outcome.strange_a_minute},
            "background_s": self.background_s, "events": learned.rule.model_dump(), "features": self.width,
            "layer": self.layer, "window_frames": self.window, "means": [mean.model_dump() for mean in self.means],
            "penalty": learned.penalty, "difference": self.difference,
            "seconds": self.seconds, "notes": self.notes, "left_out": [str(error) for error in self.broken],
        }  # fmt: skip

    def _repr_html_(self) -> str:
        rows = [(label, row[label], self.counts[label]) for label, row in self.learned.told.items()]
        title = f"taught {len(rows)} gestures, {self.learned.accuracy:.0%} of the left-out examples right"
        return table(title, rows, ("gesture", "told right", "examples"))


@dataclass(frozen=True)
class Run:
    """The folder of a training or pruning, and what it led to: `result` is the training's own. held: keeps the folder while
    this lives, where none was named.
    """

    path: Path
    result: training.Result | pruning.Result | motions.Result | learning.Result
    held: Kept | None = field(default=None, repr=False)

    @property
    def ended(self) -> bool:
        """It was not interrupted."""
        return self.result.ended

    @property
    def model(self) -> onnx.ModelProto:
        """The finished step model; the clip model where that cannot be streamed. Raises ModelError before there is one."""
        step = self.path / "step.onnx"
        return modelfile.load(step if step.is_file() else self.path / "clip.onnx")

    def save(self, folder: File) -> Path:
        """Copies the run folder into a new one, whole or not at all. Raises OutputError."""
        return copied(self.path, Path(folder), "run", "recipe.toml")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.result.to_dict()

    def text(self) -> str:
        """A few lines for people."""
        return self.result.text()

    def _repr_html_(self) -> str:
        return table(self.path.name, [(line,) for line in self.text().splitlines()])


@dataclass(frozen=True)
class Searched(Run):
    """The folder of a search. `model` is the finished one, where it was trained."""

    result: searching.Result  # type: ignore[assignment]

    @property
    def model(self) -> onnx.ModelProto:
        """Raises ModelError before it is trained."""
        return modelfile.load(self.path / "final" / "step.onnx")

    @property
    def recipe(self) -> Path:
        """Trains the network that was found."""
        return self.path / "best.toml"

    def save(self, folder: File) -> Path:
        """Copies the folder into a new one, whole or not at all. Raises OutputError."""
        return copied(self.path, Path(folder), "search", "search.toml")


class ModelList(Sequence[Card]):
    """Networks of the zoo, by name: `entry` is what is needed to build one, `measured` what it costs. broken: what could not be
    read of other packages.
    """

    def __init__(self, found: Sequence[Card], broken: Sequence[PluginError] = ()) -> None:
        self._found, self.broken = tuple(found), tuple(broken)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, at: int) -> Card: ...
    @overload
    def __getitem__(self, at: slice) -> ModelList: ...
    def __getitem__(self, at: int | slice) -> Card | ModelList:
        return ModelList(self._found[at]) if isinstance(at, slice) else self._found[at]

    def __iter__(self) -> Iterator[Card]:
        return iter(self._found)

    @property
    def names(self) -> list[str]:
        return [card.entry.name for card in self._found]

    def save(self, path: File) -> Path:
        """Writes it as JSON. Raises OutputError."""
        return save_json(self.to_dict(), path)

    def to_dict(self) -> dict[str, Any]:
        """name -> all that is known, as plain values for JSON."""
        return {card.entry.name: card.to_dict() for card in self._found}

    def _repr_html_(self) -> str:
        rows = [(n, r["input"], r["parameters"], r["macs_per_clip"]) for n, r in self.to_dict().items()]
        return table(f"{len(self)} networks", rows, ("name", "C x T x H x W", "parameters", "MACs of a clip"))
