"""Models that find objects in scans of a lidar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from everyframe.api.given import File, Model, paths, trained_source
from everyframe.progress import CountProgress, TextProgress, silent

if TYPE_CHECKING:
    import numpy as np

    from everyframe.api.outcomes import Detected, ScanEvaluation
    from everyframe.tasks.detection.detector import Boxes, BoxStream, Detector


@overload
def detect(
    model: Model, scans: np.ndarray, output: None = None, *, threshold: float = ..., engine: str = ..., threads: int | None = ...
) -> Boxes: ...
@overload
def detect(
    model: Model, scans: Iterator[np.ndarray], output: None = None, *, threshold: float = ..., engine: str = ...,
    threads: int | None = ...,
) -> BoxStream: ...  # fmt: skip
@overload
def detect(
    model: Model, scans: File | Sequence[File], output: File | None = None, *, threshold: float = ..., engine: str = ...,
    threads: int | None = ..., progress: TextProgress | None = ...,
) -> Detected: ...  # fmt: skip
@paths
def detect(
    model: Model,
    scans: File | Sequence[File] | np.ndarray | Iterator[np.ndarray],
    output: File | None = None,
    *,
    threshold: float = 0.3,
    engine: str = "auto",
    threads: int | None = None,
    progress: TextProgress | None = None,
) -> Detected | Boxes | BoxStream:
    """Boxes of cars and people in scans: what `everyframe predict` writes with a model for detection.

    model: the step.onnx of such a training, or its run folder. scans: a scan (.bin, .npy), a folder as KITTI has it, or several
    of them; an array (n, 4) of x, y, z in meters and reflectance of 0..1, which gives its `Boxes`; or an iterator of arrays, such
    as a sensor's, which gives an iterator of theirs. output: a folder for label files and pictures, or one file (.txt, .json,
    .png of one scan, .jsonl or .mp4 of all). threshold: least score. engine, threads: as for `open`. Raises ModelError,
    SourceError, OutputError, EngineError, UsageError.

    >>> ef.detect("step.onnx", "scan.bin")
    Traceback (most recent call last):
    everyframe.errors.ModelError: This model does not detect objects in scans...
    """
    import os

    import numpy as np

    from everyframe.api.outcomes import Detected
    from everyframe.errors import UsageError
    from everyframe.tasks.detection import apply
    from everyframe.tasks.detection.detector import Detector

    _, file = trained_source(model)
    detector = Detector(file, engine=engine, threads=threads, threshold=threshold)
    if isinstance(scans, np.ndarray | Iterator):
        if output is not None:
            raise UsageError("Only boxes of files are written.", where="output", got=output, hint="leave it out")
        if isinstance(scans, np.ndarray):
            with detector:
                return detector.detect(scans)
        return _each(detector, scans)
    given: list[File] = [scans] if isinstance(scans, str | os.PathLike) else list(scans)
    with detector:
        made = apply.run(detector, apply.found(given), None if output is None else Path(output), told=progress or silent)
        return Detected(tuple(made))


@paths
def evaluate_scans(
    model: Model,
    data: File | None = None,
    output: File | None = None,
    *,
    split: str | None = None,
    limit: int | None = None,
    engine: str = "ort",
    threads: int | None = None,
    progress: CountProgress | None = None,
) -> ScanEvaluation:
    """KITTI's average precision of each class and difficulty: on the ground, in space and in the picture. Ctrl-C gives what is
    done.

    model: a model that detects, or the run folder of its training, which knows what it held out. data: a folder as KITTI has it
    (docs/detection.md). split: of its ImageSets; None: all. limit: so many scans, evenly spread. output: a folder for tables.
    Raises ModelError, SourceError, EngineError, OutputError, UsageError.

    >>> ef.evaluate_scans("step.onnx", "scenes")
    Traceback (most recent call last):
    everyframe.errors.ModelError: This model does not detect objects in scans...
    """

    from everyframe.api.outcomes import ScanEvaluation
    from everyframe.data.scans.kitti import find
    from everyframe.errors import UsageError
    from everyframe.recipes import DetectionRecipe
    from everyframe.tasks.detection.detector import Detector
    from everyframe.tasks.detection.evaluate import LEAST, measure
    from everyframe.tasks.detection.scans import held_out, spread

    recipe, file = trained_source(model)
    with Detector(file, engine=engine, threads=threads, threshold=LEAST) as detector:
        if data is not None:
            scans = find(Path(data), split)
        elif isinstance(recipe, DetectionRecipe):
            scans = held_out(recipe)[1]
        else:
            raise UsageError("There is nothing to measure on.", expected="data: a folder of labeled scans", hint="--data FOLDER")
        found = measure(detector, spread(scans, limit), progress=progress or silent)
    made = ScanEvaluation(**vars(found))
    if output is not None:
        made.save(output)
    return made


def _each(detector: Detector, scans: Iterable[np.ndarray]) -> BoxStream:
    with detector:
        for points in scans:
            yield detector.detect(points)
