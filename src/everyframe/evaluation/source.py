"""Which labeled videos: a folder in one of the formats, or what a recipe names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from everyframe import recipes as recipes
from everyframe.data.clips import Collection
from everyframe.data.formats import read
from everyframe.errors import RecipeError
from everyframe.recipes.training import ClipRecipe, Data, Sampling


def chosen(
    path: Path, model: Path | None, form: str = "folders", split: str | None = None, listed: str | None = None,
    classes: str | None = None,
) -> tuple[Collection, Sampling, str, str]:  # fmt: skip
    """(clips, sampling, split, why this split). split: None is validation; of data without splits everything, or, where the
    run folder of `model` says that it was trained on them, the share that was held out then. The rest is as for `collection`.
    """
    trained = _trained_on(model, path) if split is None and form == "folders" and listed is None else None
    found, sampling = collection(path, form, split or "validation", listed, classes, trained)
    if split is not None or not found.held or path.suffix.lower() == ".toml":
        return found, sampling, split or "validation", ""
    if trained is not None:
        return found, sampling, "validation", f"the {trained.holdout:.0%} that the model's training held out of this folder"
    every = {"all": tuple(clip for clips in found.splits.values() for clip in clips)}
    return replace(found, splits=every), sampling, "all", "there are no splits; a model trained on these: --split validation"


def _trained_on(model: Path | None, path: Path) -> Data | None:
    """What the run of a model, its folder or a file in it, says of its data, if these were in the folder `path`."""
    places = [] if model is None else [folder / "recipe.toml" for folder in (model, model.absolute().parent)]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        return None
    try:
        recipe = recipes.load(str(place))
    except RecipeError:  # a file of another program that is called so
        return None
    if not isinstance(recipe, ClipRecipe) or (place.parent / recipe.data.root).resolve() != path.resolve():
        return None
    return recipe.data


def collection(
    path: Path, form: str = "folders", split: str = "validation", listed: str | None = None, classes: str | None = None,
    trained: Data | None = None,
) -> tuple[Collection, Sampling]:  # fmt: skip
    """path: the videos' folder, or a recipe, which then says all the rest. listed: the list that is to be the split; it and
    classes lie below the folder or anywhere. trained: how a training read that folder. Raises SourceError, RecipeError.
    """
    if path.suffix.lower() == ".toml":
        recipe = recipes.load(str(path))
        if not isinstance(recipe, ClipRecipe):
            raise RecipeError("This recipe names no labeled videos.", where=path, expected='task = "clips"', got=recipe.task)
        # a finished model is given its frames at the rate it was trained at, so that nothing is left of the stride
        return read(recipe.data, path.parent), recipe.sampling.model_copy(update={"stride": 1})
    if trained is not None:
        return read(trained.model_copy(update={"root": "."}), path), Sampling()
    listed, classes = _anywhere(path, listed), _anywhere(path, classes)
    found = read(Data(format=form, root=".", train=listed, validation=listed, labels=classes), path)
    if listed is not None:
        found = Collection(found.labels, {split: found.splits["validation"]}, tuple(dict.fromkeys(found.problems)))
    return found, Sampling()


def _anywhere(folder: Path, name: str | None) -> str | None:
    return name if name is None or (folder / name).exists() else str(Path(name).absolute())
