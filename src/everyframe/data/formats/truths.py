"""Lists of clips for models that say more than one class: several labels, quantities, or a label for each frame.

A table (path, then what is true), JSON, or for frames a folder of text files named after the clips (MS-TCN's groundTruth):

wave.mp4,hand;left             any of several: labels in one cell, or in those behind the path, or a column of 0 and 1 for each
face.mp4,71.5                  quantities: columns of numbers
talk.mp4,0.5,2.0,wave          frames: begin and end in seconds and the label, a line each; or a file with a label a line
wave.eaf                       ELAN: the aligned annotations of its uppermost tiers, in the media file that it names
wave.txt                       Audacity: begin, end, label between tabs, of the recording of the same name
{"wave.mp4": ["hand", "left"]}, {"face.mp4": 71.5}, {"talk.mp4": [{"start": 0.5, "end": 2, "label": "wave"}]}, or a list of such
objects with `path`
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from everyframe.data.clips import Clip, folder_clip
from everyframe.data.formats.lists import COLUMNS, plain_of, table_of
from everyframe.data.formats.text import Places, json_of, label_names, lines, split_of, unusable
from everyframe.data.truths import EachFrame, Labeled, Labels, Name, Spans, Truth, Values
from everyframe.errors import SourceError

#: what such a list is usually called, below the folder of the clips
USUAL = ("labels.json", "labels.csv", "labels.txt", "annotations.json", "annotations.csv", "groundTruth")
#: where clips lie beside `groundTruth`
_FOLDERS = ("features", "videos")
_BEGIN = ("start", "begin", "starttime", "timestart", "startsec", "starts", "begins")
_END = ("end", "stop", "endtime", "timeend", "endsec", "ends", "stops")
_ASIDE = frozenset({"", "unnamed0", "index", "idx", "no", "nr", "row"})
#: keys of JSON that hold what is true
_HOLDS = ("labels", "label", "values", "value", "annotations", "segments", "spans", "frames", "actions", "targets", "target")


@dataclass(frozen=True)
class Annotated:
    """problems: what was left out, with its place."""

    clips: tuple[Labeled, ...]
    problems: tuple[str, ...] = ()


@dataclass
class _Entry:
    """What stands in a list of one clip, not understood yet. note: what was left out of it."""

    name: str
    value: Any
    place: str
    split: str | None = None
    note: str = ""


@dataclass(frozen=True)
class _Reader:
    """columns: the cells of a line (header, cells, place) -> value. value: raw value -> truth. joined: lines of one clip are
    parts of one truth. expected: in words.
    """

    columns: Callable[[list[str] | None, list[str], str], Any]
    value: Callable[[Any, _Entry, Path], Truth]
    expected: str
    joined: bool = False


def read(path: Path, root: Path, task: str, classes: Path | None = None) -> Annotated:
    """path: the list, or the folder of label files. root: where the clips lie. task: multilabel, regress or frames. classes: a
    file with names for labels that are numbers. Raises SourceError, which names the line.
    """
    reader, places, problems = READERS[task], Places(root), []
    names = label_names(classes)[0] if classes else {}
    entries = list(_entries(path, task, places))
    if not entries:
        raise SourceError("The list of clips is empty.", where=path, expected=reader.expected)
    found = []
    for entry in entries:
        problems += [entry.note] if entry.note else []
        clip = _clip(places, entry, path.parent)
        if clip is None:
            problems.append(f"{entry.place}: {entry.name} is not there")
            continue
        found.append(Labeled(clip, _named(reader.value(entry.value, entry, path.parent), names), entry.place, entry.split))
    if not found:
        raise SourceError(
            "None of the clips of this list is there.", where=path, expected=f"clips below {root}", got=problems[0],
            hint="name their folder: --data FOLDER --list FILE",
        )  # fmt: skip
    return Annotated(tuple(found), tuple(problems))


def _clip(places: Places, entry: _Entry, beside: Path) -> Clip | None:
    found = places.find(entry.name, ("", *_FOLDERS, str(beside.absolute())))
    if found is None:
        return None
    if found.is_dir():
        return folder_clip(found, -1, entry.name)
    return Clip(found, -1, entry.name)


# --- entries ---


def _entries(path: Path, task: str, places: Places) -> Iterator[_Entry]:
    if path.is_dir():
        if task != "frames":
            raise SourceError("This is a folder, not a list of clips.", where=path, expected=READERS[task].expected)
        for file in sorted(path.iterdir()):
            if file.name.startswith("."):
                continue
            if file.suffix.lower() == ".eaf":
                yield _of_elan(file)
            elif file.suffix.lower() == ".txt":
                yield _of_audacity(file) or _Entry(file.stem, str(file.absolute()), str(file))
        return
    if path.suffix.lower() == ".eaf":
        yield _of_elan(path)
        return
    if task == "frames" and path.suffix.lower() in (".txt", ".tsv") and (marked := _of_audacity(path)) is not None:
        yield marked
        return
    if path.suffix.lower() == ".json":
        yield from _of_json(path)
        return
    found: dict[str, _Entry] = {}
    for number, entry in enumerate(_of_table(path, READERS[task], places)):
        if not READERS[task].joined:
            found[str(number)] = entry
        elif entry.name in found and isinstance(entry.value, list) and isinstance(found[entry.name].value, list):
            found[entry.name].value += entry.value
        else:
            found[entry.name] = entry
    yield from found.values()


def _of_json(path: Path) -> Iterator[_Entry]:
    whole = json_of(path)
    whole = whole["database"] if isinstance(whole, dict) and isinstance(whole.get("database"), dict) else whole  # ActivityNet
    if not isinstance(whole, dict | list):
        raise unusable(str(path), '{"clip.mp4": …} or [{"path": "clip.mp4", …}]', whole)
    for number, item in enumerate(whole.items() if isinstance(whole, dict) else whole, 1):
        place = f"{path}, entry {number}"
        name, value = item if isinstance(whole, dict) else (None, item)
        split = None
        if isinstance(value, dict):
            keys = {plain_of(key): key for key in value}
            at = next((keys[known] for known in COLUMNS["path"] if known in keys), None) if name is None else None
            of_split = next((keys[known] for known in COLUMNS["split"] if known in keys), None)
            name = value[at] if at is not None else name
            split = split_of(str(value[of_split])) if of_split is not None else None
            held = next((value[keys[known]] for known in _HOLDS if known in keys), None)
            value = held if held is not None else {key: v for key, v in value.items() if key not in (at, of_split)}
        if not isinstance(name, str):
            raise unusable(place, "an object with a `path`", value)
        yield _Entry(name, value, place, split)


def _of_elan(path: Path) -> _Entry:
    """The first video that an ELAN file names, and its aligned annotations: of the uppermost tiers that have any. Those below
    tell parts of the same spans. Raises SourceError.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise SourceError("The annotation cannot be read.", where=path, got=error.strerror or error) from None
    except ElementTree.ParseError as error:
        raise SourceError("The ELAN file is not valid XML.", where=path, got=error) from None
    times = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    tiers = {tier.get("TIER_ID"): tier for tier in root.iter("TIER")}
    levels: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for name, tier in tiers.items():
        parts = list[dict[str, Any]]()
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            begin, end = (times.get(one.get(f"TIME_SLOT_REF{i}")) for i in (1, 2))
            if begin is not None and end is not None and (label := (one.findtext("ANNOTATION_VALUE") or "").strip()):
                parts.append({"start": int(begin) / 1000, "end": int(end) / 1000, "label": label})
        if parts:
            levels.setdefault(_depth(tier, tiers), {})[str(name)] = parts
    read = levels.pop(min(levels)) if levels else {}
    below = ", ".join(name for _, each in sorted(levels.items()) for name in each)
    note = f"{path}: read {', '.join(read)}; left out what lies in a tier below: {below}" if below else ""
    media = [m.get("RELATIVE_MEDIA_URL") or m.get("MEDIA_URL") or "" for m in root.iter("MEDIA_DESCRIPTOR")]
    video = next((m for m in media if not m.lower().endswith((".wav", ".mp3"))), path.stem)
    name = unquote(video.removeprefix("file://")).removeprefix("./") or path.stem
    return _Entry(name, [part for each in read.values() for part in each], str(path), note=note)


