"""Which task a model is for, without running it."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import onnx

from everyframe.errors import EveryframeError
from everyframe.modelfile.file import metadata_of
from everyframe.modelfile.without_weights import without_graph
from everyframe.native import artifact
from everyframe.recipes.reader import load as load_recipe
from everyframe.recipes.super_resolution import SuperResolutionRecipe


def enhances(model: str | os.PathLike[str]) -> bool:
    """Does it make pictures better? Weights are not read, since every prediction asks first. Of what cannot be read at all
    whoever opens it says why."""
    if os.fspath(model) == "builtin" or not Path(model).is_file():
        return False
    try:
        if artifact.is_library(model):
            bare = onnx.ModelProto.FromString(base64.b64decode(artifact.told(model)["model"]))
        else:
            bare = without_graph(model)
        told = metadata_of(bare, model)
    except (EveryframeError, OSError, ValueError, LookupError, TypeError):
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
