"""`everyframe demo`: with a stand-in for the built-in model and video, and with the real ones where they are packaged."""

from __future__ import annotations

from pathlib import Path

import pytest

import handmade
from everyframe import bundles
from everyframe.cli import main
from everyframe.cli.verbs import demo
from everyframe.modelfile.schema import EventRule
from everyframe.runtime import program

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *args: object) -> tuple[int, str, str]:
    code = 0
    try:
        main.run(["demo", *map(str, args)])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = EventRule(background="medium", threshold=0.9, refractory_s=0.2, rearm=0.3)
    video = handmade.write_video(tmp_path / "s.mp4", 90, draw=lambda i: handmade.picture(230 if i >= 45 else 20))
    monkeypatch.setattr(program, "BUILTIN", handmade.brightness_step(tmp_path / "m.onnx", events=rule))
    monkeypatch.setattr(demo, "SAMPLE", video)
    monkeypatch.setattr(main, "VERBS", {"demo": "demo"})


@pytest.mark.usefixtures("stand_in")
def test_it_shows_events_a_picture_the_work_and_the_next_command(tmp_path: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, "--output", tmp_path / "new" / "folder")
    assert (code, err) == (0, "")
    assert "events       2" in out and "bright" in out
    assert (tmp_path / "new" / "folder" / "timeline.png").exists()
    assert "work " in out and "4 times as much" in out
    assert out.splitlines()[-1].startswith("next         everyframe predict builtin 0")


@pytest.mark.usefixtures("stand_in")
def test_an_output_that_cannot_be_written_is_said_first(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").touch()
    code, out, err = run(capsys, "--output", tmp_path / "file" / "x")
    assert (code, out) == (2, "")
    assert "output folder cannot be made" in err


@pytest.mark.usefixtures("stand_in")
def test_what_is_interrupted_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundles, "page", interrupted)
    code, _, err = run(capsys, "--web", "--output", tmp_path / "new" / "folder")
    assert (code, err, list(tmp_path.glob("new"))) == (130, "", [])


@pytest.mark.usefixtures("stand_in")
def test_an_installation_without_the_video_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(demo, "SAMPLE", Path("/nowhere/sample.mp4"))
    code, _, err = run(capsys)
    assert code == 2
    assert "no sample video" in err


def test_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    if not (program.BUILTIN.exists() and demo.SAMPLE.exists()):
        pytest.skip("the built-in model is not packaged yet")
    monkeypatch.setattr(main, "VERBS", {"demo": "demo"})
    code, out, err = run(capsys, "--output", tmp_path)
    assert (code, err) == (0, "")
    assert "events       0" not in out
    assert "times as much" in out
