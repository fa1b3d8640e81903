"""What annotation formats share: text without its traps, names of classes, and where the clips lie."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from everyframe.data.clips import Clip, folder_clip
from everyframe.errors import SourceError
from everyframe.video.sources import VIDEOS, is_litter

#: how people call the splits, in small letters without what stands between words
SPLITS = {
    "train": ("train", "training", "trainset", "trainingset", "traindata"),
    "validation": ("val", "valid", "validate", "validation", "validating", "valset", "validset", "validationset", "eval",
                   "evaluate", "evaluation", "dev", "devset"),
    "test": ("test", "testing", "tests", "testset", "testingset", "testdata"),
}  # fmt: skip
SHOWN = 20  # lines by which a table is told
_SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
#: suffixes of arrays that lists may leave out; a .csv is rather a list itself
FEATURES = frozenset({".npy", ".npz"})
_ELSEWHERE = re.compile(r"^([A-Za-z]:)?[\\/]")  # absolute, here or on Windows
#: what a list of nothing but classes may begin with
HEADER = frozenset({"label", "labels", "class", "class_id", "classes", "name", "names", "id"})


@dataclass(frozen=True)
class Row:
    """One line of an annotation. label: the name of a class, or its number as written; None if not known. place: file
    and line, for messages. count: number of pictures where it says so, behind the first `offset`. folders: where the clip
    may lie, below root or anywhere. group: of clips that belong together, such as those of one person; None if not known.
    path: where it is, if that has been found already.
    """

    split: str
    name: str
    label: str | int | None
    place: str
    count: int | None = None
    span: tuple[float, float] | None = None
    folders: tuple[str, ...] = ("",)
    offset: int = 0
    group: str | None = None
    path: Path | None = None


@dataclass(frozen=True)
class Reading:
    """What a format makes of its files. labels: names of the classes by their number; None: they are in the rows."""

    rows: list[Row]
    labels: dict[int, str] | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """What the recipe says about the data, its lists found and made absolute. labels: None if not given."""

    root: Path
    lists: dict[str, Path]
    labels: Path | None


def lines(path: Path, *, strip: bool = True) -> Iterator[tuple[int, str]]:
    """(number, line) of all that are not empty, without byte order mark, carriage returns and, with `strip`, outer blanks."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")  # "Unicode text" of spreadsheets
    except OSError as error:
        raise SourceError("The annotation cannot be read.", where=path, got=error.strerror or error) from None
    except UnicodeDecodeError as error:
        raise SourceError(
            "The annotation is not text in UTF-8.",
            where=path,
            got=error,
            hint="save a list as UTF-8; of clips themselves give their folder",
        ) from None
    for number, line in enumerate(text.splitlines(), 1):
        if stripped := line.strip():
            yield number, stripped if strip else line


def delimiter_of(rows: Sequence[str]) -> str | None:
    """What stands between the cells of all of these lines, as often in each, if there is one; else what is in the most."""
    marks = {mark: [row.count(mark) for row in rows] for mark in "\t;,|"}
    even = [mark for mark, counts in marks.items() if min(counts, default=0) and len(set(counts)) == 1]
    return next(iter(even), max(marks, key=lambda mark: sum(map(bool, marks[mark]))) if any(map(any, marks.values())) else None)


def cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of a table. Quotes are understood."""
    rows = list(lines(path))
    delimiter = delimiter_of([line for _, line in rows[:SHOWN]]) or ","
    for number, line in rows:
        yield number, [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]


def split_of(name: str) -> str | None:
    """The split that a folder or a cell is called after, such as `Val` or `test_set`."""
    return _SPLIT_OF.get(re.sub(r"[\W_\d]+", "", name).lower())


def json_of(path: Path) -> Any:
    try:
        return json.loads("\n".join(line for _, line in lines(path)))
    except json.JSONDecodeError as error:
        raise SourceError("The annotation is not valid JSON.", where=f"{path}, line {error.lineno}", got=error.msg) from None


def unusable(place: str, expected: str, got: object) -> SourceError:
    return SourceError("This line of the annotation is not understood.", where=place, expected=expected, got=got)


def label_names(path: Path) -> tuple[dict[int, str], bool]:
    """({number: name}, whether the file gives the numbers itself).

    Understood are a name a line, `1 Name` or `1,Name` a line (classInd.txt), and JSON: a list of names, or an object
    from name to number or from number to name.
    """
    if path.suffix.lower() == ".json":
        found = json_of(path)
        if isinstance(found, dict):
            pairs = [(int(v), k) if str(v).isdecimal() else (int(k), v) if k.isdecimal() else (-1, k) for k, v in found.items()]
            if any(number < 0 for number, _ in pairs):
                raise unusable(str(path), "numbers of classes", dict(list(found.items())[:2]))
            return _unique(path, [(number, str(name).strip('"')) for number, name in pairs]), True
        return _unique(path, list(enumerate(map(str, found)))), False
    rows = [row for _, row in lines(path)]
    split = [row.replace(",", " ", 1).replace("\t", " ", 1).split(maxsplit=1) for row in rows]
    if rows and all(len(parts) == 2 and parts[0].isdecimal() for parts in split):
        return _unique(path, [(int(number), name.strip().strip('"')) for number, name in split]), True
    names = [next(csv.reader([row], delimiter="\n", skipinitialspace=True))[0].strip() for row in rows]
    names = names[1:] if names and names[0].lower() in HEADER else names
    return _unique(path, list(enumerate(names))), False


def _unique(path: Path, pairs: list[tuple[int, str]]) -> dict[int, str]:
    numbers, names = [n for n, _ in pairs], [name for _, name in pairs]
    kinds: tuple[tuple[str, list[Any]], ...] = (("number", numbers), ("name", names))
    for kind, values in kinds:
        if twice := sorted({str(v) for v in values if values.count(v) > 1}):
            raise SourceError(f"A {kind} of a class stands twice in the list of labels.", where=path, got=", ".join(twice[:3]))
    if not pairs:
        raise SourceError("The list of labels is empty.", where=path)
    return dict(sorted(pairs))


class Places:
    """Finds clips below a folder: with or without suffix, files or folders of pictures. Each folder is read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: dict[str, dict[str, str]] = {}

    def _entries(self, folder: str) -> dict[str, str]:
        """Name, and stem of videos, -> name."""
        if folder not in self._seen:
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208 (a million names need no Path each)
            except OSError:
                names = []
            split = [(*os.path.splitext(name), name) for name in names if not is_litter(name)]  # noqa: PTH122
            stems = {stem: name for stem, suffix, name in split if suffix.lower() in VIDEOS}
            # a clip's own file comes before features of the same name
            features = {stem: name for stem, suffix, name in split if suffix.lower() in FEATURES}
            self._seen[folder] = features | stems | {name: name for name in names}
        return self._seen[folder]

    def find(self, name: str, folders: Iterable[str] = ("",)) -> Path | None:
        """The first of root/folder/name that exists; of another computer's path, the longest end that does."""
        name = name if Path(name).is_absolute() else name.replace("\\", "/")
        if _ELSEWHERE.match(name):
            if Path(name).exists():
                return Path(name)
            parts = [part for part in re.split(r"[\\/]", name) if part][1:]
            ends = ["/".join(parts[begin:]) for begin in range(len(parts))]
        else:
            parts = [part for part in name.split("/") if part not in ("", ".")]
            ends = ["/".join(parts), *(["/".join(parts[1:])] if len(parts) > 1 and parts[0] == self.root.name else [])]
        for end, folder in product(ends, dict.fromkeys(folders)):
            parent, _, last = str(self.root / folder / end).rpartition("/")
            if last in (entries := self._entries(parent)):
                return Path(parent, entries[last])
        return None

    def clip(self, row: Row, label: int) -> Clip:
        """Raises SourceError where it is missing or has no usable pictures."""
        path = row.path or self.find(row.name, row.folders)
        if path is None:
            raise SourceError("The clip is missing.", where=self.root / row.folders[0] / row.name, got=f"listed in {row.place}")
        if path.is_dir():
            return replace(folder_clip(path, label, row.name, row.count, row.offset), group=row.group)
        return Clip(path, label, row.name, span=row.span, group=row.group)
