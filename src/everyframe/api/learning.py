"""New weights: a head from a few examples, a training, a pruning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from everyframe.api.given import File, Kept, Model, Progress, source

if TYPE_CHECKING:
    from everyframe.api.outcomes import Run, Taught
    from everyframe.errors import UsageError
    from everyframe.pruning import result as pruning
    from everyframe.training import finish as training


def teach(
    model: Model = "builtin",
    examples: File | Sequence[File] = (),
    output: File | None = None,
    *,
    background: Iterable[File] = (),
    window: int | None = None,
    progress: Progress | None = None,
) -> Taught:
    """A model with new gestures from about five examples of each, in seconds and without torch: the classifier is replaced by
    one on its features (width,), and an event rule is tuned. The result is a step model.

    model: a step or clip model. examples: a folder (or several) with a folder of clips for each gesture; `none` is background.
    background: more footage without any gesture. window: feature frames that the head averages. output: the file to write; None
    keeps the model in memory. Raises SourceError, UsageError, ModelError, OutputError.

    >>> taught = ef.teach("step.onnx", "clips")
    >>> taught.learned.labels
    ('none', 'left', 'still')
    """
    from everyframe.api.outcomes import Taught
    from everyframe.teaching import teach

    given = model if isinstance(model, str) else source(model)
    return Taught(**vars(teach(given, examples, output, background=background, window=window, progress=progress)))


def train(
    data: File | None = None,
    output: File | None = None,
    *,
    recipe: str | None = None,
    settings: Sequence[str] = (),
    minutes: float | None = None,
    resume: bool = False,
) -> Run | None:
    """A network trained on labeled clips, as clip and step model, evaluated; on a terminal with a bar. Needs
    `pip install 'everyframe[train]'`. Clips become batches (N, C, T, H, W) by the recipe.

    data: a folder with a folder of clips for each class (default: what the recipe names). recipe: a built-in recipe or a .toml
    file; without one a small network is chosen for the clips. settings: changes to it, `key=value`. minutes: end after so many.
    resume: go on with the run in `output`. output: the run folder; None keeps it as long as the result lives. The first of
    several processes gets the result, the others None. Raises UsageError, RecipeError, SourceError, OutputError, TrainingStopped.

    >>> run = ef.train("moving", recipe="recipe.toml", settings=["training.epochs=1"])
    >>> run.ended, ef.open(run.model, engine="ort").metadata.kind
    (True, 'step')
    """
    from everyframe.errors import UsageError

    try:
        from everyframe import recipes
        from everyframe.recipes.training import ClipRecipe
        from everyframe.training import run
    except ImportError as error:
        raise _missing("Training", error) from None
    if resume:
        if recipe or data or settings or output is None:
            raise _alone()
        return _run(run.resume(Path(output), minutes=minutes))
    if recipe is None and data is None:
        raise UsageError("There is nothing to train on.", expected="a recipe, or a folder of clips with one folder a class")
    found = recipes.load(recipe or "quick", settings)
    if not isinstance(found, ClipRecipe):
        raise UsageError("This recipe is not about labeled clips.", where=recipe, hint=f"everyframe train {recipe}")
    path, held = _folder(output)
    root = None if data is None else Path(data)
    return _run(run.start(found, path, where=recipe, data=root, minutes=minutes), held)


def prune(
    run: File,
    output: File | None = None,
    *,
    data: File | None = None,
    rate: float | None = None,
    speedup: float | None = None,
    settings: Sequence[str] = (),
    minutes: float | None = None,
    resume: bool = False,
) -> Run | None:
    """A trained network that computes less, in patterns that compiled models run fast: regularized, cut and retrained. Needs
    `pip install 'everyframe[train]'`. The shapes of inputs and outputs stay.

    run: the run folder of a training, a built-in recipe for pruning or a .toml file; with `resume` the folder to go on with.
    data: the folder of clips (default: the training's). rate: so many times fewer multiply-adds (default: 3, or as the recipe
    says). speedup: so many times faster when compiled, for which layers are measured here. settings: changes to the recipe,
    `key=value`. minutes: end after so many, all stages together. output: the new run folder; None keeps it as long as the
    result lives. The first of several processes gets the result, the others None.
    Raises UsageError, RecipeError, SourceError, OutputError, TrainingStopped.

    >>> ef.prune("nowhere.toml")
    Traceback (most recent call last):
    everyframe.errors.RecipeError: There is no such recipe...
    """
    from everyframe.errors import UsageError

    try:
        from everyframe.pruning import run as stages
        from everyframe.pruning import search
    except ImportError as error:
        raise _missing("Pruning", error) from None
    if resume:
        if data or settings or rate or speedup or output is not None:
            raise _alone()
        return _run(stages.resume(Path(run), minutes=minutes))
    if rate is not None and speedup is not None:
        raise UsageError("Either the speed-up is searched for or the rate is given.", expected="rate or speedup")
    changes = [*settings, *([f"prune.rate={rate}"] if rate is not None else [])]
    found, where = stages.settings(str(run), changes)
    root = None if data is None else Path(data)
    path, held = _folder(output)
    if speedup is not None:
        search.into(found, path, where=where, data=root, speedup=speedup)
        found, where = stages.settings(str(path / search.FILE))
    return _run(stages.start(found, path, where=where, data=root, minutes=minutes), held)


def _folder(output: File | None) -> tuple[Path, Kept | None]:
    """The run folder, and what keeps it where none is named."""
    if output is not None:
        return Path(output), None
    held = Kept()
    return held.path / "run", held


def _run(result: training.Result | pruning.Result | None, held: Kept | None = None) -> Run | None:
    from everyframe.api.outcomes import Run

    return None if result is None else Run(result.path, result, held)


def _missing(what: str, error: ImportError) -> UsageError:
    from everyframe.errors import UsageError

    return UsageError(f"{what} needs packages that are not installed.", got=error.name, hint="pip install 'everyframe[train]'")


def _alone() -> UsageError:
    from everyframe.errors import UsageError

    return UsageError(
        "resume goes on with what the run folder says.", expected="the run folder, and perhaps minutes",
        hint="begin a new run for other settings",
    )  # fmt: skip
