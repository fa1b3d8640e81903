"""KITTI's folders.

    ROOT/training/velodyne/000000.bin           single scans: label_2/000000.txt, calib/000000.txt,
    ROOT/ImageSets/train.txt                    and, where somebody has made them, lists of their names
    ROOT/training/velodyne/0000/000000.bin      sequences, ten scans a second: label_02/0000.txt, calib/0000.txt

A folder that holds `velodyne` will do as well, and so will one with nothing but scans, which then have no labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from everyframe.data.scans import objects, points
from everyframe.data.scans.objects import Calibration, Objects
from everyframe.errors import SourceError
from everyframe.files import at_home

_VELODYNE, _CALIB = "velodyne", "calib"
_SINGLE, _SEQUENCES = "label_2", "label_02"


@dataclass(frozen=True)
class Scan:
    """scan: its file. labels, calib: their files, where there are any. sequence: the name of the one it belongs to, in which it
    is number `frame`; None: it stands alone.
    """

    scan: Path
    labels: Path | None = None
    calib: Path | None = None
    sequence: str | None = None
    frame: int = 0

    @property
    def name(self) -> str:
        return self.scan.stem if self.sequence is None else f"{self.sequence}/{self.scan.stem}"

    def points(self) -> np.ndarray:
        """(n, 4). Raises SourceError."""
        return points.read(self.scan)

    def calibration(self) -> Calibration:
        """That of KITTI's car where there is none. Raises SourceError."""
        return Calibration() if self.calib is None else objects.read_calibration(_text(self.calib), self.calib)

    def objects(self) -> Objects:
        """What is labeled in it. Raises SourceError."""
        if self.labels is None:
            raise SourceError("The scan has no labels.", where=self.scan, expected=f"{_SINGLE}/{self.scan.stem}.txt beside it")
        if self.sequence is None:
            return objects.parse(_text(self.labels).splitlines(), self.labels)
        return _tracked(self.labels).get(self.frame, Objects.none())


def find(folder: Path, split: str | None = None) -> list[Scan]:
    """The scans of a folder, in order. split: of `ImageSets`; None: all. Raises SourceError where there are none."""
    folder = Path(at_home(folder))
    if not folder.exists():
        raise SourceError("There is no such scan, and no such folder.", where=folder, hint="check the path")
    if folder.is_file():
        return [Scan(folder, *_beside(folder))]
    root = next((each for each in (folder, folder / "training", folder / "testing") if (each / _VELODYNE).is_dir()), None)
    if root is None:
        found = [Scan(path, *_beside(path)) for path in _scans(folder)] or _sequences(folder)
    else:
        found = [Scan(path, *_beside(path)) for path in _scans(root / _VELODYNE)] or _sequences(root / _VELODYNE)
    if not found:
        there = sorted(path.name for path in folder.iterdir())[:4]
        raise SourceError(
            "There are no scans here.", where=folder, got=", ".join(there) or "an empty folder",
            expected="velodyne/*.bin, training/velodyne/*.bin, or *.bin as KITTI has them",
        )  # fmt: skip
    return found if split is None else _listed(found, folder, split)


def splits(folder: Path) -> dict[str, Path]:
    """Lists of names that come with the data: train.txt, val.txt, ..."""
    return {path.stem: path for path in sorted((folder / "ImageSets").glob("*.txt"))}


def sequences(scans: Sequence[Scan]) -> Mapping[str | None, list[Scan]]:
    """The same by their sequence; None: those that stand alone."""
    made: dict[str | None, list[Scan]] = {}
    for scan in scans:
        made.setdefault(scan.sequence, []).append(scan)
    return made


def _scans(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in points.SCANS and path.is_file())


def _sequences(velodyne: Path) -> list[Scan]:
    found = []
    for folder in sorted(path for path in velodyne.glob("*") if path.is_dir()):
        labels, calib = (velodyne.parent / each / f"{folder.name}.txt" for each in (_SEQUENCES, _CALIB))
        for place, path in enumerate(_scans(folder)):
            frame = int(path.stem) if path.stem.isdigit() else place
            found.append(Scan(path, _there(labels), _there(calib), folder.name, frame))
    return found


def _beside(scan: Path) -> tuple[Path | None, Path | None]:
    """Labels and calibration of a scan, where KITTI puts them."""
    root = scan.parent.parent
    if scan.parent.name != _VELODYNE:
        return None, None
    return _there(root / _SINGLE / f"{scan.stem}.txt"), _there(root / _CALIB / f"{scan.stem}.txt")


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _listed(found: list[Scan], folder: Path, split: str) -> list[Scan]:
    lists = splits(folder)
    if split not in lists:
        raise SourceError(
            "There is no list of this split.", where=folder / "ImageSets", expected=", ".join(lists) or "no lists are there",
            got=split,
        )  # fmt: skip
    wanted = _text(lists[split]).split()
    by_name = {scan.name: scan for scan in found} | {scan.sequence: scan for scan in found if scan.sequence}
    if gone := [name for name in wanted if name not in by_name]:
        raise SourceError("A scan of the list is not there.", where=lists[split], got=gone[0])
    chosen = set(wanted)
    return [scan for scan in found if scan.name in chosen or scan.sequence in chosen]


def _tracked(path: Path) -> dict[int, Objects]:
    """The labels of a sequence: frame and track stand before the rest of each line."""
    found = path.stat()
    return _parsed(path, (found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=8)  # its scans ask one after another
def _parsed(path: Path, stamp: tuple[int, int]) -> dict[int, Objects]:
    lines: dict[int, list[str]] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        match = re.match(r"\s*(\d+)\s+-?\d+\s+(.+)", line)
        if match is None and line.strip():
            raise SourceError("This is no line of a sequence's labels.", where=f"{path}, line {number}", got=line[:80],
                              expected="frame and track, then a class and 14 numbers")  # fmt: skip
        if match is not None:
            lines.setdefault(int(match[1]), []).append(match[2])
    return {frame: objects.parse(each, path) for frame, each in lines.items()}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError("The file cannot be read.", where=path, got=error) from None
