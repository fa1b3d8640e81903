"""S3D: "Rethinking Spatiotemporal Feature Learning", Xie et al., ECCV 2018 (figure 7, without feature gating).

Layer names and details follow torchvision.models.video, so that its checkpoint loads by name: I3D's Inception network in
which every kxkxk convolution is a 1xkxk and a kx1x1 one, each with batch norm (eps 1e-3) and ReLU. As there, predictions
of windows of 2x7x7 positions are averaged; where the last feature maps are smaller than that, the window is all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from everyframe.models.families.blocks import half_size, initialize, mean_positions
from everyframe.models.families.i3d import MIXED, WINDOW


def unit(c_in: int, c_out: int, kernel: tuple[int, int, int] = (1, 1, 1), stride: int = 1) -> nn.Module:
    """Convolution without bias, batch norm, ReLU; the stride is that of the axes that the kernel spans."""
    strides = tuple(stride if k > 1 else 1 for k in kernel)
    padding = tuple(k // 2 for k in kernel)
    conv = nn.Conv3d(c_in, c_out, kernel, strides, padding, bias=False)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.BatchNorm3d(c_out, eps=1e-3), nn.ReLU())


def separable(c_in: int, c_out: int, k: int, stride: int = 1) -> nn.Module:
    """kxkxk as 1xkxk, then kx1x1."""
    return nn.Sequential(unit(c_in, c_out, (1, k, k), stride), unit(c_out, c_out, (k, 1, 1), stride))


class Mixed(nn.Module):
    """Four branches side by side. channels: a value of MIXED."""

    def __init__(self, c_in: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        b0, b1_middle, b1, b2_middle, b2, b3 = channels
        self.branch0 = unit(c_in, b0)
        self.branch1 = nn.Sequential(unit(c_in, b1_middle), separable(b1_middle, b1, 3))
        self.branch2 = nn.Sequential(unit(c_in, b2_middle), separable(b2_middle, b2, 3))
        self.branch3 = nn.Sequential(nn.MaxPool3d(3, stride=1, padding=1), unit(c_in, b3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)), dim=1)


def mixed(c_in: int, *names: str) -> tuple[list[nn.Module], int]:
    """(blocks of MIXED one after the other, output channels)."""
    blocks: list[nn.Module] = []
    for name in names:
        channels = MIXED[name]
        blocks.append(Mixed(c_in, channels))
        c_in = channels[0] + channels[2] + channels[4] + channels[5]
    return blocks, c_in


class S3D(nn.Module):
    """Works from 5 frames on, at any H and W; at 128 frames of 224 x 224 the last feature maps are 16 x 7 x 7."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3) -> None:
        super().__init__()
        third, channels = mixed(192, "3b", "3c")
        fourth, channels = mixed(channels, "4b", "4c", "4d", "4e", "4f")
        fifth, channels = mixed(channels, "5b", "5c")
        self.features = nn.Sequential(
            separable(in_channels, 64, 7, stride=2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            unit(64, 64),
            separable(64, 192, 3),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *third,
            nn.MaxPool3d(3, 2, 1),
            *fourth,
            nn.MaxPool3d(2, 2),
            *fifth,
        )
        # the last pool is not padded: it drops an odd frame or pixel
        last = (half_size(frames, 2) // 2, half_size(size[0], 4) // 2, half_size(size[1], 4) // 2)
        self.avgpool = nn.AvgPool3d(tuple(map(min, WINDOW, last)), stride=1)  # type: ignore[arg-type]
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Conv3d(channels, num_classes, 1))
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        return mean_positions(self.classifier(self.avgpool(self.features(clip))))