def _depth(tier: ElementTree.Element, tiers: Mapping[str | None, ElementTree.Element]) -> int:
    """How many tiers a tier lies in."""
    seen = list[ElementTree.Element]()
    while (above := tiers.get(tier.get("PARENT_REF"))) is not None and above not in seen:
        seen.append(above)
        tier = above
    return len(seen)


def _of_audacity(path: Path) -> _Entry | None:
    """Labels as Audacity exports them; None: the file is something else."""
    parts = list[dict[str, Any]]()
    for number, line in lines(path, strip=False):
        if line.startswith("\\"):  # frequencies of the label above it
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 3 or _number(cells[0]) is None or _number(cells[1]) is None:
            if parts:
                raise unusable(f"{path}, line {number}", "begin, end and label between tabs", line)
            return None
        parts.append({"start": cells[0], "end": cells[1], "label": cells[2]})
    return _Entry(path.stem, parts, str(path)) if parts else None


def _of_table(path: Path, reader: _Reader, places: Places) -> Iterator[_Entry]:
    rows, _ = table_of(path)
    if not rows:
        return
    first = [plain_of(cell) for cell in rows[0][1]]
    at = next((first.index(name) for name in COLUMNS["path"] if name in first), None)
    header = rows[0][1] if at is not None and not places.find(rows[0][1][at]) else None
    at, of_split = (
        (at or 0, None) if header is None else (at or 0, next((first.index(n) for n in COLUMNS["split"] if n in first), None))
    )
    for number, cells in rows[header is not None :]:
        place = f"{path}, line {number}"
        aside = {at, of_split} | ({i for i, name in enumerate(first) if name in _ASIDE} if header is not None else set())
        kept = [i for i in range(len(cells)) if i not in aside]
        if at >= len(cells) or not cells[at]:
            raise unusable(place, reader.expected, ",".join(cells))
        names = None if header is None else [header[i] if i < len(header) else "" for i in kept]
        split = split_of(cells[of_split]) if of_split is not None and of_split < len(cells) else None
        yield _Entry(cells[at], reader.columns(names, [cells[i] for i in kept], place), place, split)


