"""A folder for each class, holding videos, arrays or folders of numbered pictures; splits are folders above, if there are any.
Folders between a class and its clips (of persons, sessions, cameras) are the clips' group.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from everyframe.data.formats.text import FEATURES, Reading, Row, Wanted, split_of
from everyframe.errors import SourceError
from everyframe.video.sources import ARRAYS, PICTURES, VIDEOS, is_litter, natural


def read(wanted: Wanted) -> Reading:
    reading = Reading([])
    tops = _splits(wanted, reading) | wanted.lists
    if "train" not in tops:
        if tops:
            raise SourceError(
                "There are clips for validation or test, but none for training.",
                where=wanted.root, expected="a folder `train`", got=", ".join(path.name for path in tops.values()),
                hint="name the folder of the others `train`; a class needs another name than a split",
            )  # fmt: skip
        tops = {"train": wanted.root}
        reading.problems.clear()
    others: Counter[str] = Counter()
    clips = _suffixes(wanted.root)
    for split, top in tops.items():
        for folder in _below(top):
            others += _read_class(split, folder, wanted.root, clips, reading)
    if others:
        named = ", ".join(f"{suffix} ({count})" for suffix, count in others.most_common())
        reading.problems.append(f"{wanted.root}: {others.total()} files in folders of classes are no videos: {named}")
    if not reading.rows:
        raise SourceError(
            "There are no clips in folders of classes.",
            where=tops["train"],
            expected="CLASS/video.mp4, CLASS/PERSON/video.mp4, or CLASS/CLIP/00001.jpg",
            got="; ".join(reading.problems[-2:]) or _loose(tops["train"], clips),
            hint="data.format says how the clips are listed",
        )
    if len({row.label for row in reading.rows}) == 1 and all(row.group for row in reading.rows):
        only = reading.rows[0]
        raise SourceError(
            "There is one class, and its clips lie in folders below it.", where=only.place,
            expected="CLASS/PERSON/video.mp4 of several classes", got=f"the class {only.label} with folders such as {only.group}",
            hint=f"if those are the classes: data.root = {only.place}",
        )  # fmt: skip
    return reading


def _splits(wanted: Wanted, reading: Reading) -> dict[str, Path]:
    """split -> its folder. Other folders beside them are named. Raises SourceError where two folders would be one split."""
    tops: dict[str, Path] = {}
    for folder in _below(wanted.root):
        if folder in wanted.lists.values():
            continue
        split = split_of(folder.name)
        if split is None or split in wanted.lists:
            reading.problems.append(f"{folder}: no folder of a split that is read; left out")
        elif split in tops:
            raise SourceError(
                f"Two folders are called after one split, {split}.", where=wanted.root, got=f"{tops[split].name}, {folder.name}",
                expected="train, validation, test", hint="join them, or rename one",
            )  # fmt: skip
        else:
            tops[split] = folder
    return tops


def _read_class(split: str, folder: Path, root: Path, clips: frozenset[str], reading: Reading) -> Counter[str]:
    """Adds the clips of a class. Gives the suffixes of files that are none."""
    before = len(reading.rows)
    others: Counter[str] = Counter()
    label = " ".join(folder.name.encode("utf-8", "replace").decode().split())  # labels are a line of text each
    _read_folder(folder, Row(split, "", label, str(folder)), root, clips, reading, others)
    if len(reading.rows) == before:
        reading.problems.append(f"{folder}: no clips in the folder of this class")
    return others


def _read_folder(
    folder: Path,
    row: Row,
    root: Path,
    clips: frozenset[str],
    reading: Reading,
    others: Counter[str],
    above: tuple[Path, ...] = (),
) -> None:
    """row: what its clips have in common. clips: their suffixes. above: the folders on the way to it, where links lead to."""
    pictures, above = 0, (*above, folder.resolve())
    for entry in sorted(_entries(folder), key=lambda path: natural(path.name)):
        suffix = entry.suffix.lower()
        if is_litter(entry.name):
            continue
        if entry.is_symlink() and any(each.is_relative_to(entry.resolve()) for each in above):
            reading.problems.append(f"{entry}: a link back to a folder that it lies in; left out")
        elif entry.is_dir() and _holds_clips(entry, clips):
            _read_folder(entry, replace(row, group=row.group or entry.name), root, clips, reading, others, above)
        elif entry.is_dir() or (
            suffix in clips and (entry.is_file() or not entry.exists())
        ):  # no pipe, which would be waited for
            reading.rows.append(replace(row, name=str(_relative(entry, root))))
        elif suffix in PICTURES:
            pictures += 1
        else:
            others[suffix or "without suffix"] += 1
    if pictures:
        reading.problems.append(f"{folder}: {pictures} pictures lie in the folder of a class; each clip needs its own folder")


def _suffixes(root: Path) -> frozenset[str]:
    """Of clips: videos; where there are neither those nor pictures, arrays, of which a table is one where nothing else is."""
    seen: set[str] = set()
    for _, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_litter(name)]
        seen.update(Path(name).suffix.lower() for name in names if not is_litter(name))
        if seen & (VIDEOS | PICTURES):
            return VIDEOS
    return next((kind for kind in (FEATURES, ARRAYS) if seen & kind), VIDEOS)


def _holds_clips(folder: Path, clips: frozenset[str]) -> bool:
    """Rather than being one: there are videos, arrays or folders in it, and no pictures."""
    found = [path for path in _entries(folder) if not is_litter(path.name)]
    if any(path.suffix.lower() in PICTURES for path in found):
        return False
    return any(path.suffix.lower() in clips or path.is_dir() for path in found)


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _loose(top: Path, clips: frozenset[str]) -> str | None:
    count = sum(path.suffix.lower() in clips for path in _entries(top))
    return f"{count} clips that lie in no folder of a class" if count else None


def _below(folder: Path) -> list[Path]:
    folders = (p for p in _entries(folder) if p.is_dir() and not is_litter(p.name))
    return sorted(folders, key=lambda path: natural(path.name))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise SourceError("The folder of clips cannot be read.", where=folder, got=error.strerror) from None
