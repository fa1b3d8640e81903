"""Boxes of scans, one after another: as lines, label files, pictures, and a video of a sequence. Files are written whole or not
at all.

    -o found          a folder: for each scan NAME.txt (as KITTI labels it) and NAME.png, and boxes.jsonl, a line a scan
    -o one.txt|.json|.png   of a single scan
    -o all.jsonl|.mp4       of all of them: lines, or pictures one after another
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from everyframe.data.scans.kitti import Scan, find
from everyframe.errors import EveryframeError, OutputError, UsageError
from everyframe.files import check_kept, check_writable, make_folder, write_bytes
from everyframe.modelfile.schema import Grid
from everyframe.progress import TextProgress, silent
from everyframe.tasks.detection.detector import Boxes, Detector
from everyframe.tasks.detection.draw import picture
from everyframe.tasks.detection.pillars import inside
from everyframe.video.encode import Encoder

LINES = "boxes.jsonl"
#: what a file's name ends in: of one scan, and of all
ONE, ALL = (".txt", ".json", ".png"), (".jsonl", ".mp4")
#: scans a second of a sequence, in a video
RATE = Fraction(10)


@dataclass(frozen=True)
class Found:
    """What was found in a scan. ms: from points to boxes. unseen: the space that the model sees, where no point lies in it."""

    scan: Scan
    boxes: Boxes
    ms: float
    unseen: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        place = {} if self.scan.sequence is None else {"sequence": self.scan.sequence, "frame": self.scan.frame}
        return {"scan": self.scan.name, **place, "ms": round(self.ms, 2), "boxes": self.boxes.to_list()}

    def text(self) -> str:
        names = self.boxes.names
        told = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) or f"nothing{self.unseen}"
        return f"{self.scan.name}  {told}"


def found(sources: Sequence[str | os.PathLike[str]]) -> list[Scan]:
    """Raises SourceError where there are none."""
    return [scan for source in sources for scan in find(Path(source))]


class Writer:
    """output: None writes nothing. Raises OutputError, UsageError before any work."""

    def __init__(self, scans: Sequence[Scan], output: Path | None, detector: Detector) -> None:
        self.output, self.detector = output, detector
        self.suffix = "" if output is None or output.is_dir() else output.suffix.lower()
        self._lines: list[str] = []
        self._video: _Video | None = None
        if output is None:
            return
        if self.suffix in ONE and len(scans) > 1:
            raise UsageError(
                "Several scans cannot become one file of this kind.", where=output, got=f"{len(scans)} scans",
                expected="a folder, or a name that ends in .jsonl or .mp4",
            )  # fmt: skip
        if self.suffix in (*ONE, *ALL):
            check_kept(output, *(str(scan.scan) for scan in scans), *(str(scan.labels) for scan in scans if scan.labels))
            check_writable(output)
        elif self.suffix:
            raise OutputError(
                "Boxes cannot be written under this name.", where=output, got=output.name,
                expected=f"a name that ends in {', '.join((*ONE, *ALL))}, or a folder",
            )  # fmt: skip
        else:
            make_folder(output)
            for scan in scans if len(scans) else ():
                if scan.labels is not None and (output / f"{scan.name}.txt").resolve() == scan.labels.resolve():
                    raise OutputError("This would overwrite what is labeled.", where=scan.labels, hint="name another folder")

    def __call__(self, one: Found, points: np.ndarray) -> None:
        """Raises OutputError."""
        if self.output is None:
            return
        if self.suffix == ".json":
            write_bytes(f"{json.dumps(one.to_dict(), indent=1)}\n".encode(), self.output)
        elif self.suffix == ".txt":
            write_bytes(self._labels(one), self.output)
        elif self.suffix == ".png":
            write_bytes(self._picture(one, points).png(), self.output)
        elif self.suffix == ".mp4":
            picture = self._picture(one, points).array()
            self._video = self._video or _Video()
            self._video.add(picture)
        elif self.suffix:
            self._lines.append(json.dumps(one.to_dict()))
        else:
            labels, drawn = self._labels(one), self._picture(one, points).png()  # a scan that fails here leaves nothing
            name = self.output / one.scan.name
            make_folder(name.parent)
            write_bytes(labels, name.with_name(f"{name.name}.txt"))
            write_bytes(drawn, name.with_name(f"{name.name}.png"))
            self._lines.append(json.dumps(one.to_dict()))

    def close(self) -> None:
        """Writes what holds all of them."""
        if self.output is not None and self._lines:
            lines = "".join(f"{line}\n" for line in self._lines)
            write_bytes(lines.encode(), self.output if self.suffix else self.output / LINES)
        if self.output is not None and self._video is not None:
            write_bytes(self._video.close(), self.output)

    def _labels(self, one: Found) -> bytes:
        return one.boxes.objects(one.scan.calibration()).text().encode()

    def _picture(self, one: Found, points: np.ndarray) -> Any:
        truth = None
        if one.scan.labels is not None:
            labels = one.scan.objects()
            wanted = np.array([name in self.detector.classes for name in labels.names], bool)
            truth = one.scan.calibration().boxes(labels.only(wanted))
        return picture(points, one.boxes, self.detector.grid, self.detector.classes, one.scan.name, truth)


def _unseen(points: np.ndarray, grid: Grid) -> str:
    if inside(points, grid).any():
        return ""
    sides = ", ".join(f"{name} {low:g} to {high:g} m" for name, low, high in zip("xyz", grid.low, grid.high, strict=True))
    return f": no point lies where the model looks ({sides}); are they meters from the lidar, x ahead?"


class _Video:
    """Pictures of one size as an .mp4."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._output = av.open(self._file, "w", format="mp4")
        self._encoder: Encoder | None = None
        self._count = 0

    def add(self, picture: np.ndarray) -> None:
        picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]  # the colors of video are halved
        if self._encoder is None:
            self._encoder = Encoder(self._output, ".mp4", picture.shape[0], picture.shape[1], RATE)
        self._encoder.add(np.ascontiguousarray(picture), self._count / RATE)
        self._count += 1

    def close(self) -> bytes:
        if self._encoder is not None:
            self._encoder.close()
        self._output.close()
        return self._file.getvalue()


def run(
    detector: Detector, scans: Sequence[Scan], output: Path | None = None, *, told: TextProgress = silent,
    failed: Callable[[Scan, EveryframeError], None] | None = None,
) -> Iterator[Found]:  # fmt: skip
    """Each as it is there. failed: told of what cannot be read; None: it is raised. What was found before Ctrl-C is written."""
    writer = Writer(scans, output, detector)
    try:
        for scan in scans:
            told(scan.name)
            try:
                points = scan.points()
                began = time.perf_counter()
                boxes = detector.detect(points, scan.scan)
                one = Found(scan, boxes, 1e3 * (time.perf_counter() - began), _unseen(points, detector.grid))
                writer(one, points)
            except EveryframeError as error:
                if failed is None:
                    raise
                failed(scan, error)
            else:
                yield one
    finally:
        writer.close()
