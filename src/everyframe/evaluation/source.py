"""Which labeled videos: a folder in one of the formats, or what a recipe names."""

from __future__ import annotations

from pathlib import Path

from everyframe import recipes as recipes
from everyframe.data.clips import Collection
from everyframe.data.formats import read
from everyframe.errors import RecipeError
from everyframe.recipes.training import ClipRecipe, Data, Sampling


def collection(
    path: Path, form: str = "folders", split: str = "validation", listed: str | None = None, classes: str | None = None
) -> tuple[Collection, Sampling]:
    """path: the videos' folder, or a recipe, which then says all the rest. listed: the list that is to be the split; it and
    classes lie below the folder or anywhere. Raises SourceError, RecipeError.
    """
    if path.suffix.lower() == ".toml":
        recipe = recipes.load(str(path))
        if not isinstance(recipe, ClipRecipe):
            raise RecipeError("This recipe names no labeled videos.", where=path, expected='task = "clips"', got=recipe.task)
        # a finished model is given its frames at the rate it was trained at, so that nothing is left of the stride
        return read(recipe.data, path.parent), recipe.sampling.model_copy(update={"stride": 1})
    listed, classes = _anywhere(path, listed), _anywhere(path, classes)
    found = read(Data(format=form, root=".", train=listed, validation=listed, labels=classes), path)
    if listed is not None:
        found = Collection(found.labels, {split: found.splits["validation"]}, tuple(dict.fromkeys(found.problems)))
    return found, Sampling()


def _anywhere(folder: Path, name: str | None) -> str | None:
    return name if name is None or (folder / name).exists() else str(Path(name).absolute())
