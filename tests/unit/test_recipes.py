"""Recipes: built-in ones load; anything unknown or impossible is a RecipeError that names the key."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from command_line import problem
from everyframe import recipes
from everyframe.devices import load_profile
from everyframe.errors import RecipeError
from everyframe.evaluation.match import read_map
from everyframe.modelfile.importer import read_mapping
from everyframe.models.checkpoints.published import find
from everyframe.version import RenamedWarning

BUILT_IN = Path(recipes.__file__).parent / "built_in"


def test_built_in_recipe_loads() -> None:
    assert "motions" in recipes.built_in()
    assert recipes.load("motions").name == "motions"


COMMANDS = [
    (name, line.lstrip("# "))
    for name in recipes.built_in()
    for line in (BUILT_IN / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    if line.startswith("#   everyframe ")
]


@pytest.mark.parametrize(("name", "line"), COMMANDS)
def test_the_commands_above_a_recipe_are_right(name: str, line: str) -> None:
    """Accepted as they stand, and the weights that a word names are published."""
    line = line.split("  ")[0]
    assert problem(line) is None
    verb, first, *rest = shlex.split(line)[1:]
    if verb not in ("train", "prune") or first not in recipes.built_in():
        return
    made: Any = recipes.load(first, [value for option, value in pairwise(rest) if option == "--set"])
    section = getattr(made, "model", None)
    if verb == "train" and isinstance(weights := getattr(section, "weights", None), str) and "." not in weights:
        assert find(section.name, weights).tag == weights


def test_no_weights_can_be_asked_for() -> None:
    made: Any = recipes.load("r3d_ucf101", ["model.weights="])
    assert made.model.weights is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('name = "x"\ntask = "motions"\nwindw = 3', "line 3, key windw(.|\n)*did you mean window"),
        ('name = "x"\ntask = "motions"\nwindow = 1', "line 3, key window"),
        ('name = "x"\ntask = "motions"\n[data]\nfps = 0', "line 4, key data.fps"),
        ('name = "x"\ntask = "motions"\n[optimizer]\nlearning_rate = "fast"', "line 4, key optimizer.learning_rate"),
        ('task = "motions"', "key name"),
        ('name = "x"\ntask = "dance"', "line 2, key task"),
        ('name = "x"', "key model"),
        ('name = "x"\n[modell]\nname = "x3d_s"\n[model]\nname = "x3d_s"', "line 2, key modell(.|\n)*did you mean model"),
        ('name = "x"\n[model]\nname = "x3d_s"\n[augment]\nflipp = true', "line 5, key augment.flipp(.|\n)*did you mean flip"),
        ('name = "x"\n[model]\nname = "x3d_s"\n[preprocess]\nfp = 3', "line 5, key preprocess.fp"),
        ('name = "x"\n[model]\nname = "x3d_s"\n[optimizer]\nnesterov = true\ndampening = 0.9', "line 4, key optimizer"),
        ('name = "x"\n[model]\nname = "x3d_s"\n[training]\nbatch = 10\naccumulate = 3', "multiple of accumulate"),
        ('name = "x"\n[model]\nname = "x3d_s"\n[augment]\nswap = [["a", "b"]]', "flip must be true"),
        ('name = "x"\n[model]\nname = "x3d_s"\n[schedule]\nkind = "steps"\nsteps = [90]', "before the last epoch"),
        ('name = "x"\n[model]\nname = 3', "line 3, key model.name"),
    ],
)
def test_wrong_settings_are_named(text: str, key: str) -> None:
    with pytest.raises(RecipeError, match=key):
        recipes.parse(text)


@pytest.mark.parametrize("old", recipes.reader.RENAMED)
def test_sections_as_they_were_called(old: str) -> None:
    new, text = recipes.reader.RENAMED[old], 'name = "x"\ntask = "prune"\n[model]\nname = "x3d_s"\n'
    with pytest.warns(RenamedWarning, match=rf"\[{old}\] is called \[{new}\]"):
        found = recipes.parse(f"{text}[{old}]\nlearning_rate = 0.25\n")
    assert found == recipes.parse(f"{text}[{new}]\nlearning_rate = 0.25\n")
    with pytest.warns(RenamedWarning):
        assert found == recipes.parse(text, changes=[f"{old}.learning_rate=0.25"])
    with pytest.warns(RenamedWarning), pytest.raises(RecipeError, match=f"line 6, key {new}.learning_rate"):
        recipes.parse(f"{text}[{old}]\nlearning_rate = 'fast'\n")


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "mine.toml"
    good.write_text('name = "mine"\ntask = "motions"\nseeds = 2\n')
    assert recipes.load(str(good)).model_dump()["seeds"] == 2
    with pytest.raises(RecipeError, match="motions"):
        recipes.load(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RecipeError, match="TOML"):
        recipes.load(str(tmp_path / "bad.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError):
        recipes.load(str(tmp_path / "binary.toml"))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("model.size", "int | tuple[int, int]"),
        ("sampling.kind", "'clip', 'segments'"),
        ("training.epochs", "training.epochs=VALUE"),
        ("model", "name, frames, size"),
        ("model.nothing", "KEY=VALUE"),
        ("a.b.c", "KEY=VALUE"),
    ],
)
def test_a_change_without_a_value_says_what_is_taken(change: str, wanted: str) -> None:
    with pytest.raises(RecipeError) as raised:
        recipes.load("surrogate", [change])
    assert wanted in str(raised.value.expected)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (lambda path: recipes.load(str(path)), 'name = "mine"\ntask = "motions"\nseeds = 2\n'),
        (read_map, '"a" = "b"\n'),
        (read_mapping, 'frames = { input = "x", layout = "NCTHW" }\nlogits = { output = "y" }\n'),
        (load_profile, 'name = "board"\ntitle = "Board"\n[[operators]]\nops = ["Conv"]\ninferred = "an example of theirs"\n'),
    ],
    ids=["recipe", "label map", "mapping", "profile"],
)
def test_what_editors_of_windows_write(tmp_path: Path, read: Callable[[Path], object], text: str) -> None:
    """A byte order mark, and two characters at the end of a line."""
    plain, windows = tmp_path / "plain" / "x.toml", tmp_path / "windows" / "x.toml"
    for path, data in ((plain, text.encode()), (windows, text.replace("\n", "\r\n").encode("utf-8-sig"))):
        path.parent.mkdir()
        path.write_bytes(data)
    assert read(windows) == read(plain)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"--data {tmp_path}"):
        recipes.load(str(tmp_path))
