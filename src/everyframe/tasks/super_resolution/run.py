"""A training from beginning to end: pictures, network, loop, and the finished model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import nn

from everyframe.errors import SourceError
from everyframe.progress import bar, status
from everyframe.recipes.super_resolution import Data, SuperResolutionRecipe
from everyframe.tasks import learning
from everyframe.tasks.learning import Fitted, Result, same
from everyframe.tasks.super_resolution import cache, metrics
from everyframe.tasks.super_resolution.cache import Lumas
from everyframe.tasks.super_resolution.crops import Crops
from everyframe.tasks.super_resolution.enhance import Enhancer
from everyframe.tasks.super_resolution.evaluate import measure
from everyframe.tasks.super_resolution.export import export
from everyframe.tasks.super_resolution.network import Network
from everyframe.tasks.super_resolution.objective import Enlarging, Held
from everyframe.tasks.super_resolution.pictures import Pair, held_out
from everyframe.training import folder, loop
from everyframe.training.objective import Objective
from everyframe.training.run import Broken

#: pictures of more bytes than this, as files, are kept as luma on disk
MUCH = 256 << 20


def start(
    recipe: SuperResolutionRecipe, path: Path, *, where: str | None = None, data: Path | None = None, minutes: float | None = None
) -> Result | None:
    """Trains by a recipe, into a new run folder. where: the recipe's file, which `data.root` is relative to; data: another root.
    None on all but the first of several processes. Raises an EveryframeError before any work where something does not fit.
    """
    recipe = learning.settled(recipe, where, data)
    folder.check_new(path)
    return _train(recipe, path, minutes, resumed=False)


def resume(path: Path, *, minutes: float | None = None) -> Result | None:
    """Goes on with the training in a run folder, or finishes it if only that is missing."""
    return _train(folder.read(path, SuperResolutionRecipe).recipe, path, minutes, resumed=True)


def network(recipe: SuperResolutionRecipe) -> Network:
    """Random weights depend on `training.seed` alone. Raises WeightsError where it does not begin with the weights named."""
    net = learning.seeded(lambda: Network(recipe.model), recipe.training.seed)
    if recipe.model.weights is not None:
        load(net, Path(recipe.model.weights))
    return net


def load(net: Network, path: Path) -> None:
    """Weights of a run folder, or a file of them. What belongs to another scale is left out. Raises WeightsError."""
    learning.load(net, path, lambda name: name == "skip" or name.startswith("last."), "channels, depth, kernel and wide")


def fit(
    recipe: SuperResolutionRecipe, path: Path, minutes: float | None, resumed: bool, make: Callable[[], nn.Module],
    wrap: Callable[[Objective], Objective] = same,
) -> tuple[Fitted, Lumas]:  # fmt: skip
    """The training of a network on a recipe's pictures; and those that were held out. wrap: see `tasks.searching`."""
    fabric, net, moving = loop.launch(recipe), make(), bool(recipe.model.shift)
    train, held = held_out(recipe)
    broken = Broken(recipe)
    kept = readable(lumas_of(train, recipe), broken)
    measured = readable(lumas_of(held, recipe), broken)
    if not kept.pairs:
        raise SourceError("No picture can be read.", where=recipe.data.root, got=f"{len(train)} that cannot")
    crops, pictures = Crops(kept, recipe.data, recipe.training.seed, moving), shown(measured, recipe.data, moving)
    done = learning.fit(
        fabric, recipe, path, net, crops,
        lambda training: wrap(Enlarging(fabric, training, pictures, recipe.model.scale, moving)),
        broken, minutes=minutes, resumed=resumed,
    )  # fmt: skip
    return done, measured


def _train(recipe: SuperResolutionRecipe, path: Path, minutes: float | None, resumed: bool) -> Result | None:
    done, measured = fit(recipe, path, minutes, resumed, lambda: network(recipe))
    return _finish(done, measured.pairs) if done.first else None


def lumas_of(pairs: Sequence[Pair], recipe: SuperResolutionRecipe) -> Lumas:
    much = sum(pair.large.stat().st_size for pair in pairs) > MUCH
    on_disk = much if recipe.data.cache is None else recipe.data.cache
    return Lumas(tuple(pairs), recipe.model.scale, cache.folder() if on_disk else None)


def readable(pictures: Lumas, broken: Broken) -> Lumas:
    """Those that can be; they are read once, so that what cannot is said before the training."""
    good = []
    with bar("pictures") as progress:
        for number, pair in enumerate(pictures.pairs):
            progress(number, len(pictures))
            try:
                pictures[number]
                good.append(pair)
            except SourceError as error:
                broken(error)
    return pictures if len(good) == len(pictures) else Lumas(tuple(good), pictures.scale, pictures.folder)


def shown(pictures: Lumas, data: Data, moving: bool = False) -> list[Held]:
    """Whole pictures; of a network for video crops that move, the same in every validation."""
    if not moving:
        fits = [n for n in range(len(pictures)) if min(pictures[n][1].shape) >= metrics.smallest(pictures.scale)]
        return [partial(_whole, pictures, number) for number in fits]
    crops = Crops(pictures, data.model_copy(update={"flip": False}), 0, moving)
    return [partial(_crop, crops, number) for number in range(min(4 * len(pictures), data.shown))]


def _whole(pictures: Lumas, number: int) -> tuple[np.ndarray, np.ndarray]:
    small, large = pictures[number]
    return small[None], large[None]


def _crop(crops: Crops, number: int) -> tuple[np.ndarray, np.ndarray]:
    made = crops((0, number))
    if isinstance(made, SourceError):
        raise made
    return made[0][..., 0], made[1]


def _finish(done: Fitted, held: Sequence[Pair]) -> Result:
    """The best weights as a model, measured as a user will meet it, and the report."""
    run = done.run
    with status("writing the model"):
        net = Network(run.recipe.model)
        net.load_state_dict(load_file(run.best))
        step = export(net, run.path)
    quality = None
    if held:
        with bar("evaluating") as progress, Enhancer(step, engine="ort") as enhancer:
            quality = measure(enhancer, held, progress=progress)
    learning.write_report(run, quality, "Pictures held out")
    return Result(run.path, done.at, done.ended, quality, done.notes, "psnr", "PICTURE -o larger.png")
