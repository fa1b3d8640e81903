"""Which task a model or a run folder is for, without running it."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import onnx

from everyframe.errors import EveryframeError
from everyframe.modelfile.file import metadata_of
from everyframe.modelfile.without_weights import without_graph
from everyframe.native import artifact
from everyframe.recipes import BESIDE, DetectionRecipe, SuperResolutionRecipe
from everyframe.recipes.reader import load as load_recipe

#: tasks beside recognition, as files call them
NAMES = ("enhance", "detect")


def task_of(model: str | os.PathLike[str]) -> str | None:
    """Of a file, whether it makes pictures better or finds objects in scans; None of any other. Weights are not read, since every
    prediction asks first. Of what cannot be read at all whoever opens it says why.
    """
    if os.fspath(model) == "builtin" or not Path(model).is_file():
        return None
    try:
        if artifact.is_library(model):
            bare = onnx.ModelProto.FromString(base64.b64decode(artifact.told(model)["model"]))
        else:
            bare = without_graph(model)
        told = metadata_of(bare, model)
    except (EveryframeError, OSError, ValueError, LookupError, TypeError):
        return None
    return told.task if told is not None and told.task in NAMES else None


def trained(run: str | os.PathLike[str]) -> SuperResolutionRecipe | DetectionRecipe | None:
    """The recipe of a run folder whose training was one of these tasks."""
    file = Path(run) / "recipe.toml"
    try:
        recipe = load_recipe(str(file)) if file.is_file() else None
    except EveryframeError:
        return None
    return recipe if isinstance(recipe, BESIDE) else None


def deployed(model: str) -> str:
    """The file to run: that of a run folder, if it is one of these tasks'."""
    return f"{model}/step.onnx" if trained(model) is not None else model
