"""Label files: one name a line, in the order of the logits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from everyframe.errors import UsageError


def read_labels(source: str | os.PathLike[str] | Sequence[str]) -> tuple[str, ...]:
    """The names, stripped; `source` is a text file or the names themselves.

    Raises UsageError for an unreadable file and for empty or repeated names.
    """
    where: object = "labels"
    if isinstance(source, str | os.PathLike):
        where = Path(source)
        try:
            lines = where.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            got = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UsageError(
                "The label file cannot be read.", where=where, got=got, hint="give a text file, one label a line"
            ) from None
        while lines and not lines[-1].strip():
            lines.pop()
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
