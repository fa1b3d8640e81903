"""Recipes: built-in ones load; anything unknown or impossible is a RecipeError that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from everyframe.errors import RecipeError
from everyframe.train import recipe


def test_built_in_recipe_loads() -> None:
    assert "motions" in recipe.built_in()
    assert recipe.load("motions").name == "motions"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('name = "x"\nwindw = 3', "windw"),
        ('name = "x"\nwindow = 1', "window"),
        ('name = "x"\n[data]\nfps = 0', "data.fps"),
        ('name = "x"\n[optimiser]\nlearning_rate = "fast"', "optimiser.learning_rate"),
        ('name = "x"\n[optimizer]\nepochs = 1', "optimizer"),
        ("window = 8", "name"),
        ('name = "x"\ntask = "dance"', "task"),
    ],
)
def test_wrong_settings_are_named(text: str, key: str) -> None:
    with pytest.raises(RecipeError, match=key):
        recipe.parse(text)


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "mine.toml"
    good.write_text('name = "mine"\nseeds = 2\n')
    assert recipe.load(str(good)).seeds == 2
    with pytest.raises(RecipeError, match="motions"):
        recipe.load(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RecipeError, match="TOML"):
        recipe.load(str(tmp_path / "bad.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError):
        recipe.load(str(tmp_path / "binary.toml"))
