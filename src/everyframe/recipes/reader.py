"""Recipes: TOML files that say how a network is trained. Whatever they say wrong is refused before any work, with its line."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from everyframe.errors import RecipeError
from everyframe.files import at_home
from everyframe.recipes.detection import DetectionRecipe
from everyframe.recipes.motions import MotionsRecipe
from everyframe.recipes.pruning import PruneRecipe
from everyframe.recipes.super_resolution import SuperResolutionRecipe
from everyframe.recipes.training import ClipRecipe
from everyframe.settings import checked, place, section
from everyframe.version import RenamedWarning

Recipe = ClipRecipe | MotionsRecipe | SuperResolutionRecipe | DetectionRecipe
#: `task` of a recipe -> what it may say
TASKS: dict[str, type[ClipRecipe] | type[MotionsRecipe] | type[SuperResolutionRecipe] | type[DetectionRecipe]] = {
    "clips": ClipRecipe, "prune": PruneRecipe, "motions": MotionsRecipe, "enhance": SuperResolutionRecipe,
    "detect": DetectionRecipe,
}  # fmt: skip
#: what is trained on something else than labeled clips, by a folder of `tasks/`
BESIDE = (SuperResolutionRecipe, DetectionRecipe)

#: sections as version 0.1 spelled them, and as they are called now
RENAMED = {"optimiser": "optimizer", "regularise": "regularize"}


def built_in() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files(__package__) / "built_in"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name_or_path: str | os.PathLike[str], changes: Sequence[str] = ()) -> Recipe:
    """A built-in recipe by name, or a TOML file. changes: `key=value`, as in TOML. Raises RecipeError."""
    name_or_path = os.fspath(name_or_path)
    path = Path(name_or_path)
    if name_or_path in built_in():
        text = (resources.files(__package__) / "built_in" / f"{name_or_path}.toml").read_text("utf-8")
    elif path.is_file():
        try:
            text = path.read_text("utf-8-sig")
        except UnicodeDecodeError:
            raise RecipeError("This is no recipe.", where=path, expected="a .toml file", got="a file that is no text") from None
        except OSError as error:
            raise RecipeError("The recipe cannot be read.", where=path, got=error.strerror) from None
    else:
        close = difflib.get_close_matches(name_or_path, built_in(), n=3)
        raise RecipeError(
            "There is no such recipe.",
            where=name_or_path,
            expected=f"a .toml file, or one of: {', '.join(close or built_in())}",
            hint=f"a folder of clips is given by --data {name_or_path}" if path.is_dir() else "check the name or the path",
        )
    return parse(text, where=str(name_or_path), changes=changes)


def parse(text: str, where: str = "recipe", changes: Sequence[str] = ()) -> Recipe:
    """Validates the text of a recipe."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError("The recipe is not valid TOML.", where=where, got=error) from None
    for change in changes:
        _change(values, change)
    values = at_home(values)
    _rename(values, where)
    task = values.get("task", "clips")
    if task not in TASKS:
        raise RecipeError(
            "There is no such task.", where=place(where, text, ("task",), RENAMED), expected=" or ".join(TASKS), got=task,
            hint="leave `task` out to train on labeled clips",
        )  # fmt: skip
    return checked(
        TASKS[task], values, text, where, what="recipe", explained="docs/train.md explains every key", error=RecipeError,
        renamed=RENAMED,
    )  # fmt: skip


def _change(values: dict[str, Any], change: str) -> None:
    """Sets `section.key=value`. What is no TOML value is taken as a string."""
    key, equals, written = change.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last:
        raise RecipeError("This changes no setting.", where="--set", expected=_accepted(values, (*sections, last)), got=change)
    try:
        value = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        value = written.strip()
    for name in sections:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise RecipeError("This is no section of the recipe.", where=f"--set {change}", got=name)
    values[last] = value


def _accepted(values: dict[str, Any], keys: tuple[str, ...]) -> str:
    """What a setting would take, or the keys of a section, or how a setting is written."""
    schema, name = TASKS.get(values.get("task", "clips"), ClipRecipe), ".".join(keys)
    try:
        annotation = section(schema, keys[:-1]).model_fields[keys[-1]].annotation
    except (KeyError, StopIteration):
        return "KEY=VALUE, such as training.epochs=20"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"{name}.KEY=VALUE, KEY one of {', '.join(annotation.model_fields)}"
    kind = annotation.__name__ if isinstance(annotation, type) else re.sub(r"typing\.|[\w.]+\.(?=[A-Z])", "", str(annotation))
    return f"{name}=VALUE, with a value of {kind.replace('Literal[', 'one of [').replace(' | None', '')}"


def _rename(values: dict[str, Any], where: str) -> None:
    """Old names of sections are taken, with a word; what both names say is the new name's."""
    for old, new in RENAMED.items():
        if isinstance(section := values.pop(old, None), dict):
            warnings.warn(f"{where}: [{old}] is called [{new}] now; the old name will go", RenamedWarning, stacklevel=3)
            values[new] = {**section, **values.get(new, {})}
