"""I3D on Inception-V1: "Quo Vadis, Action Recognition?", Carreira and Zisserman, CVPR 2017 (figure 3).

Layer names follow pytorch-i3d, which holds the authors' weights, so that its checkpoints load by name. As in TensorFlow,
every layer is padded to ceil(input / stride) outputs, the odd pixel or frame behind, and max pools see those zeros too.
As there, predictions of windows of 2x7x7 positions are averaged; where the last feature maps are smaller than that, the
window is all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from everyframe.models.families.blocks import half_size, initialize, mean_positions

WINDOW = (2, 7, 7)  # positions of the last feature maps that one prediction sees
FEATURES = 1024  # channels of the last feature maps
# channels of a mixed block: 1x1 | 1x1 then 3x3 | 1x1 then 3x3 | pool then 1x1
MIXED = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


def same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """x with the zeros around T, H and W that let a layer give ceil(input / stride) outputs; half of them in front."""
    pads: list[int] = []
    for n, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max(0, (-(-n // s) - 1) * s + k - n)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads) if any(pads) else x


class Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: tuple[int, ...] = (1, 1, 1), stride: tuple[int, ...] = (1, 1, 1)) -> None:
        super().__init__()
        self.kernel, self.stride, self.c_out = kernel, stride, c_out
        self.conv3d = nn.Conv3d(c_in, c_out, kernel, stride, bias=False)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm3d(c_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv3d(same(x, self.kernel, self.stride))))


class Pool(nn.Module):
    """Max pool; its padding counts as zeros."""

    def __init__(self, c_in: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self.kernel, self.stride, self.c_out = kernel, stride, c_in

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool3d(same(x, self.kernel, self.stride), self.kernel, self.stride)


class Mixed(nn.Module):
    """Four branches side by side. channels: a value of MIXED."""

    def __init__(self, c_in: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = channels
        self.c_out = b0 + b1b + b2b + b3b
        self.b0 = Unit(c_in, b0)
        self.b1a = Unit(c_in, b1a)
        self.b1b = Unit(b1a, b1b, (3, 3, 3))
        self.b2a = Unit(c_in, b2a)
        self.b2b = Unit(b2a, b2b, (3, 3, 3))
        self.b3a = Pool(c_in, (3, 3, 3), (1, 1, 1))
        self.b3b = Unit(c_in, b3b)

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)))
        return torch.cat(branches, dim=1)


# name, class, its arguments behind the input channels
LAYERS: tuple[tuple[str, type[Unit | Pool | Mixed], tuple[Any, ...]], ...] = (
    ("Conv3d_1a_7x7", Unit, (64, (7, 7, 7), (2, 2, 2))),
    ("MaxPool3d_2a_3x3", Pool, ((1, 3, 3), (1, 2, 2))),
    ("Conv3d_2b_1x1", Unit, (64,)),
    ("Conv3d_2c_3x3", Unit, (192, (3, 3, 3))),
    ("MaxPool3d_3a_3x3", Pool, ((1, 3, 3), (1, 2, 2))),
    ("Mixed_3b", Mixed, (MIXED["3b"],)),
    ("Mixed_3c", Mixed, (MIXED["3c"],)),
    ("MaxPool3d_4a_3x3", Pool, ((3, 3, 3), (2, 2, 2))),
    ("Mixed_4b", Mixed, (MIXED["4b"],)),
    ("Mixed_4c", Mixed, (MIXED["4c"],)),
    ("Mixed_4d", Mixed, (MIXED["4d"],)),
    ("Mixed_4e", Mixed, (MIXED["4e"],)),
    ("Mixed_4f", Mixed, (MIXED["4f"],)),
    ("MaxPool3d_5a_2x2", Pool, ((2, 2, 2), (2, 2, 2))),
    ("Mixed_5b", Mixed, (MIXED["5b"],)),
    ("Mixed_5c", Mixed, (MIXED["5c"],)),
)


class InceptionI3D(nn.Module):
    """Works at any T, H and W; at 64 frames of 224 x 224 the last feature maps are 8 x 7 x 7."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3) -> None:
        super().__init__()
        last = (half_size(frames, 3), half_size(size[0], 5), half_size(size[1], 5))
        self.logits = nn.Sequential(OrderedDict(conv3d=nn.Conv3d(FEATURES, num_classes, 1)))  # first in a checkpoint
        channels = in_channels
        for name, kind, arguments in LAYERS:
            layer = kind(channels, *arguments)
            self.add_module(name, layer)
            channels = layer.c_out
        self.avg_pool = nn.AvgPool3d(tuple(map(min, WINDOW, last)), stride=1)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(0.5)
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        x = clip
        for name, *_ in LAYERS:
            x = self.get_submodule(name)(x)
        return mean_positions(self.logits(self.dropout(self.avg_pool(x))))
