"""Detection as a task that can be searched (`nas.task`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import torch
from lightning_fabric import Fabric

from everyframe.data.scans.kitti import Scan
from everyframe.modelfile.schema import Grid
from everyframe.models.trace import graph_of
from everyframe.nas import schemes
from everyframe.nas.layers import Layer, behind, chain, instead
from everyframe.nas.space import Values
from everyframe.nas.task import Part
from everyframe.recipes.detection import DetectionRecipe, ModelSection
from everyframe.tasks.detection import choices, run, scans
from everyframe.tasks.detection.decode import VALUES, Cells
from everyframe.tasks.detection.export import graph_from
from everyframe.tasks.detection.grids import Gridded, OverGrids
from everyframe.tasks.detection.network import Above, Network
from everyframe.tasks.detection.objective import Detecting
from everyframe.tasks.detection.order import loudest_first
from everyframe.tasks.detection.pillars import shape
from everyframe.tasks.searching import Searched, Wrap
from everyframe.training import loop
from everyframe.training.loader import Loader
from everyframe.training.objective import Objective
from everyframe.training.run import Broken

#: scans that a network is judged on, evenly spread over what is held out
JUDGED = 40
#: share of KITTI's overlaps that boxes need to count then: a supernet finds objects long before its boxes fit well
LENIENT = 0.5


class Row(Searched[DetectionRecipe]):
    """Networks are judged by the mean of their precision on the ground and in space, at lenient overlaps."""

    figure, unit, judged_by = "ap", "AP", ("ap_ground", "ap_space")
    held_out = staticmethod(scans.held_out)

    def __init__(self, recipe: DetectionRecipe) -> None:
        super().__init__(recipe)
        self.space = choices.space(recipe.model, self.search)
        self.roads = choices.roads(self.space)
        self.rates = {f"rate{name}": schemes.RATES for name in choices.layers(recipe.model)}
        self.grids = [choices.grid(recipe.model, float(road.values(road.largest())["cell"])) for road in self.roads.values()]

    # -- what a network is, and what it consists of

    def model(self, values: Values) -> ModelSection:
        return choices.settings(self.given.model, values)

    def build(self, values: Values) -> Network:
        return Network(self.model(values), len(self.given.data.classes))

    def key(self, name: str, values: Values) -> str:
        return name  # blocks and ways up of different kinds have modules of different names

    def own(self) -> tuple[Network, Values]:
        net = run.network(self.given)
        loudest_first(net)
        return net, {}

    def beside(self, model: ModelSection) -> dict[str, Any]:
        """Over other cells there is nothing to learn from the teacher."""
        return {} if model.grid == self.given.model.grid else {"teacher": None}

    def check(self) -> None:
        super().check()
        _ = self.teacher

    @cached_property
    def teacher(self) -> Network | None:
        """Raises as `run.teacher`."""
        return run.teacher(self.given)

    def joined(self, name: str) -> tuple[int, int]:
        return (1, len(self.given.model.widths)) if name == "head.0.weight" else (0, 1)

    def describe(self, values: Values) -> str:
        return choices.describe(self.given.model, values)

    def graph(self, values: Values) -> onnx.ModelProto:
        """Of a network, or of what a `Part` says: a chain of layers, or a grid's pillars."""
        if "layers" in values:
            return chain(values["layers"], values["size"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if "pillars" in values:
                grid = choices.grid(self.given.model, values["pillars"])
                model = self.given.model.model_copy(update={"grid": grid, "features": values["features"]})
                return graph_of(Above(Network(model, 1)), (1, *shape(grid)), 0)
            return graph_from(self.build(values), "clip")

    def parts(self, values: Values) -> Mapping[Part, int]:
        """Pillars, and each layer behind a 1x1, whose time is taken away."""
        model = self.model(values)
        grid, found = model.grid, Counter[Part]()
        name = f"pillars of {grid.slots}x{grid.points} in {grid.cells}, {model.features}"
        found[Part(name, (("pillars", grid.cell), ("features", model.features)))] = 1
        for layer, size in layers(model, len(self.given.data.classes)):
            found[behind(layer, size)] += 1
            if layer.activation and model.activation != "relu":
                found[instead(layer, model.activation, size)] += 1 + (layer.kind == "separable")
        return found

    # -- how networks are trained and judged

    def objective(self, fabric: Fabric, training: Loader, shown: Sequence[Scan]) -> Objective:
        own = self.given.model.grid
        return OverGrids({
            grid.cell: Detecting(
                fabric, training, shown, self._on(grid), Cells.of(grid, self.given.model.strides[0]), LENIENT,
                self.teacher if grid == own else None,
            )
            for grid in self.grids
        })  # fmt: skip

    def fit(self, path: Path, minutes: float | None, resumed: bool, wrap: Wrap) -> bool:
        done, _ = run.fit(
            self.given, path, minutes, resumed, self.supernet, lambda train: Gridded(train, self.given, self.grids),
            lambda fabric, training, shown: wrap(self.objective(fabric, training, shown)),
        )  # fmt: skip
        return done.ended

    def judging(self) -> Objective:
        broken, training = Broken(self.given), self.given.training
        train, held = (run.readable(part, self.given, broken) for part in scans.held_out(self.given))
        if not held:
            raise self.nothing_held_out("none that can be read")
        loader = Loader(Gridded(train, self.given, self.grids), training.batch, broken=broken)
        return self.objective(loop.launch(self.given), loader, scans.spread(held, JUDGED))

    def train(self, recipe: DetectionRecipe | None, path: Path, where: Path, minutes: float | None) -> Any:
        return run.resume(path) if recipe is None else run.start(recipe, path, where=str(where), minutes=minutes)

    def _on(self, grid: Grid) -> DetectionRecipe:
        return self.given.model_copy(update={"model": self.given.model.model_copy(update={"grid": grid})})


def layers(model: ModelSection, classes: int) -> list[tuple[Layer, tuple[int, int]]]:
    """Those behind the pillars, with ReLU, and the size (rows, columns) of what each is given."""
    found: list[tuple[Layer, tuple[int, int]]] = []
    up: list[tuple[Layer, tuple[int, int]]] = []
    size, channels, pruned = model.grid.cells, model.features, iter(model.pruning)
    answer = size[0] // model.strides[0], size[1] // model.strides[0]
    for width, depth, stride, (block, kernel) in zip(model.widths, model.depths, model.strides, model.kinds, strict=True):
        found.append((Layer("conv", channels, width, 3, stride, "relu", *next(pruned)), size))
        size, channels = (size[0] // stride, size[1] // stride), width
        found += [(Layer(block, width, width, kernel, 1, "relu", *next(pruned)), size) for _ in range(depth)]
        times = answer[0] // size[0]
        up.append((Layer(model.up if times > 1 else "conv", width, model.neck, times, 1, "relu"), size))
    head = Layer("conv", model.neck * len(model.widths), model.head, model.head_kernel, 1, "relu", *next(pruned))
    return [*found, *up, (head, answer), (Layer("conv", model.head, classes + VALUES, 1), answer)]
