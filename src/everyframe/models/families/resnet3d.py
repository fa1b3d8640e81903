"""3D-ResNet and 3D-ResNeXt: "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", Hara et al.,
CVPR 2018.

Layer names follow the code of Efficient-3DCNNs, which compares with them (table 8), so that its checkpoints load by name.
As there, the stem keeps all frames (stride 1 in time). Unlike there, gradients pass through shortcut A. Time is strided
together with space: 16 frames become 1.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from everyframe.models.families.blocks import conv_bn_act, initialize

STEM_CHANNELS = 64


class Variant(NamedTuple):
    """blocks of each stage; a block's kernels, its output channels as a multiple of its inner ones; inner channels of the
    first stage (doubled at each next one); groups of the 3x3x3 convolution in the middle."""

    blocks: tuple[int, int, int, int]
    kernels: tuple[int, ...] = (1, 3, 1)
    expansion: int = 4
    inner: int = 64
    groups: int = 1


VARIANTS = {
    "resnet18": Variant((2, 2, 2, 2), (3, 3), 1),
    "resnet34": Variant((3, 4, 6, 3), (3, 3), 1),
    "resnet50": Variant((3, 4, 6, 3)),
    "resnet101": Variant((3, 4, 23, 3)),
    "resnet152": Variant((3, 8, 36, 3)),
    "resnet200": Variant((3, 24, 36, 3)),
    "resnext101": Variant((3, 4, 23, 3), expansion=2, inner=128, groups=32),
}


class ZeroShortcut(nn.Module):
    """Shortcut A, without weights: every `stride`-th position, and zeros for the channels that the input lacks."""

    def __init__(self, stride: int, missing: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, missing

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = functional.avg_pool3d(x, 1, self.stride)
        return functional.pad(x, (0, 0, 0, 0, 0, 0, 0, self.missing))


class Block(nn.Module):
    """Convolutions conv1, conv2, ... with batch norm, + shortcut. The first 3x3x3 one has the stride."""

    def __init__(self, c_in: int, inner: int, stride: int, variant: Variant, shortcut: str) -> None:
        super().__init__()
        c_out = inner * variant.expansion
        self.depth, channels, strided = len(variant.kernels), c_in, variant.kernels.index(3)
        for i, kernel in enumerate(variant.kernels):
            last = i == self.depth - 1
            width, groups = c_out if last else inner, variant.groups if kernel == 3 else 1
            steps = stride if i == strided else 1
            conv = nn.Conv3d(channels, width, kernel, steps, kernel // 2, groups=groups, bias=False)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm3d(width))
            channels = width
        self.relu = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride != 1 or c_in != c_out:
            projected = nn.Sequential(*conv_bn_act(c_in, c_out, (1, 1, 1), (stride,) * 3, act=None))
            self.downsample = projected if shortcut == "B" else ZeroShortcut(stride, c_out - c_in)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.depth + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            y = self.relu(y) if i < self.depth else y
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet3D(nn.Module):
    """variant: a name in VARIANTS. shortcut where the shape changes: "A" (strided, zeros for new channels) or "B" (strided 1x1x1
    convolution). Works at any T, H and W."""

    def __init__(
        self,
        num_classes: int,
        frames: int,
        size: tuple[int, int],
        *,
        in_channels: int = 3,
        variant: str,
        shortcut: str,
    ) -> None:
        super().__init__()
        layout, channels = VARIANTS[variant], STEM_CHANNELS
        self.conv1 = nn.Conv3d(in_channels, channels, 7, (1, 2, 2), 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm3d(channels), nn.ReLU()
        self.maxpool = nn.MaxPool3d((3, 3, 3), 2, 1)
        for i, repeats in enumerate(layout.blocks):
            inner, stage = layout.inner * 2**i, []
            for j in range(repeats):
                stage.append(Block(channels, inner, 1 if i == 0 or j else 2, layout, shortcut))
                channels = inner * layout.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))
        self.fc = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(clip))))
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
        return self.fc(x.mean((2, 3, 4)))