# --- any of several labels ---


def _label_columns(header: list[str] | None, cells: list[str], place: str) -> Any:
    there = [cell for cell in cells if cell]
    if header is None:
        return there
    if times := [name for name in header if plain_of(name) in (*_BEGIN, *_END)]:
        raise unusable(place, "labels of whole clips", f"columns {', '.join(times)}, as for labels of frames")
    at = next((i for i, name in enumerate(header) if plain_of(name) in COLUMNS["label"]), None)
    if at is None and len(header) > 1 and set(there) <= {"0", "1"}:
        return dict(zip(header, cells, strict=False))  # a column for each label
    if at is None and len(header) != 1:
        raise unusable(place, "a column `labels`, or a column of 0 and 1 for each label", ", ".join(header))
    at = at or 0
    return [cell for cell in (cells[at:] if at == len(header) - 1 or not any(header[at + 1 :]) else cells[at : at + 1]) if cell]


def _labels(value: Any, entry: _Entry, folder: Path) -> Truth:
    if isinstance(value, dict):
        if not all(str(flag) in ("0", "1", "True", "False") for flag in value.values()):
            raise unusable(entry.place, READERS["multilabel"].expected, value)
        return Labels(tuple(name for name, flag in value.items() if str(flag) in ("1", "True")))
    value = [value] if isinstance(value, str | int) else value
    if not isinstance(value, list) or not all(isinstance(each, str | int) for each in value):
        raise unusable(entry.place, READERS["multilabel"].expected, value)
    each = [part for one in value for part in (_parts(one) if isinstance(one, str) else [one])]
    return Labels(tuple(dict.fromkeys(_name(one) for one in each)))


def _parts(cell: str) -> list[str]:
    mark = next((mark for mark in ";|,\t" if mark in cell), None)
    return [part.strip() for part in (cell.split(mark) if mark else [cell]) if part.strip()]


def _name(label: str | int) -> Name:
    return int(label) if str(label).isdecimal() else str(label)


# --- quantities ---


def _value_columns(header: list[str] | None, cells: list[str], place: str) -> Any:
    return dict(zip(header if header is not None else range(len(cells)), cells, strict=False))


