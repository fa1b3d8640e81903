"""Lists as mmaction2 and TSM have them: `path label`, or `folder number-of-pictures label`, one clip a line.

Also with commas, semicolons or tabs between them, a header line, names of classes instead of numbers.
"""

from __future__ import annotations

from pathlib import Path

from everyframe.data.formats.text import Places, Reading, Row, Wanted, cells, columns, label_names, lines, unusable


def read(wanted: Wanted) -> Reading:
    places = Places(wanted.root)
    rows = [row for split, path in wanted.lists.items() for row in _rows(split, path, places)]
    names = label_names(wanted.labels)[0] if wanted.labels else None
    return Reading(rows, names)


def _rows(split: str, path: Path, places: Places) -> list[Row]:
    first = next((line for _, line in lines(path)), "")
    tables = any(mark in first for mark in ",;\t")
    header = columns(next((row for _, row in cells(path)), [])) if tables else columns(first.split())
    found: list[Row] = []
    for number, line in cells(path) if tables else ((number, line.split()) for number, line in lines(path)):
        place = f"{path}, line {number}"
        if header and not found and columns(line):
            continue
        if len(line) < 2:
            raise unusable(place, "`path label` or `folder pictures label`", " ".join(line))
        if header:
            read = _named(line if tables else _blanks(line, first.split(), header["path"]), header, place)
        else:
            read = _placed(line if tables else _joined(line, places))
        name, offset, count, label = read
        found.append(Row(split, name, _number(label), place, count, offset))
    return found


def _named(line: list[str], header: dict[str, int], place: str) -> tuple[str, int, int | None, str]:
    """(path, offset, count, label) by the names of the columns."""
    if len(line) <= max(header.values()):
        raise unusable(place, f"at least {max(header.values()) + 1} columns, as in the header", " ".join(line))
    cell = {what: line[at] for what, at in header.items()}
    offset, count = (int(cell[what]) if cell.get(what, "").isdecimal() else None for what in ("offset", "count"))
    return cell["path"], offset or 0, count, cell["label"]


def _blanks(words: list[str], header: list[str], path: int) -> list[str]:
    """Words as columns: those that are too many belong to the path."""
    end = path + 1 + max(0, len(words) - len(header))
    return [*words[:path], " ".join(words[path:end]), *words[end:]]


def _placed(line: list[str]) -> tuple[str, int, int | None, str]:
    """(path, offset, count, label): `path label`, `folder count label`, or mmaction2's `folder offset count label`."""
    name, *numbers, label = line
    offset, count = [0, 0, *(int(number) for number in numbers if number.isdecimal())][-2:]
    return name, offset if len(numbers) > 1 else 0, count if numbers else None, label


def _joined(words: list[str], places: Places) -> list[str]:
    """Words of a line in which paths may hold blanks: the longest path that is there, else all but the numbers at the end."""
    last = len(words) - 1
    numbers = next((n for n in range(min(2, last - 1), -1, -1) if all(word.isdecimal() for word in words[last - n : last])), 0)
    for kept in range(numbers + 1):  # what looks like a number may belong to the path
        path = " ".join(words[: last - kept])
        if places.find(path) is not None:
            return [path, *words[last - kept :]]
    return [" ".join(words[: last - numbers]), *words[last - numbers :]]


def _number(label: str) -> str | int:
    return int(label) if label.isdecimal() else label
