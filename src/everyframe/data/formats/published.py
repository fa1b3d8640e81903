"""The split files of UCF-101 and HMDB-51, and the JSON of Efficient-3DCNNs.

ucf101       trainlist01.txt `Class/v_x.avi 1`, testlist01.txt without numbers, classInd.txt `1 Class`
hmdb51       CLASS_test_split1.txt, `video.avi 1`: 1 is training, 2 is test, 0 is neither; train = a pattern for split 2, 3
efficient3d  {"labels": [...], "database": {video: {"subset": "training", "annotations": {"label": …}}}}, or with
             the subsets as one more level of "database", as its file of Kinetics has them
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everyframe.data.formats.text import Reading, Row, Wanted, json_of, label_names, lines, unusable
from everyframe.errors import SourceError

UCF_FOLDERS = ("", "UCF-101", "UCF101", "videos")
SUBSETS = {"training": "train", "validation": "validation", "testing": "test"}


def ucf101(wanted: Wanted) -> Reading:
    rows = []
    for split, path in wanted.lists.items():
        for number, line in lines(path):
            name, _, label = line.rpartition(" ")
            name = name if label.isdecimal() and name else line
            folder, slash, _ = name.replace("\\", "/").rpartition("/")
            if not slash:
                raise unusable(f"{path}, line {number}", "`Class/video.avi 1`", line)
            # the folder is the class; the number says the same, from 1
            rows.append(
                Row(split, _without_suffix(name), folder.rpartition("/")[2], f"{path}, line {number}", folders=UCF_FOLDERS)
            )
    return Reading(rows, label_names(wanted.labels)[0] if wanted.labels else None)


def hmdb51(wanted: Wanted) -> Reading:
    pattern = wanted.lists["train"]
    files = sorted(pattern.glob("*_test_split1.txt")) if pattern.is_dir() else sorted(pattern.parent.glob(pattern.name))
    if not files:
        raise SourceError(
            "There are no split files.",
            where=pattern,
            expected="CLASS_test_split1.txt",
            hint='train = "splits/*_test_split1.txt"',
        )
    rows = []
    for path in files:
        label = path.name.rpartition("_test_split")[0]
        for number, line in lines(path):
            name, _, use = line.rpartition(" ")
            if use not in ("0", "1", "2"):
                raise unusable(f"{path}, line {number}", "`video.avi 1` (or 0, 2)", line)
            if use != "0":
                split = "train" if use == "1" else "validation"
                rows.append(Row(split, _without_suffix(name.strip()), label, f"{path}, line {number}", folders=(label, "")))
    return Reading(rows, label_names(wanted.labels)[0] if wanted.labels else None)


def efficient3d(wanted: Wanted) -> Reading:
    path = wanted.lists["train"]
    found = json_of(path)
    database = found.get("database") if isinstance(found, dict) else None
    if not isinstance(database, dict) or not isinstance(found.get("labels"), list):
        raise SourceError("The JSON has no `labels` and `database`.", where=path, expected="a file of Efficient-3DCNNs")
    rows = []
    for subset, video, entry in _entries(database):
        if subset not in SUBSETS:
            raise unusable(f"{path}, {video}", f"subset {', '.join(SUBSETS)}", subset)
        label = (entry.get("annotations") or {}).get("label")
        near = [str(label), str(label).replace(" ", "_")] if label is not None else []
        folders = (*near, *(f"{subset}/{name}" for name in near), "", subset)
        rows.append(Row(SUBSETS[subset], video, label, f"{path}, {video}", folders=folders))
    return Reading(rows, dict(enumerate(map(str, found["labels"]))))


def _entries(database: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(subset, video, entry) of both nestings."""
    for key, value in database.items():
        if key in SUBSETS and not {"subset", "annotations"} & value.keys():
            yield from ((key, video, entry) for video, entry in value.items())
        else:
            yield str(value.get("subset")), key, value


def _without_suffix(name: str) -> str:
    """Frames of `v_x.avi` lie in a folder `v_x`; either is found by the stem."""
    return str(Path(name).with_suffix("")) if Path(name).suffix.lower() in (".avi", ".mp4") else name
