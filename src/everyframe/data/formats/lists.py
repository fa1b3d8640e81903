"""Lists as mmaction2 and TSM have them: `path label`, or `folder number-of-pictures label`, one clip a line.

Also with commas, semicolons or tabs between them, a header line, names of classes instead of numbers.
"""

from __future__ import annotations

from pathlib import Path

from everyframe.data.formats.text import Places, Reading, Row, Wanted, cells, is_header, label_names, lines, unusable


def read(wanted: Wanted) -> Reading:
    places = Places(wanted.root)
    rows = [row for split, path in wanted.lists.items() for row in _rows(split, path, places)]
    names = label_names(wanted.labels)[0] if wanted.labels else None
    return Reading(rows, names)


def _rows(split: str, path: Path, places: Places) -> list[Row]:
    first = next((line for _, line in lines(path)), "")
    tables = any(mark in first for mark in ",;\t")
    found = []
    for number, line in cells(path) if tables else ((number, line.rsplit(maxsplit=2)) for number, line in lines(path)):
        place = f"{path}, line {number}"
        if is_header(line):
            continue
        if len(line) < 2:
            raise unusable(place, "`path label` or `folder pictures label`", " ".join(line))
        name, middle, label = (line[0], line[1] if len(line) > 2 else "", line[-1])
        counted = middle.isdecimal() and (tables or places.find(f"{name} {middle}") is None)
        if middle and not counted and not tables:  # a path with a blank
            name = f"{name} {middle}"
        found.append(Row(split, name, _number(label), place, int(middle) if counted else None))
    return found


def _number(label: str) -> str | int:
    return int(label) if label.isdecimal() else label
