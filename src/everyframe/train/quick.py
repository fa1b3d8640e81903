"""A training without a recipe: a small causal network that two CPU cores train in minutes, fitted to the clips."""

from __future__ import annotations

from statistics import median

from everyframe.train.data.clips import Collection
from everyframe.train.schema import ClipRecipe

NAME, MINUTES = "quick", 20.0
SHORT_SIDE, FRAMES, FPS = 72, (8, 32), 15.0


def fitted(recipe: ClipRecipe, collection: Collection) -> ClipRecipe:
    """The recipe `quick` with the clips' shape and length: their aspect at 72 pixels, a window as long as a typical clip at
    15 frames a second, and that rate or the clips' own if that is lower.
    """
    from everyframe.train.data import check as data_check

    found = data_check.report(collection)
    aspect = median(height / width for height, width in found.sizes)
    height, width = (SHORT_SIDE * max(1.0, aspect), SHORT_SIDE * max(1.0, 1 / aspect))
    size = (round(height / 8) * 8, round(width / 8) * 8)
    fps = min([FPS, *found.rates])
    frames = min(max(round(median(found.seconds) * fps), FRAMES[0]), FRAMES[1])
    model = recipe.model.model_copy(update={"frames": frames, "size": size})
    preprocess = recipe.preprocess.model_copy(update={"resize": size, "fps": fps}) if recipe.preprocess else None
    return recipe.model_copy(update={"model": model, "preprocess": preprocess})
