"""What may take part in a training beside its loss. This one changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Hook:
    """The loop calls it with the network as it is; what it remembers is kept in the checkpoint."""

    #: whether `penalty` has something to add
    penalizes = False

    def begin_epoch(self, net: nn.Module, done: float, step: float) -> None:
        """Before the first step of an epoch. done: the share of the training that is over; step: the share that one step is."""

    def penalty(self, net: nn.Module, loss: Tensor) -> Tensor:
        """A term beside the loss, which is given without gradient; a scalar with one."""
        raise NotImplementedError

    def after_step(self, net: nn.Module) -> None:
        """After each step of the optimizer, without gradients; for the averaged network too."""

    def figures(self, net: nn.Module) -> dict[str, float]:
        """What joins the metrics of an epoch."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
