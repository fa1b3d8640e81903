"""Lists of labels in the forms that people have them in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everyframe.errors import UsageError
from everyframe.modelfile.labels import read_labels

NAMES = ("archery", 'playing "risk", the game', "zumba")
KINETICS = {'"zumba"': 2, '"archery"': 0, 'playing "risk", the game': 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "\ufeff" + "\r\n  ".join(NAMES) + "\n\n\n"),
        ("kinetics_classnames.json", json.dumps(KINETICS)),
        ("labels.json", json.dumps({name: str(number) for number, name in enumerate(NAMES)})),
        ("names.json", json.dumps(NAMES)),
        ("ids.json", json.dumps({str(number): name for number, name in enumerate(NAMES)})),
        ("from1.json", json.dumps({str(number): name for number, name in enumerate(NAMES, 1)})),
        ("no_suffix", json.dumps(KINETICS)),
        ("labels.csv", 'id,name\n2,zumba\n0,archery\n1,"playing ""risk"", the game"\n'),
        ("labels.txt", 'Name,Count,ID\narchery,7,1\n"playing ""risk"", the game",8,2\nzumba,9,3\n'),
    ],
)
def test_all_forms_are_the_same_list(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / name) == NAMES


def test_names_that_look_like_something_else_stay_as_they_are(tmp_path: Path) -> None:
    """Numbers in front may be part of the name, and a bracket does not make JSON of text."""
    plain = ["left,right", "up,down"], ["id", "name"], ["0", "1", "2"]
    for lines in (["1 finger", "2 fingers"], ["[background]", "wave"], *plain):
        (tmp_path / "labels.txt").write_text("\n".join(lines))
        assert read_labels(tmp_path / "labels.txt") == tuple(lines)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"left\n\nright\n", "line 2"),
        ("a.txt", b"left\nleft\n", "(?s)same label.*lines 1 and 2"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read"),
        ("a.txt", b"\n", "empty"),
        ("a.json", b"{}", "empty"),
        ("a.json", b'{"left": 0, ', "(?s)not JSON.*line 1"),
        ("a.json", b'{"left": 0, "right": 2}', "(?s)leave some out.*look at 1"),
        ("a.json", b'{"left": 1, "right": 1}', "(?s)leave some out, or count one twice"),
        ("a.json", b'{"left": 4, "right": 5}', "leave some out"),
        ("a.json", b'{"left": "first"}', "(?s)number.*first"),
        ("a.json", b'{"left": null}', "(?s)number.*None"),
        ("a.json", b'{"left": 0.5}', "(?s)number.*0.5"),
        ("a.json", b"[1, 2]", "no list of labels"),
        ("a.csv", b"id,name\n0,left\n1\n", "(?s)too few columns.*1"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_labels(tmp_path / name)
