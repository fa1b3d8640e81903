"""Trainings that begin with the weights of another: its network and what it is shown come along, or have to be the same.

A network knows pixels as they were normalized when it learned. Shown others it computes something else from its first layer
on, all shapes fit, and nothing tells but the accuracy.
"""

from __future__ import annotations

from pathlib import Path

from everyframe import modelfile
from everyframe.errors import RecipeError, UsageError
from everyframe.modelfile.schema import Preprocess
from everyframe.recipes.training import ClipRecipe
from everyframe.training import folder

#: what of the preprocessing the first layer depends on; another size or rate is still the same picture
NORMALIZED = ("color", "scale", "mean", "std")


def weights_of(recipe: ClipRecipe) -> ClipRecipe:
    """A run folder as `model.weights` is its best weights. Raises UsageError where it has none."""
    named = recipe.model.weights
    if named is None or not Path(named).is_dir():
        return recipe
    best = Path(named).resolve() / "best.safetensors"
    if not best.is_file():
        raise UsageError(
            "There are no weights in this folder.", where=named, expected="the run folder of a training, with best.safetensors",
            hint="check the path, or let that training come to its first validation",
        )  # fmt: skip
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": str(best)})})


def run_of(recipe: ClipRecipe) -> Path | None:
    """The run folder of a training on clips whose weights are begun with."""
    named = recipe.model.weights
    run = Path(named).parent if named is not None and Path(named).is_file() else None
    return run if run is not None and (run / "recipe.toml").is_file() and (run / "labels.txt").is_file() else None


def like(recipe: ClipRecipe, run: Path) -> ClipRecipe:
    """The recipe for the network, the shape and the preprocessing of a run."""
    before = folder.read(run).recipe
    kept = before.model.model_copy(update={"weights": recipe.model.weights, "train": recipe.model.train})
    made = recipe.model_copy(update={"model": kept, "preprocess": _shown(run) or before.preprocess})
    return made


def check(recipe: ClipRecipe, preprocess: Preprocess) -> None:
    """Raises RecipeError where the weights learned from pixels that were normalized otherwise."""
    run = run_of(recipe)
    before = _shown(run) if run is not None else None
    if before is None or _normalized(before) == _normalized(preprocess):
        return
    raise RecipeError(
        "The weights learned from pictures that were normalized otherwise.", where="key model.weights",
        expected=_said(before), got=_said(preprocess),
        hint=f"set preprocess as {run}/recipe.toml has it; without a recipe, `everyframe train --data FOLDER --set "
        f"model.weights={run}` takes it from there",
    )  # fmt: skip


def _shown(run: Path) -> Preprocess | None:
    """What the finished model of a run is shown. None: it is not finished."""
    model = run / "clip.onnx"
    metadata = modelfile.metadata_of(modelfile.load(model), model) if model.is_file() else None
    return None if metadata is None else metadata.preprocess


def _normalized(preprocess: Preprocess) -> tuple[object, ...]:
    return tuple(getattr(preprocess, name) for name in NORMALIZED)


def _said(preprocess: Preprocess) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(NORMALIZED, _normalized(preprocess), strict=True))
