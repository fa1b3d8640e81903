"""A training from beginning to end: scans, network, loop, and the finished model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import nn

from everyframe.data.scans.kitti import Scan
from everyframe.errors import RecipeError, SourceError
from everyframe.progress import bar, status
from everyframe.recipes.detection import DetectionRecipe
from everyframe.tasks import learning
from everyframe.tasks.detection.decode import Cells
from everyframe.tasks.detection.detector import Detector
from everyframe.tasks.detection.evaluate import LEAST, measure
from everyframe.tasks.detection.export import export
from everyframe.tasks.detection.network import Network
from everyframe.tasks.detection.objective import Detecting
from everyframe.tasks.detection.scans import held_out, spread
from everyframe.tasks.detection.scenes import Scenes, known
from everyframe.tasks.learning import Fitted, Result
from everyframe.training import folder, loop
from everyframe.training.loader import Job, Loader
from everyframe.training.objective import Objective
from everyframe.training.run import Broken


def start(
    recipe: DetectionRecipe, path: Path, *, where: str | None = None, data: Path | None = None, minutes: float | None = None
) -> Result | None:
    """Trains by a recipe, into a new run folder. where: the recipe's file, which `data.root` is relative to; data: another root.
    None on all but the first of several processes. Raises an EveryframeError before any work where something does not fit.
    """
    recipe = learning.settled(recipe, where, data)
    folder.check_new(path)
    return _train(recipe, path, minutes, resumed=False)


def resume(path: Path, *, minutes: float | None = None) -> Result | None:
    """Goes on with the training in a run folder, or finishes it if only that is missing."""
    return _train(folder.read(path, DetectionRecipe).recipe, path, minutes, resumed=True)


def network(recipe: DetectionRecipe) -> Network:
    """Raises WeightsError where it does not begin with the weights named; of other classes the last layers are left out."""
    net = learning.seeded(lambda: Network(recipe.model, len(recipe.data.classes)), recipe.training.seed)
    if recipe.model.weights is not None:
        learning.load(net, Path(recipe.model.weights), lambda name: name.startswith("heat."), "all but grid and weights")
    return net


def teacher(recipe: DetectionRecipe) -> Network | None:
    """The network of `recipe.teacher`. Raises RecipeError where it has other classes or cells, UsageError for no run folder."""
    if recipe.teacher is None:
        return None
    path = Path(recipe.teacher.weights)
    run = folder.read(path, DetectionRecipe)
    for what, its, own in (
        ("list of classes", run.recipe.data.classes, recipe.data.classes), ("grid", run.recipe.model.grid, recipe.model.grid),
        ("first stride", run.recipe.model.strides[0], recipe.model.strides[0]),
    ):  # fmt: skip
        if its != own:
            raise RecipeError(
                f"The teacher has another {what}: its answers are of other things or places.", where=path, expected=own, got=its,
                hint="train the teacher with this recipe's [data] and [model.grid]",
            )  # fmt: skip
    model = run.recipe.model.model_copy(update={"weights": str(run.best)})
    return network(run.recipe.model_copy(update={"model": model})).eval().requires_grad_(False)


def fit(
    recipe: DetectionRecipe, path: Path, minutes: float | None, resumed: bool, make: Callable[[], nn.Module],
    scenes: Callable[[Sequence[Scan]], Job], objective: Callable[[Fabric, Loader, Sequence[Scan]], Objective],
) -> tuple[Fitted, list[Scan]]:  # fmt: skip
    """The training of a network on a recipe's scans; and those that were held out. scenes: what batches are made of."""
    fabric, net = loop.launch(recipe), make()
    broken = Broken(recipe)
    train, held = (readable(part, recipe, broken) for part in held_out(recipe))
    if not train:
        raise SourceError("No scan can be read.", where=recipe.data.root)
    shown = spread(held, recipe.data.shown)
    done = learning.fit(
        fabric, recipe, path, net, scenes(train), lambda training: objective(fabric, training, shown), broken,
        minutes=minutes, resumed=resumed,
    )  # fmt: skip
    return done, held


def _train(recipe: DetectionRecipe, path: Path, minutes: float | None, resumed: bool) -> Result | None:
    cells, taught_by = Cells.of(recipe.model.grid, recipe.model.strides[0]), teacher(recipe)
    done, held = fit(
        recipe, path, minutes, resumed, lambda: network(recipe), lambda train: Scenes(train, recipe, cells),
        lambda fabric, training, shown: Detecting(fabric, training, shown, recipe, cells, teacher=taught_by),
    )  # fmt: skip
    return _finish(done, held) if done.first else None


def readable(scans: Sequence[Scan], recipe: DetectionRecipe, broken: Broken) -> list[Scan]:
    """Those that can be, labels and calibration too; what cannot is said before the training."""
    good = []
    with bar("scans") as progress:
        for number, scan in enumerate(scans):
            progress(number, len(scans))
            try:
                known(scan, recipe.data)
                good.append(scan)
            except SourceError as error:
                broken(error)
    return good


def _finish(done: Fitted, held: Sequence[Scan]) -> Result:
    """The best weights as a model, measured as a user will meet it, and the report."""
    run, recipe = done.run, done.run.recipe
    with status("writing the model"):
        net = Network(recipe.model, len(recipe.data.classes))
        net.load_state_dict(load_file(run.best))
        step = export(net, recipe.data.classes, run.path)
    quality = None
    if held:
        with bar("evaluating") as progress, Detector(step, engine="ort", threshold=LEAST) as detector:
            quality = measure(detector, held, progress=progress)
    learning.write_report(run, quality, "Scans held out")
    return Result(run.path, done.at, done.ended, quality, done.notes, "ap_space", "SCAN.bin -o found")
