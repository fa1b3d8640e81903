"""A pruning from beginning to end. Its stages are ordinary trainings in folders of their own, so each can be resumed.

recipe.toml, labels.txt, environment.json   of the whole, as in every run folder
dense/              the trained network, where the recipe names none that has a run folder
regularize/         the training that drives units to zero
mask.npz            what is kept
retrain/            the training of what is left
pruning.json        figures; best.safetensors, clip.onnx, step.onnx, report.html, ...: the finished model
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from everyframe import recipes as recipes
from everyframe.data import clips
from everyframe.errors import RecipeError, UsageError
from everyframe.files import write_bytes
from everyframe.pruning import plan
from everyframe.pruning.result import Result
from everyframe.pruning.stages import REGULARIZE, Stages
from everyframe.recipes.pruning import Prune, PruneRecipe
from everyframe.recipes.training import Schedule
from everyframe.training import folder, loop, network
from everyframe.training import run as training


def settings(name_or_path: str, changes: Sequence[str] = ()) -> tuple[PruneRecipe, str]:
    """(recipe, what its paths are relative to) of a training's run folder, a built-in recipe or a .toml file; changes: as in
    `everyframe.recipes.load`. Raises RecipeError or UsageError.
    """
    path = Path(name_or_path)
    if path.is_dir():
        where = str(path / "recipe.toml")
        found = recipes.parse(folder.as_toml(of_run(path)), where=str(path), changes=changes)
    else:
        where, found = name_or_path, recipes.load(name_or_path, changes)
    if not isinstance(found, PruneRecipe):
        raise UsageError(
            "This recipe trains a network and prunes none.", where=name_or_path, expected="task = 'prune' and [prune]",
            got=f"task {found.task}", hint="everyframe train it, then everyframe prune its run folder",
        )  # fmt: skip
    return found, where


def of_run(path: Path) -> PruneRecipe:
    """What is sensible for a trained network without a recipe: its own training, a third as long and with a third of its
    learning rate, once to regularize and once to retrain.
    """
    given = folder.read(path)
    trained = max((row["epoch"] for row in given.epochs), default=given.recipe.training.epochs)
    recipe, optimizer = given.recipe, given.recipe.optimizer
    return PruneRecipe(**{
        **{name: getattr(recipe, name) for name in recipe.model_fields_set - {"task", "distillation"}},
        "task": "prune",
        "prune": Prune(dense=str(path.resolve())),
        "training": recipe.training.model_copy(update={"epochs": max(1, math.ceil(trained / 3))}),
        "optimizer": optimizer.model_copy(update={"learning_rate": optimizer.learning_rate / 3}),
        "schedule": Schedule(kind="cosine", warmup=min(1.0, trained / 30)),
    })  # fmt: skip


def start(
    recipe: PruneRecipe, path: Path, *, where: str | None = None, data: Path | None = None, minutes: float | None = None
) -> Result | None:
    """Prunes by a recipe, into a new run folder. where, data, minutes: as in `everyframe.training.run.start`; the stages share
    the minutes by their epochs. Raises an EveryframeError before any work where something does not fit.
    """
    recipe = with_dense(recipe)
    found, collection = training.read(recipe, where, data)
    return _prune(found, collection, path, minutes, resumed=False)


def resume(path: Path, *, minutes: float | None = None) -> Result | None:
    """Goes on with the pruning in a run folder."""
    if not (path / "recipe.toml").is_file():
        raise UsageError("There is no pruning to resume.", where=path, hint="leave out --resume")
    recipe = folder.read(path).recipe
    if not isinstance(recipe, PruneRecipe):
        raise UsageError("This is the folder of a training.", where=path, hint="everyframe train --resume goes on with it")
    found, collection = training.read(recipe, str(path / "recipe.toml"), None)
    _renamed(path)
    return _prune(found, collection, path, minutes, resumed=True)


def _renamed(path: Path) -> None:
    """Stages of version 0.1 are called as they are now."""
    if (path / "regularise").is_dir() and not (path / REGULARIZE).exists():
        (path / "regularise").rename(path / REGULARIZE)
    if (record := path / "pruning.json").is_file() and "regularise" in (text := record.read_text("utf-8")):
        write_bytes(text.replace("regularise", REGULARIZE).encode(), record)


def with_dense(recipe: PruneRecipe) -> PruneRecipe:
    """The recipe with the model and preprocessing of the run folder that it prunes. Raises RecipeError for another network's."""
    dense = recipe.prune.dense
    if dense is None:
        return recipe
    path = Path(dense)
    if not path.exists():
        raise RecipeError("There is no such dense network.", where="key prune.dense", got=path, hint="train it: everyframe train")
    changes: dict[str, Any] = {"prune": recipe.prune.model_copy(update={"dense": str(path.resolve())})}
    if path.is_dir():
        given = folder.read(path)
        if given.recipe.model.name != recipe.model.name:
            raise RecipeError(
                "The dense network is another one than the recipe's.", where=path, expected=recipe.model.name,
                got=given.recipe.model.name, hint="set model.name, or prune the run folder without a recipe",
            )  # fmt: skip
        changes |= {"model": given.recipe.model, "preprocess": given.recipe.preprocess}
    return recipe.model_copy(update=changes)


def _prune(recipe: PruneRecipe, collection: clips.Collection, path: Path, minutes: float | None, resumed: bool) -> Result | None:
    stages = Stages(recipe, collection, path, minutes)
    stages.check_dense()
    trained = network.build(stages.plain(stages.given), len(collection.labels))
    planned = plan.make(recipe.prune, trained)
    fabric = loop.launch(recipe)
    if fabric.is_global_zero and not resumed:
        folder.create(path, recipe, collection.labels)
    fabric.barrier()
    return stages.run(fabric, trained, planned)
