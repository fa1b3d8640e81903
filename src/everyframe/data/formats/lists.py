"""Lists of clips, one a line: `path label`, `folder pictures label`, `folder offset pictures label` (mmaction2, TSM), and tables.

Blanks, commas, semicolons, tabs or bars stand between them. A header says which column is which; without one that is the
path of which a file is there, and a column that counts the lines is the index that pandas writes.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from everyframe.data.formats.text import SHOWN, Places, Reading, Row, Wanted, delimiter_of, label_names, lines, split_of, unusable
from everyframe.errors import SourceError

#: what a column is called, in small letters without what stands between words; of several that are there the first one counts
COLUMNS = {
    "path": ("path", "filepath", "videopath", "clippath", "fullpath", "relpath", "relativepath", "file", "filename", "videofile",
             "videofilename", "video", "videoname", "clip", "clipname", "framedir", "framesdir", "folder", "directory", "dir",
             "name", "fname", "uri", "url", "src", "source", "videoid", "clipid", "sample", "id"),
    "label": ("label", "labels", "labelname", "class", "classname", "classes", "category", "categoryname", "tag", "tags",
              "action", "actionname", "actionlabel", "activity", "gesture", "gesturename", "target", "annotation", "y",
              "classid", "labelid", "classindex", "classidx", "labelindex", "labelidx", "actionid", "categoryid"),
    "count": ("frames", "nframes", "numframes", "framecount", "totalframes", "numberofframes", "count", "length", "pictures"),
    "offset": ("offset", "startframe", "startindex"),
    "split": ("split", "subset", "set", "partition", "usage", "phase"),
}  # fmt: skip
_INDEX = frozenset({"", "unnamed0", "index", "idx", "no", "nr", "row"})
_TIMES = frozenset({"start", "end", "begin", "starttime", "endtime", "timestart", "timeend", "startsec", "endsec", "endframe"})


@dataclass(frozen=True)
class _Columns:
    """Where each stands in a line; None: it is not there."""

    path: int
    label: int
    count: int | None = None
    offset: int | None = None
    split: int | None = None


def read(wanted: Wanted) -> Reading:
    places = Places(wanted.root)
    rows = [row for split, path in wanted.lists.items() for row in _rows(split, path, places, len(wanted.lists) == 1)]
    names = label_names(wanted.labels)[0] if wanted.labels else None
    return Reading(rows, names)


def _rows(split: str, path: Path, places: Places, alone: bool) -> list[Row]:
    """alone: a column `split` of the only list says where its clips belong."""
    table, blanks = table_of(path)
    if not table:
        raise SourceError("The list of clips is empty.", where=path, expected="a line for each clip: its path and its label")
    folders = ("", str(path.parent.absolute()))
    columns = _named(table[0][1], path)
    if columns is not None:
        body = [(number, _joined(line, len(table[0][1]), columns) if blanks else line) for number, line in table[1:]]
    else:
        for number, line in table:
            if len(line) < 2 or (not blanks and _width(line) != _width(table[0][1])):
                raise unusable(f"{path}, line {number}", "`path label` or `folder pictures label`", " ".join(line))
        body = [(number, _unnamed(line, places, folders)) for number, line in table] if blanks else table
        columns = _Columns(0, 3, 2, 1) if blanks else _told(body, path, places, folders)
        first = body[0][1][columns.path]
        others = (places.find(line[columns.path], folders) for _, line in body[1:SHOWN])
        if first.isidentifier() and not places.find(first, folders) and any(others):
            raise _question(path, table[0][1])  # a header in words that are not known, most likely
    return [_row(split, line, f"{path}, line {number}", columns, folders, alone) for number, line in body]


def table_of(path: Path) -> tuple[list[tuple[int, list[str]]], bool]:
    """([(line, cells)], whether only blanks stand between them)."""
    rows = [(number, text) for number, text in lines(path, strip=False) if not text.startswith("#") and text.strip(" \t,;|")]
    mark = delimiter_of([text for _, text in rows[:SHOWN]])
    cut = (
        csv.reader([text for _, text in rows], delimiter=mark or " ", skipinitialspace=True)
        if mark or any('"' in text for _, text in rows)
        else (text.split() for _, text in rows)
    )
    try:
        table = [(number, [cell.strip() for cell in cells]) for (number, _), cells in zip(rows, cut, strict=False)]
    except csv.Error as error:
        raise SourceError("The list of clips is no table.", where=path, got=error, expected="a line for each clip") from None
    return table, mark is None


def plain_of(cell: str) -> str:
    return "".join(filter(str.isalnum, cell.lower()))


def _named(header: Sequence[str], path: Path) -> _Columns | None:
    """The columns that a header names; None: the line is none. Raises SourceError for a header that leaves it open."""
    plain = [plain_of(cell) for cell in header]
    found = {kind: next((plain.index(name) for name in names if name in plain), None) for kind, names in COLUMNS.items()}
    known = {name for names in COLUMNS.values() for name in names} | _INDEX
    if found["path"] is None and found["label"] is None:
        return None
    if times := [cell for cell in header if plain_of(cell) in _TIMES]:
        raise SourceError(
            "A list does not take parts of a clip.", where=path, got=f"columns {', '.join(times)}",
            hint="cut the clips, use format kinetics (time_start, time_end in seconds), or take these columns out",
        )  # fmt: skip
    open_ = [place for place, name in enumerate(plain) if name not in known]
    if open_ and (any(not header[place].isidentifier() for place in open_) or len(plain) == len(open_)):
        return None  # such as `clips/1.mp4,wave`, or a clip that is called `video`
    for kind in ("path", "label"):
        if found[kind] is None and len(open_) == 1:
            found[kind] = open_[0]
    if (at := found["path"]) is None or (label := found["label"]) is None:
        raise _question(path, header)
    return _Columns(at, label, found["count"], found["offset"], found["split"])


def _question(path: Path, line: Sequence[str]) -> SourceError:
    return SourceError(
        "It cannot be told which column of the list is the clip's path and which its label.",
        where=path, got=", ".join(line), expected="a header such as `path,label`",
        hint="write a first line that calls the columns `path` and `label`; others are left alone",
    )  # fmt: skip


def _joined(line: list[str], wanted: int, columns: _Columns) -> list[str]:
    """A line of words with as many cells as the header: what is too much are blanks in the path."""
    more, at = len(line) - wanted, columns.path
    return [*line[:at], " ".join(line[at : at + more + 1]), *line[at + more + 1 :]] if more > 0 else line


def _width(line: Sequence[str]) -> int:
    """Cells up to the last that holds something."""
    return max((place for place, cell in enumerate(line, 1) if cell), default=0)


def _unnamed(line: list[str], places: Places, folders: Sequence[str]) -> list[str]:
    """Words -> [path, offset, pictures, label]: the path is as long as a clip of that name is there; before it an index."""
    for begin in (0, 1):
        for behind in (1, 2, 3):
            if len(line) > begin + behind and places.find(" ".join(line[begin:-behind]), folders):
                return _padded(line[begin:], behind)
    if len(line) == 2 and places.find(line[1], folders):
        return _padded(line[::-1], 1)
    numbers = next((n for n, cell in enumerate(reversed(line[1:-1])) if not cell.isdecimal()), len(line) - 2)
    return _padded(line, 1 + min(numbers, 2))


def _padded(line: list[str], behind: int) -> list[str]:
    *numbers, label = line[-behind:]
    return [" ".join(line[:-behind]), *[""] * (2 - len(numbers)), *numbers, label]


def _told(body: list[tuple[int, list[str]]], path: Path, places: Places, folders: Sequence[str]) -> _Columns:
    """Columns without a header, by what is there."""
    shown = [line for _, line in body[:SHOWN]]
    width = max(map(_width, shown))
    # different ones: a label may be the name of a folder
    there = [sum(places.find(cell, folders) is not None for cell in {line[place] for line in shown}) for place in range(width)]
    counts = [line[0] for line in shown] in ([str(n + first) for n in range(len(shown))] for first in (0, 1))
    at = max(range(width), key=lambda place: (there[place], -place)) if any(there) else int(counts and width > 2)
    others = [place for place in range(width) if place != at and not (place == 0 and counts and width > 2)]
    *numbers, label = others
    if not all(line[place].isdecimal() for place in numbers for line in shown) or len(numbers) > 2:
        raise _question(path, shown[0])
    offset, count = numbers if len(numbers) == 2 else [None, *numbers] if numbers else [None, None]
    return _Columns(at, label, count, offset)


def _row(split: str, line: list[str], place: str, columns: _Columns, folders: tuple[str, ...], alone: bool) -> Row:
    if len(line) <= max(columns.path, columns.label) or not line[columns.path] or not line[columns.label]:
        raise unusable(place, "a path and a label", ",".join(line))

    def number(at: int | None) -> int | None:
        return int(line[at]) if at is not None and at < len(line) and line[at].isdecimal() else None

    said = split_of(line[columns.split]) if alone and columns.split is not None and columns.split < len(line) else None
    label = line[columns.label]
    return Row(
        said or split, line[columns.path], int(label) if label.isdecimal() else label, place, number(columns.count),
        folders=folders, offset=number(columns.offset) or 0,
    )  # fmt: skip
