"""Lists of labels as people keep them: a name a line, JSON as Kinetics comes with, or a table of id and name."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from everyframe.errors import UsageError

FORMS = 'one label a line, JSON ([names], {"name": id} or {"id": name}), or a table with the columns id and name'
_NUMBER, _NAME = ("id", "index", "label_id", "class_id"), ("name", "label", "class", "class_name")


def read_labels(source: str | os.PathLike[str] | Sequence[str]) -> tuple[str, ...]:
    """The names, stripped, in the order of the logits. source: a file, or the names themselves.

    A file is text with one name a line; JSON, of names or of names and their numbers, either way around; or a table (CSV)
    whose first line names the columns `id` and `name`. Numbers begin with 0 or 1 and leave none out.

    Raises UsageError for an unreadable file and for empty or repeated names.
    """
    where: object = "labels"
    if isinstance(source, str | os.PathLike):
        where = Path(source)
        try:
            text = where.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            got = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UsageError("The label file cannot be read.", where=where, expected=FORMS, got=got) from None
        lines = _names(text, where)
    else:
        lines = [str(name) for name in source]
    names = tuple(line.strip() for line in lines)
    if not names:
        raise UsageError("The label list is empty.", where=where, expected="one label a line")
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise UsageError("A label is an empty line.", where=f"{where}, line {number}", hint="give every class a name")
        if name in seen:
            raise UsageError(
                "Two classes have the same label.",
                where=f"{where}, lines {seen[name]} and {number}",
                got=name,
                hint="give every class its own name",
            )
        seen[name] = number
    return names


def _names(text: str, where: Path) -> list[str]:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return _of_json(json.loads(text), where)
        except json.JSONDecodeError as error:
            if where.suffix.casefold() == ".json":
                got = f"{error.msg}, line {error.lineno}"
                raise UsageError("The label file is not JSON.", where=where, expected=FORMS, got=got) from None
    lines = text.rstrip().splitlines()
    header = [cell.strip().casefold() for cell in lines[0].split(",")] if lines else []
    number, name = (next((header.index(known) for known in group if known in header), None) for group in (_NUMBER, _NAME))
    if number is None or name is None:
        return lines
    rows = [row for row in csv.reader(lines[1:]) if row]
    if short := next((row for row in rows if len(row) <= max(number, name)), None):
        raise UsageError("A line of the table has too few columns.", where=where, expected=lines[0], got=",".join(short))
    return _in_order([(row[name], row[number]) for row in rows], where)


def _of_json(found: Any, where: Path) -> list[str]:
    """The names of Kinetics' own list have quotes around them inside of the JSON's."""
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return [name.strip().strip('"') for name in found]
    if isinstance(found, Mapping):
        by_number = all(key.strip().isdecimal() for key in found) and all(isinstance(name, str) for name in found.values())
        pairs = [(name, number) if by_number else (number, name) for number, name in found.items()]
        return [name.strip().strip('"') for name in _in_order(pairs, where)]
    raise UsageError("There is no list of labels in this JSON.", where=where, expected=FORMS, got=type(found).__name__)


def _in_order(pairs: Sequence[tuple[Any, Any]], where: Path) -> list[str]:
    """pairs: names and their numbers."""
    try:
        found = sorted((int(str(number)), str(name)) for name, number in pairs)
    except ValueError:
        wrong = next(number for _, number in pairs if not str(number).strip().lstrip("-").isdecimal())
        raise UsageError("The number of a label is none.", where=where, expected=FORMS, got=str(wrong)) from None
    first = found[0][0] if found else 0
    if [number for number, _ in found] != [*range(first, first + len(found))] or first not in (0, 1):
        missing = next((want for want, (number, _) in enumerate(found, first) if number != want), first)
        raise UsageError(
            "The numbers of the labels leave some out, or count one twice.", where=where,
            expected=f"0 to {len(found) - 1}, or 1 to {len(found)}", got=f"{found[0][0]} to {found[-1][0]}; look at {missing}",
        )  # fmt: skip
    return [name for _, name in found]
