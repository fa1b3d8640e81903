"""Which task a model is for, without running it."""

from __future__ import annotations

import os
from pathlib import Path

from everyframe.errors import EveryframeError
from everyframe.modelfile.file import Held, load, metadata_of
from everyframe.native import artifact
from everyframe.recipes.reader import load as load_recipe
from everyframe.recipes.super_resolution import SuperResolutionRecipe


def enhances(model: str | os.PathLike[str] | Held) -> bool:
    """Does it make pictures better? Of what cannot be read at all whoever opens it says why."""
    if not isinstance(model, Held) and (os.fspath(model) == "builtin" or not Path(model).is_file()):
        return False
    try:
        library = not isinstance(model, Held) and artifact.is_library(model)
        told = metadata_of(artifact.read(model)["model"] if library else load(model), model)
    except EveryframeError:
        return False
    return told is not None and told.task == "enhance"


def trained(run: str | os.PathLike[str]) -> SuperResolutionRecipe | None:
    """The recipe of a run folder whose training was one of these tasks."""
    file = Path(run) / "recipe.toml"
    try:
        recipe = load_recipe(str(file)) if file.is_file() else None
    except EveryframeError:
        return None
    return recipe if isinstance(recipe, SuperResolutionRecipe) else None
