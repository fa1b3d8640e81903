"""Jester and Something-Something: clips named by a number, with their labels as text (CSV, JSON) or as numbers.

34870;Swiping Left        CSV of both; a test list has no label
34870 2                   with classInd.txt, whose numbers begin with 1
[{"id": "78687", "template": "Holding [something] behind [something]", …}]      Something-Something v2
"""

from __future__ import annotations

import re
from pathlib import Path

from everyframe.data.formats.text import Reading, Row, Wanted, cells, json_of, label_names, lines, unusable

FOLDERS = ("", "20bn-jester-v1", "20bn-something-something-v1", "20bn-something-something-v2", "videos", "frames")
_NUMBERS = re.compile(r"^\S+\s+\d+$")


def read(wanted: Wanted) -> Reading:
    names = label_names(wanted.labels)[0] if wanted.labels else None
    rows = [row for split, path in wanted.lists.items() for row in _rows(split, path)]
    return Reading(rows, names)


def _rows(split: str, path: Path) -> list[Row]:
    if path.suffix.lower() == ".json":
        return [_of_json(split, entry, f"{path}, entry {number}") for number, entry in enumerate(json_of(path), 1)]
    first = next((line for _, line in lines(path)), "")
    spaced = bool(_NUMBERS.match(first))
    found = []
    for number, row in ((n, line.split()) for n, line in lines(path)) if spaced else cells(path):
        if is_id_header(row):
            continue
        if not 1 <= len(row) <= 2:
            raise unusable(f"{path}, line {number}", "`id;label` or `id number`", row)
        label = row[1] if len(row) == 2 else None
        known = int(label) if label is not None and label.isdecimal() else label
        found.append(Row(split, row[0], known, f"{path}, line {number}", folders=FOLDERS))
    return found


def is_id_header(row: list[str]) -> bool:
    return row[0].lower() in ("id", "video_id", "video")


def _of_json(split: str, entry: object, place: str) -> Row:
    if not isinstance(entry, dict) or "id" not in entry:
        raise unusable(place, '{"id": …, "template": …}', entry)
    text = entry.get("template", entry.get("label"))
    label = re.sub(r"[\[\]]", "", text) if text else None
    return Row(split, str(entry["id"]), label, place, folders=FOLDERS)
