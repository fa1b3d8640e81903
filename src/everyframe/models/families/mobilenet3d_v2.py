"""3D-MobileNetV2: "Resource Efficient 3D Convolutional Neural Networks", Kopuklu et al., ICCVW 2019 (table 3).

Layer names follow the authors' code (Efficient-3DCNNs), so that their checkpoints load by name. As in that code and
unlike the paper's table, the last convolution has 1280 channels (the table prints 1024). Widths are cut to whole
numbers, not rounded to multiples of 8. Time is strided together with space: 16 frames become 1.
"""

from __future__ import annotations

from torch import Tensor, nn

from everyframe.models.families.blocks import conv_bn_act, initialize

# expansion, channels, blocks, stride of the first block (in T, H and W)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280


class Block(nn.Module):
    """Inverted residual: 1x1x1 expand, depthwise 3x3x3, 1x1x1 project; + input where the shape allows."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = c_in * expansion
        expand = conv_bn_act(c_in, inner, (1, 1, 1), act=nn.ReLU6) if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            *conv_bn_act(inner, inner, (3, 3, 3), (stride,) * 3, groups=inner, act=nn.ReLU6),
            *conv_bn_act(inner, c_out, (1, 1, 1), act=None),
        )
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNet3DV2(nn.Module):
    """width: multiplies every channel count (0.2, 0.45, 0.7 and 1.0 in the paper). Works at any T, H and W."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, width: float) -> None:
        super().__init__()
        channels = int(STEM_CHANNELS * width)
        head = int(HEAD_CHANNELS * max(1.0, width))
        layers: list[nn.Module] = [nn.Sequential(*conv_bn_act(in_channels, channels, (3, 3, 3), (1, 2, 2), act=nn.ReLU6))]
        for expansion, c_out, repeats, stride in STAGES:
            for i in range(repeats):
                layers.append(Block(channels, int(c_out * width), 1 if i else stride, expansion))
                channels = int(c_out * width)
        layers.append(nn.Sequential(*conv_bn_act(channels, head, (1, 1, 1), act=nn.ReLU6)))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(head, num_classes))
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        return self.classifier(self.features(clip).mean((2, 3, 4)))
