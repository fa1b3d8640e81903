"""Recipes: TOML files that say how a network is trained. Unknown keys are rejected."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from everyframe.errors import RecipeError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Strict):
    """Rendered streams. pool: held in memory; fresh: rendered anew before every epoch; frames, fps: of a stream."""

    frames: int = Field(default=48, ge=16, le=512)
    fps: float = Field(default=12.0, gt=0)
    height: int = Field(default=48, ge=16)
    width: int = Field(default=64, ge=16)
    pool: int = Field(default=2000, ge=1)
    fresh: int = Field(default=600, ge=0)
    validation: int = Field(default=500, ge=1)


class Optimiser(_Strict):
    """AdamW with a cosine from `learning_rate` to nothing; `average`: decay of the averaged weights that are kept;
    tracking: weight of the second task, following the hand; bfloat16: convolve in half precision (faster on most
    CPUs of today).
    """

    epochs: int = Field(default=12, ge=1)
    steps: int = Field(default=240, ge=1)  # an epoch
    batch: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    average: float = Field(default=0.99, ge=0, lt=1)
    tracking: float = Field(default=0.5, ge=0)
    bfloat16: bool = True


class Recipe(_Strict):
    """window: feature frames that the head averages, also T of the exported clip network."""

    name: str
    task: str = Field(default="motions", pattern="^motions$")
    window: int = Field(default=12, ge=6, le=64)  # 6: below that some taps never see a frame within the clip
    seeds: int = Field(default=1, ge=1)
    threads: int = Field(default=0, ge=0)  # 0: torch's default
    data: Data = Data()
    optimiser: Optimiser = Optimiser()


def built_in() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("everyframe.train") / "recipes"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name_or_path: str) -> Recipe:
    """A built-in recipe by name, or a TOML file. Raises RecipeError."""
    path = Path(name_or_path)
    if name_or_path in built_in():
        text = (resources.files("everyframe.train") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    elif path.is_file():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError("The recipe cannot be read.", where=path, got=error) from None
    else:
        raise RecipeError(
            "There is no such recipe.",
            where=name_or_path,
            expected=f"a .toml file, or one of: {', '.join(built_in())}",
            hint="check the name or the path",
        )
    return parse(text, where=str(name_or_path))


def parse(text: str, where: str = "recipe") -> Recipe:
    """Validates the text of a recipe."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError("The recipe is not valid TOML.", where=where, got=error) from None
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise RecipeError(
            "The recipe has a setting that cannot be used.",
            where=f"{where}, key {key}",
            expected=first["msg"],
            got=first.get("input"),
            hint="compare with the built-in recipe `motions`",
        ) from None
