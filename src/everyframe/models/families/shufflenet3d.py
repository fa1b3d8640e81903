"""3D-ShuffleNet (V1), three groups: "Resource Efficient 3D Convolutional Neural Networks", Kopuklu et al., ICCVW
2019.

Layer names follow the authors' code (Efficient-3DCNNs), so that their checkpoints load by name. As in that code, the
first 1x1x1 convolution is ungrouped only where it has 24 inputs, which of the published widths is 1.0 alone. Time is
strided together with space: 16 frames become 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from everyframe.models.families.blocks import conv_bn_act, initialize

# channels, blocks; the first block of a stage has stride 2 (in T, H and W)
STAGES = ((240, 4), (480, 8), (960, 4))
STEM_CHANNELS = 24
GROUPS = 3
BOTTLENECK = 4  # a block's inner channels are a quarter of its output's


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel c of group g becomes channel g of group c: the next grouped convolution sees all of them."""
    n, c, t, h, w = x.shape
    return x.reshape(n, groups, c // groups, t, h, w).transpose(1, 2).reshape(n, c, t, h, w)


class Block(nn.Module):
    """Grouped 1x1x1, shuffle, depthwise 3x3x3, grouped 1x1x1; with stride 2 beside the averaged input, else + input."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        inner = c_out // BOTTLENECK
        made = c_out - c_in if stride == 2 else c_out
        self.conv1 = nn.Conv3d(c_in, inner, 1, groups=1 if c_in == STEM_CHANNELS else GROUPS, bias=False)
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, made, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm3d(made)
        self.relu = nn.ReLU()
        self.shortcut = nn.AvgPool3d((2, 3, 3), 2) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        y = shuffle(self.relu(self.bn1(self.conv1(x))), GROUPS)
        y = self.bn3(self.conv3(self.bn2(self.conv2(y))))
        if self.shortcut is None:
            return self.relu(y + x)
        # zeros around H and W, and beside a last frame that has no partner; torch's pool pads no picture below 3 x 3
        x = functional.pad(x, (1, 1, 1, 1, 0, x.shape[2] % 2))
        return self.relu(torch.cat((y, self.shortcut(x)), dim=1))


class ShuffleNet3D(nn.Module):
    """width: multiplies every channel count (0.5, 1.0, 1.5 and 2.0 in the paper). Works at any T, H and W.

    Channels are rounded to what three groups can share (stem: 3, stages: 3 times the bottleneck's 4); the published
    widths need no rounding.
    """

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, width: float) -> None:
        super().__init__()
        channels = _round(STEM_CHANNELS * width, GROUPS)
        self.conv1 = nn.Sequential(*conv_bn_act(in_channels, channels, (3, 3, 3), (1, 2, 2)))
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        for i, (full, repeats) in enumerate(STAGES, start=1):
            c_out = _round(full * width, GROUPS * BOTTLENECK)
            later = (Block(c_out, c_out, 1) for _ in range(repeats - 1))
            self.add_module(f"layer{i}", nn.Sequential(Block(channels, c_out, 2), *later))
            channels = c_out
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, num_classes))
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        x = self.maxpool(self.conv1(clip))
        for i in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{i}")(x)
        return self.classifier(x.mean((2, 3, 4)))


def _round(channels: float, multiple: int) -> int:
    return multiple * round(channels / multiple)
