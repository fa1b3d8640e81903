"""What a supernet of detectors learns from: each scan in all the grids that may be chosen, of which a step takes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from everyframe.data.scans.kitti import Scan
from everyframe.errors import SourceError
from everyframe.modelfile.schema import Grid
from everyframe.nas.supernet import Chosen
from everyframe.recipes.detection import DetectionRecipe
from everyframe.tasks.detection.decode import Cells, encode
from everyframe.tasks.detection.network import Network
from everyframe.tasks.detection.objective import Detecting
from everyframe.tasks.detection.pillars import group
from everyframe.tasks.detection.scenes import Scenes
from everyframe.training.loader import Batch

FRAMES = "frames"


class Gridded(Scenes):
    """(epoch, number) -> (nothing, {`0.25 heat`: ...}): pillars and maps of each grid, by its cells' side."""

    def __init__(self, scans: Sequence[Scan], recipe: DetectionRecipe, grids: Sequence[Grid]) -> None:
        stride = recipe.model.strides[0]
        super().__init__(scans, recipe, Cells.of(recipe.model.grid, stride))
        self.grids = [(grid, Cells.of(grid, stride)) for grid in grids]

    def __call__(self, key: tuple[int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]] | SourceError:
        scene = self.scene(key)
        if isinstance(scene, SourceError):
            return scene
        points, boxes, labels, ignored = scene
        made: dict[str, np.ndarray] = {}
        for grid, cells in self.grids:
            maps = vars(encode(boxes, labels, ignored, len(self.data.classes), cells))
            made |= {f"{grid.cell} {name}": each for name, each in {FRAMES: group(points, grid), **maps}.items()}
        return np.zeros(0, np.float32), made


class OverGrids(Detecting):
    """each: the objective of each grid, by its cells' side; what is asked of this one the network's grid decides."""

    def __init__(self, each: Mapping[float, Detecting]) -> None:
        self.each = each
        self.training = next(iter(each.values())).training

    def loss(self, net: nn.Module, batch: Batch, epochs_left: int):  # type: ignore[no-untyped-def]
        cell = _cell(net)
        maps = {name.split()[1]: value for name, value in batch.labels.items() if name.startswith(f"{cell} ")}
        return self.each[cell].loss(net, replace(batch, frames=maps.pop(FRAMES), labels=maps), epochs_left)

    def validate(self, net: nn.Module) -> dict[str, float]:
        return self.each[_cell(net)].validate(net)


def _cell(net: nn.Module) -> float:
    if isinstance(net, Network):
        return net.settings.grid.cell
    if not isinstance(net, Chosen):
        raise TypeError(type(net).__name__)
    return float(net.values["cell"])
