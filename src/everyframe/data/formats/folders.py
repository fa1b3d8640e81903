"""A folder for each class, holding videos or folders of numbered pictures; splits are folders above, if there are any."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from everyframe.data.formats.text import Reading, Row, Wanted
from everyframe.errors import SourceError
from everyframe.video.sources import PICTURES, VIDEOS, is_litter, natural

#: what lies beside videos and is meant to
BESIDE = frozenset({".txt", ".md", ".csv", ".json", ".xml", ".srt", ".db", ".ini"})
SPLITS = {
    "train": ("train", "training", "trainset", "train_set"),
    "validation": ("val", "valid", "validate", "validation", "valset", "val_set", "dev"),
    "test": ("test", "testing", "tests", "testset", "test_set"),
}


def read(wanted: Wanted) -> Reading:
    below = _below(wanted.root)
    plain = {folder: folder.name.casefold().replace("-", "_").replace(" ", "_") for folder in below}
    found = {split: [f for name in names for f in below if plain[f] == name] for split, names in SPLITS.items()}
    tops = {split: folders[0] for split, folders in found.items() if folders} | wanted.lists
    problems = []
    if "train" in tops:
        problems = [f"{f}: this folder beside {tops['train'].name} is not read" for f in below if f not in tops.values()]
    else:
        if tops:
            raise SourceError(
                "There are clips for validation or test, but none for training.",
                where=wanted.root, expected="a folder `train`", got=", ".join(path.name for path in tops.values()),
            )  # fmt: skip
        tops = {"train": wanted.root}
    reading = Reading([], problems=problems)
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
    pictures, others = 0, Counter[str]()
    for entry in sorted(folder.iterdir(), key=lambda path: natural(path.name)):
        suffix = entry.suffix.lower()
        if is_litter(entry):
            continue
        if entry.is_dir() or suffix in VIDEOS:
            reading.rows.append(Row(split, str(_relative(entry, root)), folder.name, str(folder)))
        elif suffix in PICTURES:
            pictures += 1
        elif suffix not in BESIDE:
            others[suffix or "none"] += 1
    if pictures:
        reading.problems.append(f"{folder}: {pictures} pictures lie in the folder of a class; each clip needs its own folder")
    if others:
        told = ", ".join(f"{count} of suffix {suffix}" for suffix, count in others.items())
        reading.problems.append(f"{folder}: files that are not known to be videos are left out: {told}")
    if len(reading.rows) == before:
        reading.problems.append(f"{folder}: no clips in the folder of this class")


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _below(folder: Path) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise SourceError("The folder of clips cannot be read.", where=folder, got=error.strerror) from None
    return sorted((p for p in entries if p.is_dir() and not is_litter(p)), key=lambda path: natural(path.name))
