"""The count behind the "MFLOPs" of "Resource Efficient 3D Convolutional Neural Networks" (Kopuklu et al., ICCVW 2019,
table 8), which agrees with it to the printed digit for all 21 networks of the table that the authors' code has (not I3D).

It is no count of multiply-adds: the rest adds 0.3 (3D-ResNet-18) to 15 percent (3D-MobileNetV2 0.2x). For each element
of a layer's output:

    convolution            its multiply-adds, + 1 with a bias
    linear                 2 * inputs - 1: multiplications and additions
    batch norm             2
    ReLU, ReLU6            1
    max and average pool   k - 1 and k. k: the positions of the window (27 for (3, 3, 3)); where the window was given as one
                           number, that number (3 for 3)

Free is what is no module of its own: sums, concatenations, shuffles, the mean in front of the classifier, the shortcut
without weights, and the activations inside 3D-MobileNet's blocks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn


def _window(pool: Any) -> int:
    return prod(pool.kernel_size) if isinstance(pool.kernel_size, tuple) else pool.kernel_size


# layer -> operations for one element of its output
COSTS: dict[type[nn.Module], Callable[[Any], int]] = {
    nn.Conv2d: lambda conv: conv.weight[0].numel() + (conv.bias is not None),
    nn.Conv3d: lambda conv: conv.weight[0].numel() + (conv.bias is not None),
    nn.Linear: lambda linear: 2 * linear.in_features - 1,
    nn.BatchNorm2d: lambda _: 2,
    nn.BatchNorm3d: lambda _: 2,
    nn.ReLU: lambda _: 1,
    nn.ReLU6: lambda _: 1,
    nn.MaxPool3d: lambda pool: _window(pool) - 1,
    nn.AvgPool3d: _window,
}


def paper_flops(net: nn.Module, shape: tuple[int, ...]) -> int:
    """The paper's count for one forward pass on an input of `shape` (N, C, T, H, W).

    Nothing is computed: a copy of the network runs on the meta device. A layer that is called twice counts twice.
    """
    total = 0

    def counter(cost: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def count(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            nonlocal total
            total += cost * made.numel()

        return count

    ghost = copy.deepcopy(net).to("meta").eval()
    for layer in ghost.modules():
        if cost := next((COSTS[kind] for kind in type(layer).__mro__ if kind in COSTS), None):
            layer.register_forward_hook(counter(cost(layer)))
    with torch.no_grad():
        ghost(torch.empty(shape, device="meta"))
    return total
