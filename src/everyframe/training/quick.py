"""A training without a recipe: a small causal network that two CPU cores train in minutes, fitted to the clips."""

from __future__ import annotations

from statistics import median

from everyframe.data.clips import Collection
from everyframe.data.header import glance, probe
from everyframe.errors import SourceError
from everyframe.recipes.training import ClipRecipe

NAME, MINUTES = "quick", 20.0
SHORT_SIDE, FRAMES, FPS = 72, (8, 32), 15.0
SLOW = 0.8


def fitted(recipe: ClipRecipe, collection: Collection) -> tuple[ClipRecipe, tuple[str, ...]]:
    """The recipe `quick` with the clips' shape and length: their aspect with a short side of 72 pixels, a window as long as a
    typical clip, at 15 frames a second or the clips' usual rate if that is lower. What the recipe sets otherwise stays.
    With it, what is to be told of the clips.
    """
    clips = collection.splits["train"]
    found = glance(clips)
    if not found:
        raise SourceError("None of the clips can be read.", where=clips[0].path, got=probe(clips[0]).error)
    tall = median(header.height / header.width for header in found)
    size = tuple(8 * round(SHORT_SIDE * side / 8) for side in (max(1.0, tall), max(1.0, 1 / tall)))
    rates = [header.fps for header in found if header.fps]
    fps = min(FPS, median(rates)) if rates else FPS
    length = median(header.sampled(fps) for header in found)
    frames = min(max(round(length), FRAMES[0]), FRAMES[1])
    model = recipe.model.model_copy(update={"frames": recipe.model.frames or frames, "size": recipe.model.size or size})
    given = recipe.preprocess
    fitted_to = {"resize": model.size, "fps": fps} if recipe.model.size is None else {}
    made = recipe.model_copy(update={"model": model, "preprocess": given.model_copy(update=fitted_to) if given else None})
    slow = sum(rate < SLOW * fps for rate in rates)
    note = f"{slow} of {len(rates)} clips have a lower rate than the model's {fps:g} fps; their frames are repeated"
    return made, (note,) if slow else ()
