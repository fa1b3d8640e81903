"""What every convolution and linear layer of a torch network costs for one clip, and what is left of it after pruning.

MACs count convolutions and linear layers, padding included, as `conversion.account` does. A rate is the pruned share of a
layer's units, in [0, 1); `rates` has the module path (as in `net.named_modules()`) of every pruned layer.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from everyframe.errors import UsageError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class LayerCost:
    """name: the module path. kind: `conv` or `linear`. weight_shape: (out, in / groups, k...). macs: of all its calls for one
    clip. input: shape of its first call, batch included. Linear layers have no strides, padding and dilation.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    macs: int
    input: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    reads_clip: bool = False

    @property
    def places(self) -> int:
        """Positions of the kernel: 27 for 3x3x3."""
        return prod(self.weight_shape[2:])

    @property
    def params(self) -> int:
        """Weights, without biases."""
        return prod(self.weight_shape)

    @property
    def prunable(self) -> bool:
        """Worth pruning in kernel groups: not the first convolutions, 1x1x1 and depthwise ones, and linear layers, which are
        cheap, delicate or both (as RT3D leaves them alone).
        """
        depthwise = self.groups > 1 and self.weight_shape[1] == 1
        return self.kind == "conv" and self.places > 1 and not self.reads_clip and not depthwise


def layers(net: nn.Module, shape: Sequence[int]) -> list[LayerCost]:
    """The layers in the order of their first call on a clip of `shape` (N, C, T, H, W). Nothing is computed: a copy of the
    network runs on the meta device. Raises UsageError for a clip that the network cannot take.
    """
    clip, found = tuple(shape), dict[str, LayerCost]()

    def count(name: str) -> Callable[[Any, tuple[Tensor, ...], Tensor], None]:
        def hook(layer: Any, given: tuple[Tensor, ...], made: Tensor) -> None:
            if name in found:
                again = found[name]
                found[name] = LayerCost(**{**again.__dict__, "macs": again.macs + _macs(layer, made)})
            else:
                found[name] = _cost(name, layer, tuple(given[0].shape), made, clip[1])

        return hook

    ghost = copy.deepcopy(net).to("meta").eval()
    for name, layer in ghost.named_modules():
        if isinstance(layer, (*CONVOLUTIONS, nn.Linear)):
            layer.register_forward_hook(count(name))
    try:
        with torch.no_grad():
            ghost(torch.empty(clip, device="meta"))
    except (RuntimeError, IndexError, ValueError) as error:
        raise UsageError(
            "The network does not take clips of this shape.", expected="(N, C, T, H, W)", got=f"{clip}: {error}"
        ) from None
    return list(found.values())


def left(costs: Sequence[LayerCost], rates: Mapping[str, float]) -> float:
    """MACs that are left of a clip. The FLOPs rate, as in "2.53x", is left(costs, {}) / left(costs, rates). Raises UsageError
    for a layer that is not there and a rate outside [0, 1).
    """
    check(costs, rates)
    return sum(cost.macs * (1 - rates.get(cost.name, 0.0)) for cost in costs)


def check(costs: Sequence[LayerCost], rates: Mapping[str, float]) -> None:
    names = [cost.name for cost in costs]
    for name, rate in rates.items():
        if name not in names:
            close = difflib.get_close_matches(name, names, n=3)
            raise UsageError(
                "The network has no convolution or linear layer of this name.", got=name,
                expected=f"for example {', '.join(close or names[:3])}", hint="take the paths of net.named_modules()",
            )  # fmt: skip
        if not 0 <= rate < 1:
            raise UsageError("A rate is the pruned share of a layer.", where=name, expected="0 to below 1", got=rate)


def _macs(layer: Any, made: Tensor) -> int:
    return made.numel() * layer.weight[0].numel()


def _cost(name: str, layer: Any, given: tuple[int, ...], made: Tensor, channels: int) -> LayerCost:
    weight, macs = tuple(layer.weight.shape), _macs(layer, made)
    if isinstance(layer, nn.Linear):
        return LayerCost(name, "linear", weight, macs, given)
    padding = layer.padding
    if isinstance(padding, str):  # "same" or "valid"
        share = 0.5 if padding == "same" else 0
        padding = (int(share * d * (k - 1)) for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
    return LayerCost(
        name, "conv", weight, macs, given, tuple(layer.stride), tuple(padding), tuple(layer.dilation), layer.groups,
        reads_clip=layer.in_channels == channels,
    )  # fmt: skip
