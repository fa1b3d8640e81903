"""Paths as people write them: `~` that a shell left in place, in every verb, in recipes and from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import everyframe
import handmade
from everyframe.cli import main
from everyframe.files import NOWHERE, at_home, cache_folder, write_bytes
from everyframe.recipes import reader
from everyframe.recipes.training import ClipRecipe


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("given", ["~/a.mp4", "~/a/*.mp4", "~", "--csv=~/out.csv", "-o=~/out", "data.root=~/clips", Path("~/a")])
def test_a_home_is_found(given: str | Path, home: Path) -> None:
    assert str(at_home(given)) == str(given).replace("~", str(home))


@pytest.mark.parametrize("given", ["a~/b", "./~/a", "~of-nobody/a", "command:say ~/x", "https://host/~me/", "~a=b", 3, None])
def test_anything_else_stays(given: object, home: Path) -> None:
    assert at_home(given) == given


def test_verbs_python_and_recipes_take_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handmade.brightness_step(home / "step.onnx")
    handmade.write_video(home / "video.mp4", 30)
    with pytest.raises(SystemExit) as ended:
        main.run(["predict", "~/step.onnx", "~/v*.mp4", "--engine", "ort", "--csv=~/table.csv"])
    assert ended.value.code == 0 and (home / "table.csv").is_file(), capsys.readouterr().err
    found = everyframe.predict("~/step.onnx", "~/video.mp4", "~/found.json", engine="ort")
    assert len(found) and (home / "found.json").is_file()
    with everyframe.open(model="~/step.onnx", engine="ort") as program:
        assert len(list(program.predict("~/video.mp4"))) == len(found)
    assert write_bytes(b"", "~/empty") == home / "empty"
    recipe = reader.load("quick", ['data.root="~/clips"'])
    assert isinstance(recipe, ClipRecipe) and recipe.data.root == str(home / "clips")


def test_names_as_long_as_systems_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """255 bytes: of a video, of what is written, and of a picture that is called after a video."""
    longest = "\u00e9" * 125
    (tmp_path / "in").mkdir()
    for name in (longest, longest[:-1] + "x"):
        handmade.write_video(tmp_path / "in" / f"{name}.mp4", 20)
    step = handmade.brightness_step(tmp_path / f"{longest}.onnx")
    words = ["--engine", "ort", "--csv", tmp_path / f"{longest}x.csv", "--save-timeline", tmp_path / "of.png"]
    with pytest.raises(SystemExit) as ended:
        main.run(list(map(str, ["predict", step, tmp_path / "in", *words])))
    assert ended.value.code == 0, capsys.readouterr().err
    assert len({path.name for path in tmp_path.glob("of.*.png")}) == 2 and (tmp_path / f"{longest}x.csv").is_file()


def test_where_caches_lie(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one place, wherever a process has gone; nowhere for a user without a home."""
    monkeypatch.setenv("EVERYFRAME_CACHE", "here")
    monkeypatch.chdir(home)
    assert cache_folder("native") == home / "here" / "native"
    monkeypatch.delenv("EVERYFRAME_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert cache_folder("native").is_relative_to(NOWHERE)
