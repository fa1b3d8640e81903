"""Parameter groups and the schedule of the learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from everyframe import recipes


def optimizer(net: nn.Module, settings: recipes.Optimizer) -> torch.optim.Optimizer:
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    decay_all = settings.kind == "sgd" if settings.decay_all is None else settings.decay_all
    spared = [] if decay_all else [p for p in trained if p.ndim <= 1]  # norms and biases
    decayed = trained if decay_all else [p for p in trained if p.ndim > 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": settings.weight_decay}]
    if spared:
        groups.append({"params": spared, "weight_decay": 0.0})
    if settings.kind == "adamw":
        return torch.optim.AdamW(groups, settings.learning_rate)
    return torch.optim.SGD(
        groups, settings.learning_rate, momentum=settings.momentum, dampening=settings.dampening, nesterov=settings.nesterov
    )


class Schedule:
    """The share of the full learning rate at any moment; remembers validation losses for `plateau`."""

    def __init__(self, settings: recipes.Schedule, epochs: int) -> None:
        self.settings, self.epochs = settings, epochs
        self.lowest, self.waited, self.dropped = math.inf, 0, 0

    def share(self, epoch: float, done: float | None = None) -> float:
        """epoch: epochs trained, with the fraction of the one under way. done: the share of the whole training that is
        over, where the clock ends it earlier than the epochs.
        """
        s = self.settings
        rising = min(1.0, 0.01 + 0.99 * epoch / s.warmup) if s.warmup else 1.0
        if s.kind == "cosine":
            return rising * (0.5 + 0.5 * math.cos(math.pi * min(1.0, max(done or 0.0, epoch / self.epochs))))
        drops = {"steps": sum(epoch >= step for step in s.steps), "plateau": self.dropped, "constant": 0}[s.kind]
        return rising * s.factor**drops

    def validated(self, loss: float) -> None:
        """After each validation."""
        if loss < self.lowest:
            self.lowest, self.waited = loss, 0
            return
        self.waited += 1
        if self.settings.kind == "plateau" and self.waited >= self.settings.patience:
            self.dropped, self.waited = self.dropped + 1, 0

    @property
    def over(self) -> bool:
        """A plateau after the last drop ends the training."""
        return self.settings.kind == "plateau" and self.dropped > self.settings.drops

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "waited": self.waited, "dropped": self.dropped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.lowest, self.waited, self.dropped = state["lowest"], state["waited"], state["dropped"]
