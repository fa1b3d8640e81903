"""Super-resolution as a task that can be searched (`nas.task`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from everyframe.modelfile.fold import fold
from everyframe.models.trace import graph_of
from everyframe.nas import schemes
from everyframe.nas.space import Values
from everyframe.nas.task import Part
from everyframe.recipes.super_resolution import ModelSection, SuperResolutionRecipe
from everyframe.tasks.searching import Searched, Wrap
from everyframe.tasks.super_resolution import choices, pictures, run
from everyframe.tasks.super_resolution.cache import Lumas
from everyframe.tasks.super_resolution.export import rename
from everyframe.tasks.super_resolution.network import Network
from everyframe.tasks.super_resolution.objective import Enlarging
from everyframe.training import loop
from everyframe.training.objective import Objective
from everyframe.training.run import Broken

#: pictures that a network is judged on, evenly spread over what is held out
JUDGED = 10
#: what random blocks of the supernet add to the identity at first. Blocks that grow what they are given make the deepest networks
#: so loud that all learn to shut the features off, which they never recover from
QUIET = 0.1


class Row(Searched[SuperResolutionRecipe]):
    figure, unit, judged_by = "psnr", "dB", ("psnr",)
    rates: Mapping[str, tuple[float, ...]] = {f"rate{at}": schemes.RATES for at in range(1, choices.DEEPEST + 1)}
    held_out = staticmethod(pictures.held_out)

    def __init__(self, recipe: SuperResolutionRecipe) -> None:
        super().__init__(recipe)
        self.space = choices.space(self.search, recipe.model.size)
        self.roads = choices.roads(self.space)

    # -- what a network is, and what it consists of

    def model(self, values: Values) -> ModelSection:
        return choices.settings(self.given.model, values)

    def build(self, values: Values) -> Network:
        return Network(self.model(values))

    def key(self, name: str, values: Values) -> str:
        return choices.key(name, values)

    def own(self) -> tuple[Network, Values]:
        return run.network(self.given), choices.own(self.given.model)

    def begin(self, name: str, value: Tensor) -> Tensor:
        return value * QUIET if name.startswith("blocks.") and name.endswith(".narrow") else value

    def describe(self, values: Values) -> str:
        return choices.describe(values)

    def graph(self, values: Values) -> onnx.ModelProto:
        settings = self.model(values).model_copy(update={"wide": 4})
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
        plain = {"grid": values["grid"], "depth": 0, "first": 3, "last": 1, "activation": "relu"}
        ends = {**plain, "first": values["first"], "last": values["last"]}
        name = f"x{self.given.model.scale} ends {place} first {ends['first']} last {ends['last']}"
        found = {Part(name, tuple(ends.items())): 1}
        for at in range(1, depth + 1):
            kind, (scheme, rate) = values[f"block{at}"], schemes.pruning(values, at)
            pruned = "" if scheme == "none" else f" {scheme} {rate:g}"
            part = Part(f"block {place} {kind}{pruned}", _twice(plain, kind, scheme, rate), tuple(plain.items()), 2)
            found[part] = found.get(part, 0) + 1
        if values["activation"] != "relu":
            two = _twice(plain, "conv3", "none", 0.0)
            name = f"{values['activation']} {place}"
            found[Part(name, tuple({**dict(two), "activation": values["activation"]}.items()), two, 3)] = depth + 1
        return found

    # -- how networks are trained and judged

    def fit(self, path: Path, minutes: float | None, resumed: bool, wrap: Wrap) -> bool:
        return run.fit(self.given, path, minutes, resumed, self.supernet, wrap)[0].ended

    def judging(self) -> Objective:
        held = pictures.held_out(self.given)[1]
        lumas = run.readable(run.lumas_of(held, self.given), Broken(self.given))
        wanted = np.linspace(0, len(lumas) - 1, min(len(lumas), JUDGED)).round().astype(int)
        few = Lumas(tuple(lumas.pairs[int(at)] for at in wanted), lumas.scale, lumas.folder)
        if not (shown := run.shown(few, self.given.data)):
            raise self.nothing_held_out(f"{len(held)}, of which none can be read or all are too small")
        fabric = loop.launch(self.given)
        return Enlarging(fabric, None, shown, self.given.model.scale, False)  # type: ignore[arg-type]  # judging asks for no batch

    def train(self, recipe: SuperResolutionRecipe | None, path: Path, where: Path, minutes: float | None) -> Any:
        return run.resume(path) if recipe is None else run.start(recipe, path, where=str(where), minutes=minutes)


def _twice(plain: Values, kind: str, scheme: str, rate: float) -> tuple[tuple[str, Any], ...]:
    """A network of two such blocks."""
    blocks = {
        name: value for at in (1, 2) for name, value in ((f"block{at}", kind), (f"scheme{at}", scheme), (f"rate{at}", rate))
    }
    return tuple({**plain, **blocks, "depth": 2}.items())
