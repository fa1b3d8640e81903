"""Kinetics: CSV with label, youtube_id, time_start, time_end, split; clips are named `<id>_<start>_<end>.mp4`.

They lie in folders of their labels or of their splits, or all together. A file that is named by its id alone is taken to
be uncut, and the times are read within it.
"""

from __future__ import annotations

from pathlib import Path

from everyframe.data.formats.text import Places, Reading, Row, Wanted, cells, label_names, split_of, unusable
from everyframe.errors import SourceError

COLUMNS = ("youtube_id", "time_start", "time_end")


def read(wanted: Wanted) -> Reading:
    places = Places(wanted.root)
    rows = [row for split, path in wanted.lists.items() for row in _rows(split, path, places, len(wanted.lists) == 1)]
    return Reading(rows, label_names(wanted.labels)[0] if wanted.labels else None)


def _rows(split: str, path: Path, places: Places, alone: bool) -> list[Row]:
    table = list(cells(path))
    header = [cell.lower() for cell in table[0][1]] if table else []
    if missing := [column for column in COLUMNS if column not in header]:
        raise SourceError(
            "The CSV lacks columns of Kinetics.", where=path, expected="label,youtube_id,time_start,time_end,split",
            got=f"no {', '.join(missing)}",
        )  # fmt: skip
    found = []
    for number, values in table[1:]:
        place = f"{path}, line {number}"
        entry = dict(zip(header, values, strict=False))
        try:
            begin, end = float(entry["time_start"]), float(entry["time_end"])
        except (KeyError, ValueError):
            raise unusable(place, "times in seconds", ",".join(values)) from None
        if not 0 <= begin < end:
            raise unusable(place, "time_start before time_end", f"{begin:g} to {end:g}")
        said = entry.get("split", "").lower()
        label = entry.get("label") or None
        found.append(
            _row((split_of(said) if alone else None) or split, said, entry["youtube_id"], label, begin, end, place, places)
        )
    return found


def _row(split: str, said: str, name: str, label: str | None, begin: float, end: float, place: str, places: Places) -> Row:
    own = [label, label.replace(" ", "_")] if label else []
    tops = ["", *dict.fromkeys(filter(None, (said, split)))]
    folders = tuple(f"{top}/{below}".strip("/") for top in tops for below in (*own, ""))
    cut = f"{name}_{int(begin):06d}_{int(end):06d}"
    uncut = places.find(cut, folders) is None and places.find(name, folders) is not None
    return Row(split, name if uncut else cut, label, place, span=(begin, end) if uncut else None, folders=folders)
