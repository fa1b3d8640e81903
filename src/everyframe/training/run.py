"""A training from beginning to end: data, network, loop, and the finished model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from lightning_fabric import Fabric

from everyframe.data import check as data_check
from everyframe.data import clips, formats, surrogate
from everyframe.data.header import glance
from everyframe.errors import SourceError, UsageError
from everyframe.progress import bar
from everyframe.recipes import DetectionRecipe, SuperResolutionRecipe
from everyframe.recipes.training import ClipRecipe
from everyframe.training import begin, finish, folder, loader, loop, network, quick, teacher
from everyframe.training.hook import Hook
from everyframe.training.objective import Labels, Objective

Given = TypeVar("Given", bound=ClipRecipe)


def start(
    recipe: ClipRecipe, path: Path, *, where: str | None = None, data: Path | None = None, minutes: float | None = None
) -> finish.Result | None:
    """Trains by a recipe, into a new run folder. where: the recipe's file, which `data.root` is relative to; data: another
    root. None on all but the first of several processes. Raises an EveryframeError before any work where something does not fit.
    """
    _check_task(recipe)
    recipe, collection = read(begin.weights_of(recipe), where, data)
    if recipe.name == quick.NAME and where is None:
        minutes = minutes or quick.MINUTES
        run = begin.run_of(recipe)
        recipe, collection = quick.fitted(recipe, collection) if run is None else (begin.like(recipe, run), collection)
    elif recipe.surrogate and not Path(where or "").is_file():  # a recipe of the package: what `quick` goes on with
        recipe, collection = quick.fitted(recipe, collection)
    return _train(recipe, collection, path, minutes, resumed=False)


def resume(path: Path, *, minutes: float | None = None) -> finish.Result | None:
    """Goes on with the training in a run folder, or finishes it if only that is missing."""
    if not (path / "recipe.toml").is_file():
        raise UsageError("There is no training to resume.", where=path, hint="leave out --resume")
    given = folder.read(path).recipe
    _check_task(given)
    recipe, collection = read(given, str(path / "recipe.toml"), None)
    return _train(recipe, collection, path, minutes, resumed=True)


def _check_task(recipe: ClipRecipe) -> None:
    if recipe.task != "clips":
        raise UsageError("This recipe is no training's.", where=recipe.name, got=f"task {recipe.task}", hint="everyframe prune")


def check(recipe: ClipRecipe, where: str | None, data: Path | None) -> data_check.Report:
    """What the clips are, without training."""
    recipe, collection = read(recipe, where, data)
    with bar("reading clips") as progress:
        return data_check.report(collection, loader.workers(recipe), progress)


def read(recipe: Given, where: str | None, data: Path | None) -> tuple[Given, clips.Collection]:
    """The recipe with the place of its clips, and the clips. Raises UsageError where they are missing."""
    if data is None:
        if where is None or not Path(where).is_file():
            raise UsageError("The recipe does not say where the clips are.", where=recipe.name, hint="--data FOLDER")
        data = Path(where).parent / recipe.data.root
    if data.is_file():  # spans of long recordings beside it
        marked = recipe.data.model_copy(update={"format": "spans", "root": str(data.resolve().parent), "train": data.name})
        return recipe.model_copy(update={"data": marked}), formats.read(marked, data.parent)
    if not data.is_dir():
        raise UsageError("There is no such folder of clips.", where=data, hint="check the path")
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": str(data.resolve())})})
    return recipe, formats.read(recipe.data, data)


def _train(
    recipe: ClipRecipe, collection: clips.Collection, path: Path, minutes: float | None, resumed: bool
) -> finish.Result | None:
    fabric = loop.launch(recipe)
    told = data_check.restamped(collection.labels, glance(collection.splits.get("train", ())))
    trained = network.build(recipe, recipe.surrogate.classes if recipe.surrogate else len(collection.labels))
    begin.check(recipe, trained.preprocess)
    if recipe.surrogate:
        given = [clip for split in collection.splits.values() for clip in split]
        made, stride, workers = trained.made, recipe.sampling.stride, loader.workers(recipe)
        wanted = recipe.surrogate
        collection = surrogate.seeds(
            given, wanted.seeds, made.frames, trained.preprocess, stride, workers, wanted.backwards
        )  # fmt: skip
    with fitting(fabric, recipe, trained, collection, path, resumed) as (fit, broken):
        ended = fit.fit(minutes)
    if not fabric.is_global_zero:
        return None
    notes = (
        *trained.made.notes,
        *(one.note() for one in told),
        *collection.problems[:3],
        *broken.notes(),
        *fit.pace.shortfall("training.epochs"),
    )
    return finish.finish(fit.run, trained, collection, fit.at, ended, notes)


@contextlib.contextmanager
def fitting(
    fabric: Fabric, recipe: ClipRecipe, trained: network.Trained, collection: clips.Collection, path: Path, resumed: bool,
    hook: Hook | None = None, wrap: Callable[[Objective], Objective] | None = None,
) -> Iterator[tuple[loop.Loop, Broken]]:  # fmt: skip
    """A loop over the collection in its run folder, ready to begin or, resumed, to go on. wrap: another objective out of that."""
    broken = Broken(recipe)
    with aimed(fabric, recipe, trained, collection, broken) as objective:
        if resumed and folder.read(path).labels != collection.labels:
            raise UsageError("The data has other classes than when the training began.", where=path, hint="begin in a new folder")
        if fabric.is_global_zero and not resumed:
            folder.create(path, recipe, collection.labels)
        fabric.barrier()
        run = folder.Run(path, recipe, collection.labels)
        fit = loop.Loop(fabric, run, trained, wrap(objective) if wrap else objective, recipe, hook)
        if resumed:
            fit.resume()
        yield fit, broken


@contextlib.contextmanager
def aimed(
    fabric: Fabric, recipe: ClipRecipe, trained: network.Trained, collection: clips.Collection, broken: Broken
) -> Iterator[Labels]:
    """What the training is for: the recipe's loss of the collection's clips, and figures of those that are held out."""
    made, preprocess = trained.made, trained.preprocess
    taught = teacher.load_teacher(recipe.distillation, collection.labels, trained) if recipe.distillation else None
    loss = teacher.Loss(recipe.training.label_smoothing, recipe.distillation, taught)
    kept, shown = loader.stores(recipe, collection, preprocess, made.size)
    with contextlib.ExitStack() as stack:
        training = stack.enter_context(
            loader.training_loader(
                recipe, collection, kept, made.frames, made.size, every=preprocess.sample_every_n or 1, broken=broken
            )
        )
        held = collection.splits.get("validation", ())
        validation = None
        if held:
            validation = stack.enter_context(loader.validation_loader(recipe, held, shown, made.frames, made.size, broken=broken))
        yield Labels(fabric, preprocess, training, validation, loss, recipe.training.channels_last is not False)


class Broken:
    """Clips, or what else the recipe learns from, that cannot be read: skipped, with a line on stderr each and a note at the
    end, or refused, as its `data.broken` says.
    """

    def __init__(self, recipe: ClipRecipe | SuperResolutionRecipe | DetectionRecipe) -> None:
        self.policy, self.unit, self.said = recipe.data.broken, recipe.unit, list[SourceError]()

    def __call__(self, error: SourceError) -> None:
        if self.policy == "refuse":
            raise error
        self.said.append(error)
        print(f"skipped: {error.where}: {error.what}", file=sys.stderr)

    def notes(self) -> tuple[str, ...]:
        return (f"skipped: {len(self.said)} of the {self.unit} could not be read",) if self.said else ()
