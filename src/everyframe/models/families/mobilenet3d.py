"""3D-MobileNet (V1): "Resource Efficient 3D Convolutional Neural Networks", Kopuklu et al., ICCVW 2019.

Layer names follow the authors' code (Efficient-3DCNNs), so that their checkpoints load by name. Unlike the 2-D network,
the first block already has stride 2 and the last one stride 1. Widths are cut to whole numbers. Time is strided together
with space: 16 frames become 1.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from everyframe.models.families.blocks import conv_bn_act, initialize

# channels, blocks, stride of the first block (in T, H and W)
STAGES = ((64, 1, 2), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 1))
STEM_CHANNELS = 32


class Block(nn.Module):
    """Depthwise 3x3x3, then 1x1x1, each with batch norm and ReLU."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(c_in, c_in, 3, stride, 1, groups=c_in, bias=False)
        self.bn1 = nn.BatchNorm3d(c_in)
        self.conv2 = nn.Conv3d(c_in, c_out, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)))


class MobileNet3D(nn.Module):
    """width: multiplies every channel count (0.5, 1.0, 1.5 and 2.0 in the paper). Works at any T, H and W."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, width: float) -> None:
        super().__init__()
        channels = int(STEM_CHANNELS * width)
        layers: list[nn.Module] = [nn.Sequential(*conv_bn_act(in_channels, channels, (3, 3, 3), (1, 2, 2)))]
        for c_out, repeats, stride in STAGES:
            for i in range(repeats):
                layers.append(Block(channels, int(c_out * width), 1 if i else stride))
                channels = int(c_out * width)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, num_classes))
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        return self.classifier(self.features(clip).mean((2, 3, 4)))
