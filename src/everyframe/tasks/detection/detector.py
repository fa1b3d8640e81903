"""A model over scans: points in, boxes out, on any engine. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from everyframe.data.scans.objects import Calibration, Objects
from everyframe.data.scans.points import checked
from everyframe.errors import EngineError, ModelError, UsageError
from everyframe.modelfile.file import Held
from everyframe.runtime.program import Program
from everyframe.tasks.detection.decode import VALUES, Cells, Found, decode
from everyframe.tasks.detection.pillars import group, shape

#: the output beside the heat
BOXES = "boxes"
#: least score of what is shown
THRESHOLD = 0.3


@dataclass(frozen=True)
class Boxes:
    """What was found in a scan, the surest first. boxes: (n, 7) x, y, z of the middle, length, width, height (meters), yaw
    (radians), in the lidar's coordinates: x ahead, y to the left, z up. names: classes. scores: (n,) of 0..1.
    """

    boxes: np.ndarray
    names: tuple[str, ...]
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, found: Found, classes: Sequence[str]) -> Boxes:
        return cls(found.boxes, tuple(classes[number] for number in found.labels), found.scores)

    def objects(self, calibration: Calibration) -> Objects:
        """As KITTI has them, without what the camera does not see."""
        made = calibration.objects(self.boxes, self.names, self.scores)
        return made.only(made.truncated < 1)

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values for JSON."""
        names = ("x", "y", "z", "length", "width", "height", "yaw")
        rows = zip(self.names, self.scores, self.boxes, strict=True)
        return [
            {"label": name, "score": round(float(score), 4)}
            | {key: round(float(value), 3) for key, value in zip(names, box, strict=True)}
            for name, score, box in rows
        ]


#: of a sensor's scans, as they come
BoxStream: TypeAlias = Iterator[Boxes]


class Detector:
    """A model file. engine, threads: as `everyframe.open` takes them. threshold: least score. Raises ModelError for a model that
    does not detect, EngineError, UsageError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Held,
        *,
        engine: str = "auto",
        threads: int | None = None,
        threshold: float = THRESHOLD,
    ) -> None:
        if not 0 < threshold <= 1:
            raise UsageError("A threshold is a probability.", where="threshold", expected="above 0, at most 1", got=threshold)
        self.threshold = threshold
        self.program = Program(path, engine=engine, threads=threads)
        metadata, where = self.program.metadata, self.program.path
        if metadata.task != "detect" or metadata.grid is None:
            raise ModelError(
                "This model does not detect objects in scans.", where=where, expected="task detect", got=metadata.task
            )
        self.grid, self.classes = metadata.grid, metadata.labels or ()
        told = {spec.name: spec.shape for spec in metadata.outputs}
        given, boxes, rows = self.program.interface.shape, told.get(BOXES, ()), self.grid.cells[0]
        wanted = (1, *shape(self.grid))
        if given != wanted or len(boxes) != 4 or boxes[1] != VALUES or rows % boxes[2] or not self.classes:
            raise ModelError(
                "This model's input or answer is not that of its grid.", where=where, got=f"{given} in, {boxes} out",
                expected=f"{wanted} in, heat of named classes and {BOXES} (1, {VALUES}, H, W) out",
            )  # fmt: skip
        self.cells = Cells.of(self.grid, rows // boxes[2])
        self._run = self.program.start()

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.close()

    def maps(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 4) -> heat (classes, H, W), values (8, H, W). Raises EngineError."""
        heat = self._run.step(group(points, self.grid)[None])[0]
        values = self._run.others[BOXES][0]
        if not (np.isfinite(heat).all() and np.isfinite(values).all()):
            raise EngineError(
                "The model's answer is not finite.", where=self.program.path, got="NaN or infinity",
                hint="its weights are damaged, or its training came to nothing: train it again",
            )  # fmt: skip
        return heat, values

    def detect(self, points: np.ndarray, where: object = "points") -> Boxes:
        """points: (n, 3) or (n, 4) x, y, z in meters, reflectance of 0..1. Raises SourceError for what is no scan."""
        return Boxes.of(decode(*self.maps(checked(points, where)), self.cells, self.threshold), self.classes)
