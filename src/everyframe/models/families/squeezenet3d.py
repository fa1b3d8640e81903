"""3D-SqueezeNet 1.1: "Resource Efficient 3D Convolutional Neural Networks", Kopuklu et al., ICCVW 2019.

Layer names follow the authors' code (Efficient-3DCNNs), so that their checkpoints load by name. As in that code: every
convolution has a bias and, but for the classifier, a batch norm; every second Fire module adds its input; the classifier
is a convolution with a ReLU behind it, so that no logit is negative. Time is strided together with space: 16 frames
become 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from everyframe.models.families.blocks import initialize

STEM_CHANNELS = 64
# squeezed channels, channels of each of the two expansions; every row: one Fire, then one with a bypass
STAGES = ((16, 64), (32, 128), (48, 192), (64, 256))


class Fire(nn.Module):
    """1x1x1 squeeze, then 1x1x1 and 3x3x3 expansions side by side: (N, C, T, H, W) -> (N, 2 * expanded, T, H, W)."""

    def __init__(self, c_in: int, squeezed: int, expanded: int, *, bypass: bool) -> None:
        super().__init__()
        self.squeeze, self.squeeze_bn = nn.Conv3d(c_in, squeezed, 1), nn.BatchNorm3d(squeezed)
        self.expand1x1, self.expand1x1_bn = nn.Conv3d(squeezed, expanded, 1), nn.BatchNorm3d(expanded)
        self.expand3x3, self.expand3x3_bn = nn.Conv3d(squeezed, expanded, 3, padding=1), nn.BatchNorm3d(expanded)
        self.relu, self.bypass = nn.ReLU(), bypass

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.relu(self.squeeze_bn(self.squeeze(x)))
        point, volume = self.expand1x1_bn(self.expand1x1(squeezed)), self.expand3x3_bn(self.expand3x3(squeezed))
        expanded = torch.cat((point, volume), dim=1)
        return self.relu(expanded + x if self.bypass else expanded)


class SqueezeNet3D(nn.Module):
    """Works at any T, H and W."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3) -> None:
        super().__init__()
        channels = STEM_CHANNELS
        stem = nn.Conv3d(in_channels, channels, 3, (1, 2, 2), 1)
        layers: list[nn.Module] = [stem, nn.BatchNorm3d(channels), nn.ReLU()]
        for squeezed, expanded in STAGES:
            layers.append(nn.MaxPool3d(3, 2, 1))
            layers.append(Fire(channels, squeezed, expanded, bypass=False))
            channels = 2 * expanded
            layers.append(Fire(channels, squeezed, expanded, bypass=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv3d(channels, num_classes, 1), nn.ReLU())
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        return self.classifier(self.features(clip)).mean((2, 3, 4))
