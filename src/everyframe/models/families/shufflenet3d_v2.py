"""3D-ShuffleNetV2: "Resource Efficient 3D Convolutional Neural Networks", Kopuklu et al., ICCVW 2019 (table 6).

Layer names follow the authors' code (Efficient-3DCNNs), `banch` and all, so that their checkpoints load by name. As in
that code and unlike the paper's table, the first stage of width 2.0 has 224 channels (the table prints 244; its parameter
count is that of 224). Time is strided together with space: 16 frames become 1.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from everyframe.errors import UsageError
from everyframe.models.families.blocks import conv_bn_act, initialize
from everyframe.models.families.shufflenet3d import shuffle

# width: channels of the three stages, of the last convolution
WIDTHS: dict[float, tuple[int, int, int, int]] = {
    0.25: (32, 64, 128, 1024),
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (224, 488, 976, 2048),
}
REPEATS = (4, 8, 4)
STEM_CHANNELS = 24


def plan(width: float) -> tuple[int, ...]:
    """The row of WIDTHS, or what lies on the line between two rows, in even numbers (a block halves its channels)."""
    if width in WIDTHS:
        return WIDTHS[width]
    for low, high in pairwise(WIDTHS):
        if low < width < high:
            part = (width - low) / (high - low)
            return tuple(2 * round((a + part * (b - a)) / 2) for a, b in zip(WIDTHS[low], WIDTHS[high], strict=True))
    raise UsageError(
        "3D-ShuffleNetV2 has no network of this width.",
        expected=f"{min(WIDTHS)} to {max(WIDTHS)}",
        got=width,
        hint=f"the published widths are {', '.join(map(str, WIDTHS))}",
    )


class Block(nn.Module):
    """Two branches side by side, then a shuffle.

    stride 1: the first half of the channels as it is | the second half through 1x1x1, depthwise 3x3x3, 1x1x1.
    stride 2: the input through depthwise 3x3x3, 1x1x1 | and through 1x1x1, depthwise 3x3x3, 1x1x1.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        half, steps = c_out // 2, (stride,) * 3
        self.kept = 0 if stride == 2 else half  # channels that only pass through
        if stride == 2:
            self.banch1 = nn.Sequential(
                *conv_bn_act(c_in, c_in, (3, 3, 3), steps, groups=c_in, act=None),
                *conv_bn_act(c_in, half, (1, 1, 1)),
            )
        self.banch2 = nn.Sequential(
            *conv_bn_act(c_in - self.kept, half, (1, 1, 1)),
            *conv_bn_act(half, half, (3, 3, 3), steps, groups=half, act=None),
            *conv_bn_act(half, half, (1, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.kept:
            halves = x[:, : self.kept], self.banch2(x[:, self.kept :])
        else:
            halves = self.banch1(x), self.banch2(x)
        return shuffle(torch.cat(halves, dim=1), 2)


class ShuffleNet3DV2(nn.Module):
    """width: a key of WIDTHS or anything between them. Works at any T, H and W."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, width: float) -> None:
        super().__init__()
        *stages, last = plan(width)
        channels = STEM_CHANNELS
        self.conv1 = nn.Sequential(*conv_bn_act(in_channels, channels, (3, 3, 3), (1, 2, 2)))
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        blocks: list[nn.Module] = []
        for c_out, repeats in zip(stages, REPEATS, strict=True):
            for i in range(repeats):
                blocks.append(Block(channels, c_out, 1 if i else 2))
                channels = c_out
        self.features = nn.Sequential(*blocks)
        self.conv_last = nn.Sequential(*conv_bn_act(channels, last, (1, 1, 1)))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        x = self.conv_last(self.features(self.maxpool(self.conv1(clip))))
        return self.classifier(x.mean((2, 3, 4)))
