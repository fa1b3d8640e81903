"""Rendered drivers do what their label says and nothing else that has one, and folders of them are read as labeled clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import everyframe as ef
from everyframe.cli.main import run
from everyframe.data import formats
from everyframe.errors import OutputError, UsageError
from everyframe.recipes.training import Data
from everyframe.rendering import folder
from everyframe.rendering.drivers import acts, face, scene

SEEDS = range(40)
STEP_S = 1 / acts.RATE


def longest(mask: np.ndarray) -> float:
    """Seconds of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return float((edges[1::2] - edges[::2]).max(initial=0)) * STEP_S


def signs(script: acts.Script) -> set[str]:
    """What can be seen in a script by rules on lids, mouth and head alone."""
    times = np.arange(len(script.lids)) * STEP_S
    falling = np.diff(script.pitch, prepend=script.pitch[0]) > 0
    sinks = [part for part in np.split(np.arange(len(times)), np.flatnonzero(np.diff(falling)) + 1) if falling[part[0]]]
    slow = any(np.ptp(script.pitch[part]) > 0.3 and len(part) * STEP_S > 0.45 for part in sinks)
    found = {
        "eyes_closed": longest(script.lids > 0.88) >= 0.45,
        "yawning": longest(script.mouth > 0.7) >= 0.4,
        "looking_away": longest(np.abs(script.yaw) > 0.4) >= 1.1,
        "nodding": slow,
    }
    return {label for label, there in found.items() if there}


@pytest.mark.parametrize("label", acts.LABELS[1:])
def test_each_clip_shows_its_sign(label: str) -> None:
    scripts = [acts.write(np.random.default_rng([1, seed]), label, 4.0) for seed in SEEDS]
    assert all(label in signs(script) for script in scripts)
    assert all(span.label == label and 0 <= span.start_s < span.end_s <= 4 for script in scripts for span in script.spans)


def test_who_is_awake_shows_none() -> None:
    """But everything that looks like one in a single picture."""
    scripts = [acts.write(np.random.default_rng([2, seed]), "alert", 4.0) for seed in SEEDS]
    assert not [found for script in scripts if (found := signs(script))]
    assert not any(script.spans for script in scripts)
    for line, least in (("lids", 0.9), ("mouth", 0.4), ("yaw", 0.6), ("pitch", 0.6)):
        assert max(np.abs(getattr(script, line)).max() for script in scripts) > least, line


def test_long_drives_are_told_in_order() -> None:
    counts = {}
    for tired in (0.0, 1.0):
        script = acts.write_long(np.random.default_rng(3), 240.0, tired)
        starts = [span.start_s for span in script.spans]
        assert starts == sorted(starts) and all(span.end_s <= 240 for span in script.spans)
        counts[tired] = len(starts)
    assert counts[1.0] > 3 * counts[0.0] + 5


def drawn(glasses: str, lids: float) -> np.ndarray:
    """A face on gray."""
    y, x = (np.mgrid[:96, :96].astype(np.float32) + 0.5) / 96 - 0.5
    canvas = np.full((1, 96, 96), 0.4, np.float32)
    look = face.Look.random(np.random.default_rng(5), glasses)
    still = {name: np.zeros(1) for name in ("mouth", "yaw", "pitch", "x", "y")}
    face.paint(face.Painter(canvas, x, y, 0.01), look, acts.Pose(lids=np.array([lids]), wide=np.ones(1), **still))
    return canvas[0]


def test_sunglasses_hide_the_eyes_and_nothing_else_does() -> None:
    moved = {glasses: np.abs(drawn(glasses, 0.0) - drawn(glasses, 1.0)) for glasses in face.GLASSES}
    assert (moved["none"] > 0.1).sum() > 20 and (moved["clear"] > 0.1).sum() > 20
    assert moved["sun"].max() < 0.02


def test_a_clip_is_its_seed() -> None:
    first, again, other = (scene.clip(np.random.default_rng(seed), "yawning", 1.0, size=(48, 48)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.video, again.video)
    assert first.video.shape == (15, 48, 48) and not np.array_equal(first.video, other.video)


@pytest.mark.parametrize("kind", folder.KINDS)
def test_folders_are_read_as_labeled_clips(tmp_path: Path, kind: str) -> None:
    made = ef.render(kind, tmp_path / "clips", count=2, seconds=1, size=48)
    assert made.videos == made.made == 2 * len(made.labels)
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*.mp4")}
    more = ef.render(kind, tmp_path / "clips", count=3, seconds=1, size=48)
    assert (more.videos, more.made) == (3 * len(made.labels), len(made.labels))
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert {path.parent.name for path in before} == set(made.labels)


def test_recordings_come_with_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ef.render("drivers", tmp_path / "whole", count=2, minutes=0.5, fps=8, size=32, seed=37)
    wanted = (tmp_path / "whole" / folder.SPANS).read_text()
    assert wanted.startswith("file,start,end,label\n") and wanted.count("0002.mp4") > 0
    read = formats.read(Data(format="spans", root=".", train=folder.SPANS), whole.folder)
    clips = [clip for split in read.splits.values() for clip in split if read.labels[clip.label] != "none"]
    assert len(clips) == wanted.count("mp4") and {*read.labels} <= {*acts.LABELS[1:], "none"}
    calls = []
    real = folder.encoded

    def interrupted(*args: object) -> bytes:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(folder, "encoded", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ef.render("drivers", tmp_path / "parts", count=2, minutes=0.5, fps=8, size=32, seed=37)
    assert [path.name for path in (tmp_path / "parts").glob("*.mp4")] == ["0001.mp4"]
    assert ef.render("drivers", tmp_path / "parts", count=2, minutes=0.5, fps=8, size=32, seed=37).made == 1
    assert (tmp_path / "parts" / folder.SPANS).read_text() == wanted


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "driver"}, "(?s)drivers or motions.*did you mean drivers"),
        ({"count": 0}, "(?s)count.*1 to 100000"),
        ({"size": 33}, "even"),
        ({"sunglasses": 1.5}, "(?s)sunglasses.*0 to 1"),
        ({"minutes": -1}, "minutes"),
        ({"fps": float("nan")}, "fps"),
        ({"fps": 0}, "fps"),
        ({"seed": -1}, "seed"),
        ({"kind": "scenes", "seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_rendered(tmp_path: Path, wrong: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ef.render(**{"kind": "drivers", "output": tmp_path / "a", **wrong})
    assert not list(tmp_path.iterdir())


def test_nothing_of_others_is_touched(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.mp4").write_bytes(b"mine")
    with pytest.raises(OutputError, match="something else"):
        ef.render("drivers", tmp_path / "mine")
    ef.render("drivers", tmp_path / "clips", count=1, seconds=1, size=32)
    with pytest.raises(SystemExit) as ended:
        run(["render", "drivers", "-o", str(tmp_path / "clips"), "--seconds", "2", "--size", "32"])
    assert ended.value.code == 2 and "seconds 1" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        run(["render", "drivers", "-o", str(tmp_path / "clips"), "--count", "1", "--seconds", "1", "--size", "32", "--json"])
    assert json.loads(capfd.readouterr().out)["made"] == 0
