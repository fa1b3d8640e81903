"""What the training minimizes, and what a validation counts.

Heat learns by the focal loss of CornerNet (Law and Deng, 2018, arXiv:1808.01244, equation 1), values by their absolute errors
where an object's middle is near, and all of a box together by how much it shares with the truth when it is turned as the truth
is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe.data.scans.kitti import Scan
from everyframe.recipes.detection import DetectionRecipe, Teacher
from everyframe.tasks.detection.decode import Cells, decode, encode
from everyframe.tasks.detection.detector import Boxes
from everyframe.tasks.detection.evaluate import LEAST, overall
from everyframe.tasks.detection.pillars import group
from everyframe.tasks.detection.scenes import known
from everyframe.training.loader import Batch, Loader
from everyframe.training.objective import Loaded, Row


class Detecting(Loaded):
    """training: batches of scenes. held: scans to be measured. lenient: see `evaluate.overall`. teacher: a network over the same
    cells, for `recipe.teacher`.
    """

    def __init__(
        self, fabric: Fabric, training: Loader, held: Sequence[Scan], recipe: DetectionRecipe, cells: Cells,
        lenient: float = 1.0, teacher: nn.Module | None = None,
    ) -> None:  # fmt: skip
        self.fabric, self.training, self.held, self.recipe, self.cells = fabric, training, held, recipe, cells
        self.lenient = lenient
        self.teacher = None if teacher is None else teacher.to(fabric.device)
        self._said: tuple[Tensor, Tensor, Tensor] | None = None

    def loss(self, net: nn.Module, batch: Batch, epochs_left: int) -> Tensor:
        """(N, 10, S, P) float32 and maps."""
        device = self.fabric.device
        maps = {name: each.to(device) for name, each in batch.labels.items()}
        # as bits: mixed precision makes floats bfloat16 on their way into the network, and numbers of cells would be others
        frames = batch.frames.to(device).view(torch.int32)
        heat, values = (each.float() for each in net(frames))
        own = self.of(heat, values, maps)
        if self.teacher is None or self.recipe.teacher is None:
            return own
        if self._said is None or self._said[0] is not batch.frames:  # a supernet's networks learn from it one after another
            with torch.no_grad(), self.fabric.autocast():
                its_heat, its_values = self.teacher(frames)
            self._said = batch.frames, its_heat.float(), its_values.float()
        return own + taught(heat, values, maps, *self._said[1:], self.recipe.teacher)

    def of(self, heat: Tensor, values: Tensor, maps: dict[str, Tensor]) -> Tensor:
        """Of the network's answer and the maps that it should be."""
        weights, how = maps["weights"], self.recipe.loss
        total = weights.sum().clamp(min=1.0)
        errors = (values - maps["values"]).abs().sum(1)
        shared = shares(values, maps["values"], self.cells.cell)
        return (
            focal(heat, maps["heat"], maps["counts"])
            + how.boxes * (errors * weights).sum() / total
            + how.overlap * ((1 - shared) * weights).sum() / total
        )

    @torch.inference_mode()
    def validate(self, net: nn.Module) -> dict[str, float]:
        """Of what is held out, all of it on each rank: precision is no mean over scans."""
        losses, truth, found = [], [], []
        grid, data = self.recipe.model.grid, self.recipe.data
        for scan in self.held:
            points, boxes, labels, ignored = known(scan, data)
            maps = encode(boxes, labels, ignored, len(data.classes), self.cells)
            heat, values = (
                each.float().cpu() for each in net(torch.from_numpy(group(points, grid))[None].to(self.fabric.device))
            )
            losses.append(float(self.of(heat, values, {name: torch.from_numpy(each)[None] for name, each in vars(maps).items()})))
            made = decode(heat[0].numpy(), values[0].numpy(), self.cells, LEAST)
            truth.append(scan.objects())
            found.append(Boxes.of(made, data.classes).objects(scan.calibration()))
        figures = overall(truth, found, data.classes, self.lenient)
        return {"validation_loss": float(np.mean(losses)) if losses else float("nan"), **figures}

    def rank(self, row: Row) -> tuple[float, ...]:
        return (row["epoch"],) if row["ap_space"] is None else (row["ap_space"] + row["ap_ground"],)


def focal(heat: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """heat: (N, classes, H, W) logits; truth: of 0..1."""
    middle = (truth == 1).float()
    sure, unsure = F.logsigmoid(heat), F.logsigmoid(-heat)
    p = heat.sigmoid()
    right = (1 - p) ** 2 * sure * middle
    wrong = (1 - truth) ** 4 * p**2 * unsure * (1 - middle)
    return -((right + wrong) * counts).sum() / middle.sum().clamp(min=1.0)


def taught(
    heat: Tensor, values: Tensor, maps: dict[str, Tensor], its_heat: Tensor, its_values: Tensor, how: Teacher
) -> Tensor:  # fmt: skip
    """How far an answer is from a teacher's: heat by the quality focal loss (Li et al., 2020, arXiv:2006.04388, equation 2),
    values where the teacher is sure of something.
    """
    p = its_heat.sigmoid()
    away = F.binary_cross_entropy_with_logits(heat, p, reduction="none") * (heat.sigmoid() - p) ** 2
    sure = p.amax(1)
    errors = ((values - its_values).abs().sum(1) * sure).sum() / sure.sum().clamp(min=1)
    return how.heat * away.sum() / (maps["heat"] == 1).sum().clamp(min=1) + how.boxes * errors


def shares(values: Tensor, truth: Tensor, cell: float) -> Tensor:
    """(N, 8, H, W) -> (N, H, W): the common part of two boxes as a share of their union, both turned as the truth is."""
    sin, cos = truth[:, 6], truth[:, 7]
    dx, dy = ((values[:, n] - truth[:, n]) * cell for n in (0, 1))
    moved = torch.stack([dx * cos + dy * sin, dy * cos - dx * sin, values[:, 2] - truth[:, 2]], 1)
    mine, sides = values[:, 3:6].clamp(-4, 4).exp(), truth[:, 3:6].exp()
    high = torch.minimum(moved + mine / 2, sides / 2)
    low = torch.maximum(moved - mine / 2, -sides / 2)
    common = (high - low).clamp(min=0).prod(1)
    return common / (mine.prod(1) + sides.prod(1) - common).clamp(min=1e-6)