def _values(value: Any, entry: _Entry, folder: Path) -> Truth:
    by = value if isinstance(value, dict) else dict(enumerate(value if isinstance(value, list) else [value]))
    numbers = {name: number for name, cell in by.items() if (number := _number(cell)) is not None}
    if not numbers:
        raise unusable(entry.place, READERS["regress"].expected, value)
    return Values(numbers)


def _number(cell: object) -> float | None:
    try:
        found = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) and not isinstance(cell, bool) else None


# --- frames ---


def _span_columns(header: list[str] | None, cells: list[str], place: str) -> Any:
    where = [plain_of(name) for name in header] if header is not None else []
    at = [next((i for i, name in enumerate(where) if name in known), None) for known in (_BEGIN, _END, COLUMNS["label"])]
    if header is None and len(cells) >= 3:
        at = [0, 1, 2]
    if None not in at and all(i is not None and i < len(cells) for i in at):
        begin, end, label = (cells[i] for i in at if i is not None)
        return [{"start": begin, "end": end, "label": label, "place": place}]
    if len(cells) == 1 or (header is not None and at[2] is not None and at[:2] == [None, None]):
        return cells[at[2] or 0 if header is not None else 0]
    raise unusable(place, READERS["frames"].expected, ",".join(cells) or "nothing but the path")


def _frames(value: Any, entry: _Entry, folder: Path) -> Truth:
    if isinstance(value, str):
        file = next((place for place in (folder / value, Path(value)) if place.is_file()), None)
        if file is None:
            raise SourceError("The file with the labels of the frames is not there.", where=entry.place, got=value)
        labels = tuple(_each_line(file))
        if not labels:
            raise SourceError("The file with the labels of the frames is empty.", where=file)
        return EachFrame(labels)
    if isinstance(value, list) and all(isinstance(each, str | int) for each in value) and value:
        return EachFrame(tuple(map(_name, value)))
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise unusable(entry.place, READERS["frames"].expected, value)
    return Spans(tuple(_span(each, entry.place) for each in value))


def _each_line(file: Path) -> Iterator[Name]:
    for expected, (number, line) in enumerate(lines(file), 1):
        if number != expected:
            raise unusable(f"{file}, line {expected}", "a label a line, one for each frame", "an empty line")
        yield _name(re.split(r"[,;\t]", line)[-1].strip())


def _span(part: dict[str, Any], place: str) -> tuple[float, float, Name]:
    place = part.get("place", place)  # a line of its own
    part = {key: value for key, value in part.items() if key != "place"}
    keys = {plain_of(key): value for key, value in part.items()}
    segment = keys.get("segment") or [next((keys[k] for k in known if k in keys), None) for known in (_BEGIN, _END)]
    label = next((keys[known] for known in COLUMNS["label"] if known in keys), None)
    times = [_seconds(time) for time in segment] if isinstance(segment, list) else []
    if len(times) != 2 or None in times or not isinstance(label, str | int) or not 0 <= times[0] < times[1]:  # type: ignore[operator]
        raise unusable(place, "start before end, in seconds, and a label", part)
    return times[0], times[1], _name(label)  # type: ignore[return-value]


def _seconds(cell: object) -> float | None:
    """Spreadsheets of half the world write 0,5."""
    return _number(cell.replace(",", ".") if isinstance(cell, str) and cell.count(",") == 1 and "." not in cell else cell)


def _named(truth: Truth, names: dict[int, str]) -> Truth:
    """Numbers of classes as the file of their names has them."""

    def name(label: Name) -> Name:
        return names.get(label, label) if isinstance(label, int) else label

    if isinstance(truth, Labels):
        return Labels(tuple(map(name, truth.there)))
    if isinstance(truth, EachFrame):
        return EachFrame(tuple(map(name, truth.labels)))
    return Spans(tuple((b, e, name(label)) for b, e, label in truth.parts)) if isinstance(truth, Spans) else truth


READERS: dict[str, _Reader] = {
    "multilabel": _Reader(_label_columns, _labels, "`path,labels` with the labels of a clip in one cell: a.mp4,wave;clap", True),
    "regress": _Reader(_value_columns, _values, "`path,QUANTITY` with a number for each quantity: a.mp4,71.5"),
    "frames": _Reader(
        _span_columns, _frames, "`path,start,end,label` in seconds, or `path,FILE` with a label a line, one a frame", joined=True
    ),
}  # fmt: skip
