"""A folder for each class, holding videos or folders of numbered pictures; splits are folders above, if there are any."""

from __future__ import annotations

from pathlib import Path

from everyframe.data.formats.text import Reading, Row, Wanted
from everyframe.errors import SourceError
from everyframe.video.sources import PICTURES, VIDEOS, natural

SPLITS = {"train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test", "testing")}


def read(wanted: Wanted) -> Reading:
    found = {split: [wanted.root / name for name in names if (wanted.root / name).is_dir()] for split, names in SPLITS.items()}
    tops = {split: folders[0] for split, folders in found.items() if folders} | wanted.lists
    if "train" not in tops:
        if tops:
            raise SourceError(
                "There are clips for validation or test, but none for training.",
                where=wanted.root, expected="a folder `train`", got=", ".join(path.name for path in tops.values()),
            )  # fmt: skip
        tops = {"train": wanted.root}
    reading = Reading([])
    for split, top in tops.items():
        for folder in _below(top):
            _read_class(split, folder, wanted.root, reading)
    if not reading.rows:
        raise SourceError(
            "There are no clips in folders of classes.",
            where=tops["train"],
            expected="CLASS/video.mp4, or CLASS/CLIP/00001.jpg",
            hint="data.format says how the clips are listed",
        )
    return reading


def _read_class(split: str, folder: Path, root: Path, reading: Reading) -> None:
    before = len(reading.rows)
    pictures = 0
    for entry in sorted(folder.iterdir(), key=lambda path: natural(path.name)):
        suffix = entry.suffix.lower()
        if entry.name.startswith("."):
            continue
        if entry.is_dir() or suffix in VIDEOS:
            reading.rows.append(Row(split, str(_relative(entry, root)), folder.name, str(folder)))
        pictures += suffix in PICTURES
    if pictures:
        reading.problems.append(f"{folder}: {pictures} pictures lie in the folder of a class; each clip needs its own folder")
    if len(reading.rows) == before:
        reading.problems.append(f"{folder}: no clips in the folder of this class")


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _below(folder: Path) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise SourceError("The folder of clips cannot be read.", where=folder, got=error.strerror) from None
    return sorted((p for p in entries if p.is_dir() and not p.name.startswith(".")), key=lambda path: natural(path.name))
