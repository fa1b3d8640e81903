"""X3D: "Expanding Architectures for Efficient Video Recognition", Feichtenhofer, CVPR 2020 (table 3).

Layer names and details follow PyTorchVideo's models, so that their checkpoints load by name. As there:
squeeze-and-excite sits in every second block only (blocks 0, 2, 4, ... of a stage), the shortcut of the first
stage has a convolution but no batch norm (the authors' code has one: `first_shortcut`), and the names `conv_t` and
`conv_xy` of the stem are exchanged (`conv_t` is the spatial one).
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import Tensor, nn

from everyframe.models.families.blocks import SqueezeExcite, half_size, initialize, mean_positions

# stage: channels, blocks before the depth factor
STAGES = ((24, 1), (48, 2), (96, 5), (192, 3))
STEM_CHANNELS = 24
EXPAND = 2.25  # inner channels of a block per outer channel
HEAD_CHANNELS = 2048


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and never more than 10 % below `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def stem(in_channels: int, channels: int) -> nn.Module:
    """1x3x3 stride 2 in space, then a depthwise 5x1x1 over time."""
    spatial = nn.Conv3d(in_channels, channels, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
    temporal = nn.Conv3d(channels, channels, (5, 1, 1), padding=(2, 0, 0), groups=channels, bias=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Sequential(OrderedDict(conv_t=spatial, conv_xy=temporal))
    layers["norm"] = nn.BatchNorm3d(channels)
    layers["activation"] = nn.ReLU()
    return nn.Sequential(layers)


class Block(nn.Module):
    """Inverted bottleneck: 1x1x1 expand, depthwise 3x3x3, [squeeze-excite], swish, 1x1x1 project, + shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int, *, excite: bool, shortcut_norm: bool) -> None:
        super().__init__()
        inner = int(EXPAND * c_out)
        if c_in != c_out or stride != 1:
            self.branch1_conv = nn.Conv3d(c_in, c_out, 1, (1, stride, stride), bias=False)
            self.branch1_norm = nn.BatchNorm3d(c_out) if c_in != c_out or shortcut_norm else nn.Identity()
        self.projected = c_in != c_out or stride != 1
        gate = SqueezeExcite(inner, round_channels(inner / 16)) if excite else nn.Identity()
        depthwise = nn.Conv3d(inner, inner, 3, (1, stride, stride), 1, groups=inner, bias=False)
        self.branch2 = nn.Sequential(
            OrderedDict(
                conv_a=nn.Conv3d(c_in, inner, 1, bias=False),
                norm_a=nn.BatchNorm3d(inner),
                act_a=nn.ReLU(),
                conv_b=depthwise,
                norm_b=nn.Sequential(nn.BatchNorm3d(inner), gate),
                act_b=nn.SiLU(),
                conv_c=nn.Conv3d(inner, c_out, 1, bias=False),
                norm_c=nn.BatchNorm3d(c_out),
            )
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.branch1_norm(self.branch1_conv(x)) if self.projected else x
        return self.activation(shortcut + self.branch2(x))


class Stage(nn.Module):
    def __init__(self, c_in: int, c_out: int, blocks: int, *, shortcut_norm: bool) -> None:
        super().__init__()
        first = Block(c_in, c_out, 2, excite=True, shortcut_norm=shortcut_norm)
        rest = (Block(c_out, c_out, 1, excite=i % 2 == 0, shortcut_norm=shortcut_norm) for i in range(1, blocks))
        self.res_blocks = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.res_blocks(x)


class Head(nn.Module):
    """1x1x1 conv, average pool over the whole clip, 1x1x1 conv to 2048, linear; (N, C, T, H, W) -> (N, classes).

    The pool's kernel is the clip the network was made for; on a larger input the predictions of all positions are
    averaged.
    """

    def __init__(self, c_in: int, c_inner: int, num_classes: int, window: tuple[int, int, int]) -> None:
        super().__init__()
        self.pool = nn.Sequential(
            OrderedDict(
                pre_conv=nn.Conv3d(c_in, c_inner, 1, bias=False),
                pre_norm=nn.BatchNorm3d(c_inner),
                pre_act=nn.ReLU(),
                pool=nn.AvgPool3d(window, stride=1),
                post_conv=nn.Conv3d(c_inner, HEAD_CHANNELS, 1, bias=False),
                post_act=nn.ReLU(),
            )
        )
        self.dropout = nn.Dropout(0.5)
        self.proj = nn.Linear(HEAD_CHANNELS, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # the mean of linear outputs is the linear output of the mean, so positions are averaged first
        return self.proj(self.dropout(mean_positions(self.pool(x))))


class X3D(nn.Module):
    """depth: multiplies the blocks of every stage (2.2 for XS, S and M; 5.0 for L).

    first_shortcut: "conv" as in PyTorchVideo; "conv_bn", with a batch norm, as in the authors' PySlowFast and in co3d.
    """

    def __init__(
        self,
        num_classes: int,
        frames: int,
        size: tuple[int, int],
        *,
        in_channels: int = 3,
        depth: float,
        first_shortcut: str = "conv",
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = [stem(in_channels, STEM_CHANNELS)]
        channels = STEM_CHANNELS
        for c_out, repeats in STAGES:
            blocks.append(Stage(channels, c_out, math.ceil(depth * repeats), shortcut_norm=first_shortcut == "conv_bn"))
            channels = c_out
        height, width = (half_size(pixels, 5) for pixels in size)
        blocks.append(Head(channels, int(EXPAND * channels), num_classes, (frames, height, width)))
        self.blocks = nn.Sequential(*blocks)
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        return self.blocks(clip)
