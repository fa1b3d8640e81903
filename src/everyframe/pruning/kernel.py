"""A convolution's kernel without its weakest units, while it learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from everyframe.pruning.pattern import Pattern
from everyframe.recipes.pruning import usual_group

#: scheme and rate of a layer that is not pruned
DENSE = ("none", 0.0)


def prune(kernel: Tensor, how: tuple[str, float]) -> Tensor:
    """Without the units of smallest norm, chosen anew at every call. how: scheme, and the share that goes. A pattern that is
    larger than the layer leaves it whole.
    """
    scheme, rate = how
    if scheme == "none" or not rate:
        return kernel
    pattern = Pattern(scheme, usual_group(scheme))  # type: ignore[arg-type]
    if not pattern.fits(tuple(kernel.shape)):
        return kernel
    weight = kernel.detach().float().cpu().numpy()
    kept = pattern.spread(pattern.keep(pattern.scores(weight), rate), weight.shape)
    return kernel * torch.from_numpy(kept).to(kernel)


class Pruned(nn.Conv2d):
    """A convolution that learns with the kernel that is left; its weights are whole until `settle`."""

    how = DENSE

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, prune(self.weight, self.how), self.bias)


def settle(net: nn.Module) -> None:
    """What is pruned becomes zero for good."""
    for layer in net.modules():
        if isinstance(layer, Pruned):
            layer.weight.data = prune(layer.weight.data, layer.how)
            layer.how = DENSE
