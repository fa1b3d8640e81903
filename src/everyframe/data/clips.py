"""What annotations say: clips, their labels, and how they are split."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from everyframe.errors import SourceError
from everyframe.video.sources import ARRAYS, PICTURES, Source

#: which numbered pictures of a folder are the video where others lie beside them (optical flow, mostly)
PREFIXES = ("img_", "image_", "frame_", "frame", "")
_NUMBERED = re.compile(r"^(.*?)(\d+)(\.\w+)$")


@dataclass(frozen=True)
class Clip:
    """path: a video file, an array of pictures in a file, or a folder of numbered pictures. label: its class, -1 if not known.
    name: as the annotation has it. pictures: the pattern of their names, such as "img_{:05d}.jpg", beginning with number
    `first`, `count` of them; None: a file. span: seconds (begin, end) within the file.
    group: of clips that belong together, such as those of one person; None if not known. backwards: training plays it so.
    """

    path: Path
    label: int
    name: str
    pictures: str | None = None
    count: int | None = None
    first: int = 1
    span: tuple[float, float] | None = None
    group: str | None = None
    backwards: bool = False

    @property
    def source(self) -> Source:
        array = self.path.suffix.lower() in ARRAYS
        return Source("pictures" if self.pictures else "array" if array else "file", self.path.name, self.files())

    def files(self) -> tuple[str, ...]:
        """The file, or the pictures in their order."""
        if self.pictures is None:
            return (str(self.path),)
        numbers = range(self.first, self.first + (self.count or 0))
        return tuple(os.path.join(self.path, self.pictures.format(number)) for number in numbers)  # noqa: PTH118


@dataclass(frozen=True)
class Collection:
    """splits: "train", "validation" and perhaps "test". problems: what was left out or doubtful, with its place. held: the
    data has no split for validation; that one is a share of the clips for training, held out here.
    """

    labels: tuple[str, ...]
    splits: Mapping[str, tuple[Clip, ...]]
    problems: tuple[str, ...] = ()
    held: bool = False


def folder_clip(folder: Path, label: int, name: str, count: int | None = None, offset: int = 0) -> Clip:
    """A folder of numbered pictures as a clip. count: as many as the annotation says, behind the first `offset`. Raises
    SourceError where the pictures are not one unbroken row of numbers, or fewer than that.
    """
    rows: dict[tuple[str, str], list[str]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            found = _NUMBERED.match(entry.name)
            if found and found[3].lower() in PICTURES and not entry.name.startswith("."):
                rows.setdefault((found[1], found[3]), []).append(found[2])
    chosen = _video_row(folder, rows)
    digits = rows[chosen]
    numbers = sorted(map(int, digits))
    first, last = numbers[0], numbers[-1]
    width = min(map(len, digits))
    prefix, suffix = (part.replace("{", "{{").replace("}", "}}") for part in chosen)
    missing = sorted(set(range(first, last + 1)).difference(numbers))
    if missing or offset + (count or 1) > len(numbers):
        raise SourceError(
            "Pictures are missing.",
            where=folder,
            expected=f"{offset + (count or 1)} pictures" if not missing else f"numbers {first} to {last} without a gap",
            got=f"{len(numbers)} pictures" + (f"; the first that is missing has number {missing[0]}" if missing else ""),
        )
    return Clip(folder, label, name, f"{prefix}{{:0{width}d}}{suffix}", count or len(numbers) - offset, first + offset)


def _video_row(folder: Path, rows: Mapping[tuple[str, str], object]) -> tuple[str, str]:
    if not rows:
        raise SourceError("There are no numbered pictures in this folder.", where=folder, expected="such as 00001.jpg")
    if len(rows) == 1:
        return next(iter(rows))
    named = [key for prefix in PREFIXES for key in sorted(rows) if key[0].lower() == prefix]
    if not named or (len(named) > 1 and named[0][0] == named[1][0]):
        raise SourceError(
            "There are several rows of pictures in this folder.",
            where=folder,
            expected=f"one row, or one whose names begin with {', '.join(filter(None, PREFIXES))}",
            got=", ".join(f"{prefix}…{suffix}" for prefix, suffix in sorted(rows)),
        )
    return named[0]


def held_out(clips: Iterable[Clip], share: float) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """(train, validation): `share` of each class, at least one clip of two, chosen by the names alone, so that a clip
    stays where it is when others are added.

    Where clips have groups that go across classes, such as persons, whole groups are held out instead: `share` of the clips, as
    far as no class is left without clips for training.
    """
    clips = tuple(clips)
    chosen = _groups(clips, share) or _names(clips, share)
    return tuple(c for c in clips if c.name not in chosen), tuple(c for c in clips if c.name in chosen)


def grouped(clips: Iterable[Clip]) -> bool:
    """Every clip has a group, and some group has clips of several classes: a person or a session, not a kind of the class."""
    labels: dict[str | None, set[int]] = {}
    for clip in clips:
        labels.setdefault(clip.group, set()).add(clip.label)
    return None not in labels and any(len(found) > 1 for found in labels.values())


def _groups(clips: tuple[Clip, ...], share: float) -> set[str]:
    """Names of the clips of some groups; none where clips have no such groups, or too few of them."""
    if not grouped(clips):
        return set()
    left = Counter(clip.label for clip in clips)
    members: dict[str, list[Clip]] = {}
    for clip in clips:
        members.setdefault(str(clip.group), []).append(clip)
    chosen: set[str] = set()
    for group in sorted(members, key=_rank):
        counts = Counter(clip.label for clip in members[group])
        if len(chosen) < share * len(clips) and all(left[label] > count for label, count in counts.items()):
            chosen.update(clip.name for clip in members[group])
            left -= counts
    return chosen


def _names(clips: tuple[Clip, ...], share: float) -> set[str]:
    classes: dict[int, list[Clip]] = {}
    for clip in clips:
        classes.setdefault(clip.label, []).append(clip)
    chosen: set[str] = set()
    for members in classes.values():
        ranked = sorted(members, key=lambda clip: _rank(clip.name))
        wanted = min(len(members) - 1, max(1, round(share * len(members))))
        chosen.update(clip.name for clip in ranked[:wanted])
    return chosen


def _rank(name: str) -> bytes:
    return hashlib.sha256(os.fsencode(name)).digest()
