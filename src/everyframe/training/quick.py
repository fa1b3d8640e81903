"""A training without a recipe: a small causal network that two CPU cores train in minutes, fitted to the clips."""

from __future__ import annotations

from dataclasses import replace
from statistics import median, median_low

from everyframe.data.clips import Collection
from everyframe.data.header import Header, glance, probe
from everyframe.errors import SourceError
from everyframe.recipes.training import ClipRecipe

NAME, MINUTES = "quick", 20.0
SHORT_SIDE, FRAMES, FPS = 72, (8, 32), 15.0
SLOW = 0.8  # of the rate: clips below it are told


def fitted(recipe: ClipRecipe, collection: Collection) -> tuple[ClipRecipe, Collection]:
    """The recipe `quick` with the clips' shape and length: their aspect with a short side of 72 pixels, a window as long as a
    typical clip, at 15 frames a second or a typical clip's own rate if that is lower. What the recipe sets otherwise stays.
    With it the collection, whose problems name what is not typical. Raises SourceError where no clip can be read.
    """
    clips = collection.splits["train"]
    found = glance(clips) or glance(clips, len(clips))
    if not found:
        raise SourceError(
            "None of the clips can be read.", where=clips[0].path, got=probe(clips[0]).error,
            hint="check that the clips play; record or download them again",
        )  # fmt: skip
    tall = median(header.height / header.width for header in found)
    size = tuple(8 * round(SHORT_SIDE * side / 8) for side in (max(1.0, tall), max(1.0, 1 / tall)))
    rates = [header.fps for header in found if header.fps]
    fps = min(FPS, median_low(rates)) if rates else FPS  # of the typical clip: one time-lapse must not slow down all
    length = median(header.sampled(fps) for header in found)
    frames = min(max(round(length), FRAMES[0]), FRAMES[1])
    model = recipe.model.model_copy(update={"frames": recipe.model.frames or frames, "size": recipe.model.size or size})
    given = recipe.preprocess
    own = given is not None and recipe.model.size is None
    made = recipe.model_copy(
        update={
            "model": model,
            "preprocess": given.model_copy(update={"resize": model.size, "fps": fps}) if given and own else given,
        }
    )
    return made, replace(collection, problems=(*_odd(found, fps if own else None), *collection.problems))


def _odd(found: list[Header], fps: float | None) -> list[str]:
    slow = [header.fps for header in found if header.fps and fps and header.fps < SLOW * fps]
    few = f"{len(slow)} of {len(found)} clips have fewer than {fps:g} frames a second (down to {min(slow):g})" if slow else ""
    return [f"{few}: theirs are repeated"] if few else []
