"""Super-resolution as a task that can be searched (`nas.task`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import load_file

from everyframe import recipes
from everyframe.errors import RecipeError, SourceError, WeightsError
from everyframe.modelfile.fold import fold
from everyframe.models.trace import graph_of
from everyframe.nas.space import Values
from everyframe.nas.task import Part
from everyframe.recipes.search import Search
from everyframe.recipes.super_resolution import SuperResolutionRecipe
from everyframe.tasks import learning
from everyframe.tasks.super_resolution import choices, metrics, run
from everyframe.tasks.super_resolution.export import rename
from everyframe.tasks.super_resolution.network import Network
from everyframe.tasks.super_resolution.pictures import held_out
from everyframe.tasks.super_resolution.supernet import Sandwich, Supernet, judge
from everyframe.training import checkpoint, folder
from everyframe.training.run import Broken

#: pictures that a network is judged on, evenly spread over what is held out
JUDGED = 10


def prepared(recipe: SuperResolutionRecipe, where: str, data: Path | None) -> SuperResolutionRecipe:
    """A recipe with a table [search], and an absolute `data.root`. where: its file; data: another root. Raises UsageError, and
    SourceError where there are no pictures.
    """
    whole = learning.settled(recipe.model_copy(update={"search": recipe.search or Search()}), where, data)
    held_out(whole)
    return whole


class SuperResolution:
    """recipe: with [search], and its `data.root` absolute."""

    rates: Mapping[str, tuple[float, ...]] = {f"rate{at}": choices.RATES for at in range(1, choices.DEEPEST + 1)}
    figure, unit = "psnr", "dB"

    def __init__(self, recipe: SuperResolutionRecipe) -> None:
        if recipe.search is None:
            raise RecipeError("The recipe says nothing of a search.", where=recipe.name, expected="a table [search]")
        self.given, self.search = recipe, recipe.search
        self.space = choices.space(recipe.search)
        self.net: Supernet | None = None
        self._held: list[tuple[np.ndarray, np.ndarray]] = []

    # -- what a network is, and what it consists of

    def graph(self, values: Values) -> onnx.ModelProto:
        settings = choices.settings(self.given.model, values).model_copy(update={"wide": 4})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = Network(settings)
            net.last.narrow.data.normal_()
            graph = graph_of(net.collapsed(), (1, 1, *settings.size), 0)
        made = fold(graph)
        rename(made, made.graph.input[0].name, "clip")
        rename(made, made.graph.output[0].name, "logits")
        return made

    def parts(self, values: Values) -> Mapping[Part, int]:
        """Both ends of a network together, each block, and what PReLU takes more than ReLU."""
        height, width = self.given.model.size
        place, depth = f"{height}x{width} {values['grid']}", values["depth"]
        plain = {"grid": values["grid"], "depth": 0, "first": 3, "activation": "relu"}
        ends = {**plain, "first": values["first"]}
        found = {Part(f"x{self.given.model.scale} ends {place} first {ends['first']}", tuple(ends.items())): 1}
        for at in range(1, depth + 1):
            kind, (scheme, rate) = values[f"block{at}"], choices.pruning(values, at)
            pruned = "" if scheme == "none" else f" {scheme} {rate:g}"
            part = Part(f"block {place} {kind}{pruned}", _twice(plain, kind, scheme, rate), tuple(plain.items()), 2)
            found[part] = found.get(part, 0) + 1
        if values["activation"] != "relu":
            two = _twice(plain, "conv3", "none", 0.0)
            name = f"{values['activation']} {place}"
            found[Part(name, tuple({**dict(two), "activation": values["activation"]}.items()), two, 3)] = depth + 1
        return found

    def pruned(self, values: Values) -> list[str]:
        return [f"rate{at}" for at in range(1, values["depth"] + 1) if values[f"scheme{at}"] != "none"]

    def describe(self, values: Values) -> str:
        return choices.describe(values)

    def recipe(self, values: Values, told: str, weights: Path | None = None) -> str:
        model = choices.settings(self.given.model, values)
        if weights is not None:
            model = model.model_copy(update={"weights": str(weights.resolve())})
            model.model_fields_set.add("weights")
        made = self.given.model_copy(update={"model": model, "search": None, "name": f"{self.given.name}-searched"})
        comment = "".join(f"# {line}\n" for line in told.splitlines())
        return f"{comment}\n{folder.as_toml(made)}"

    # -- the supernet

    def train_supernet(self, path: Path, minutes: float | None) -> bool:
        objective, resumed = partial(Sandwich, space=self.space, search=self.search), (path / "recipe.toml").exists()
        minutes = None if resumed else minutes  # the clock of the sitting before goes on
        return run.fit(self.given, path, minutes, resumed, self._supernet, objective)[0].ended

    def _supernet(self) -> Supernet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.given.training.seed)
            return Supernet(self.space, self.given.model)

    def open_supernet(self, path: Path) -> None:
        self.net = self._supernet()
        self.net.load_state_dict(load_file(folder.read(path, SuperResolutionRecipe).best))
        self.net.eval()
        held = held_out(self.given)[1]
        pictures = run.readable(run.lumas_of(held, self.given), Broken(self.given))
        wanted = np.linspace(0, len(pictures) - 1, min(len(pictures), JUDGED)).round().astype(int)
        shown = (pictures[int(at)] for at in wanted)
        least = metrics.smallest(self.given.model.scale)
        self._held = [(small[None], large[None]) for small, large in shown if min(large.shape) >= least]
        if not self._held:
            raise SourceError(
                "There are no pictures to judge networks by.", where=self.given.data.root, got=f"{len(held)} that can be read",
                hint="set data.holdout or data.validation",
            )  # fmt: skip

    def judge(self, values: Values) -> float:
        if self.net is None:
            raise WeightsError("There is no supernet yet.", hint="train it first")
        return judge(self.net, values, self._held)

    def inherit(self, values: Values, path: Path) -> Path:
        """The weights that the supernet has for a network, as a file."""
        if self.net is None:
            raise WeightsError("There is no supernet yet.", hint="train it first")
        checkpoint.save_weights(path, self.net.network(values).state_dict())
        return path

    # -- the end

    def retrain(self, recipe: Path, path: Path, minutes: float | None) -> Any:
        if (path / "recipe.toml").exists():
            return run.resume(path)
        found = recipes.load(str(recipe))
        if not isinstance(found, SuperResolutionRecipe):
            raise RecipeError("This recipe is for another task.", where=recipe, got=found.task)
        return run.start(found, path, where=str(recipe), minutes=minutes)


def _twice(plain: Values, kind: str, scheme: str, rate: float) -> tuple[tuple[str, Any], ...]:
    """A network of two such blocks."""
    blocks = {
        name: value for at in (1, 2) for name, value in ((f"block{at}", kind), (f"scheme{at}", scheme), (f"rate{at}", rate))
    }
    return tuple({**plain, **blocks, "depth": 2}.items())
