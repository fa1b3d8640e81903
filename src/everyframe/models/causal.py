"""A network that looks at both sides of a frame becomes one that looks back only.

Every layer over time that pads both ends by p frames pads the front by 2 p instead: the same weights, the same shapes, and
nothing to wait for (the causal convolutions of Bai et al., arXiv 1803.01271). What it computes is another function: weights
of the symmetric network are a start for training, no more.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

#: layer -> what stands for a frame that is not there
PADDED: dict[type[nn.Module], float] = {nn.Conv3d: 0.0, nn.AvgPool3d: 0.0, nn.MaxPool3d: -math.inf}


def make_causal(net: nn.Module) -> nn.Module:
    """Changes the network itself; the names of its weights stay."""
    for layer in net.modules():
        value = next((PADDED[kind] for kind in type(layer).__mro__ if kind in PADDED), None)
        if value is not None:
            _look_back(layer, value)
    return net


def _look_back(layer: Any, value: float) -> None:
    padding = (layer.padding,) * 3 if isinstance(layer.padding, int) else tuple(layer.padding)
    if not padding[0]:
        return
    front, layer.padding = 2 * padding[0], (0, *padding[1:])

    def pad(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (functional.pad(inputs[0], (0, 0, 0, 0, front, 0), value=value), *inputs[1:])

    layer.register_forward_pre_hook(pad)
