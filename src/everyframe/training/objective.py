"""What a training is for. The loop asks an objective for batches, a loss and figures, and knows nothing else of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from everyframe.modelfile.schema import Preprocess
from everyframe.training.loader import Batch, Loader, normalize
from everyframe.training.teacher import Loss

Row = Mapping[str, Any]


class Objective(Protocol):
    """`Labels` is that of labeled clips, seed clips and soft targets; the built-in model has one of its own."""

    @property
    def unit(self) -> str:
        """What batches are made of: clips, crops, scans."""

    def steps(self) -> int:
        """Of the optimizer, in an epoch."""

    def batches(self, epoch: int, first_step: int, rank: int, ranks: int) -> Iterator[Batch]:
        """The parts of an epoch's steps for this rank, in order, from a step on."""

    def loss(self, net: nn.Module, batch: Batch, epochs_left: int) -> Tensor:
        """The mean over a part of a step: a scalar with gradient."""

    def validate(self, net: nn.Module) -> dict[str, float]:
        """What joins an epoch's row, of a network in evaluation mode; the same on all ranks. `validation_loss` is what a
        plateau of the schedule waits for. NaN: nothing is held out.
        """

    def rank(self, row: Row) -> tuple[float, ...]:
        """Of two epochs the one with more is the better."""

    def deployed(self, net: nn.Module) -> nn.Module:
        """The part of the trained network that is kept: without what only training needs."""


class Loaded:
    """An objective whose batches come from a loader, and whose network is kept whole."""

    training: Loader

    @property
    def unit(self) -> str:
        return self.training.job.unit

    def steps(self) -> int:
        return self.training.steps()

    def batches(self, epoch: int, first_step: int, rank: int, ranks: int) -> Iterator[Batch]:
        return self.training.batches(epoch, first_step, rank, ranks)

    def deployed(self, net: nn.Module) -> nn.Module:
        return net


class Labels(Loaded):
    """Clips with one label each. validation: None where nothing is held out; the newest weights are then the best.

    channels_last: how frames lie in memory, which is how the first, dearest layer then computes.
    """

    def __init__(
        self, fabric: Fabric, preprocess: Preprocess, training: Loader, validation: Loader | None, criterion: Loss,
        channels_last: bool = True,
    ) -> None:  # fmt: skip
        self.layout = torch.channels_last_3d if channels_last else None
        self.fabric, self.preprocess, self.training, self.validation = fabric, preprocess, training, validation
        self.criterion = criterion
        if criterion.teacher is not None:
            criterion.teacher = criterion.teacher.to(fabric.device)

    def loss(self, net: nn.Module, batch: Batch, epochs_left: int) -> Tensor:
        frames, labels = self._put(batch)
        return self.criterion(net(frames), frames, labels, epochs_left)

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Over the validation clips of all ranks."""
        found = dict.fromkeys(("validation_loss", "top1", "top5"), math.nan)
        if self.validation is None:
            return found
        sums = torch.zeros(4, dtype=torch.float64, device=self.fabric.device)
        for batch in self.validation.batches(0, 0, self.fabric.global_rank, self.fabric.world_size):
            frames, labels = self._put(batch)
            with self.fabric.autocast():
                logits = net(frames).float()
            rank = (logits > logits.gather(1, labels[:, None])).sum(1)
            loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
            sums += torch.stack([loss.double(), (rank < 1).sum(), (rank < 5).sum(), torch.tensor(len(labels))])
        *values, count = self.fabric.all_reduce(sums, reduce_op="sum").tolist()  # type: ignore[union-attr]
        return {name: value / count for name, value in zip(found, values, strict=True)} if count else found

    def rank(self, row: Row) -> tuple[float, ...]:
        return rank(row)

    def _put(self, batch: Batch) -> tuple[Tensor, Tensor]:
        frames = normalize(batch.frames, self.preprocess, self.fabric.device, self.layout)
        return frames, batch.labels.to(self.fabric.device)


def rank(row: Row) -> tuple[float, ...]:
    """More clips right, then the lower loss; where nothing is held out the later epoch."""
    if row["top1"] is None:
        return (row["epoch"],)
    loss = row["validation_loss"]
    return row["top1"], -math.inf if loss is None else -loss
