"""Slow and I3D ResNet-50: "SlowFast Networks", Feichtenhofer et al., ICCV 2019 (table 1, slow pathway); "Quo Vadis",
Carreira and Zisserman, CVPR 2017, inflated on ResNet-50 as in "Non-local Neural Networks", Wang et al., CVPR 2018
(table 1).

Layer names follow PyTorchVideo's models, so that their checkpoints load by name. Bottlenecks are 1x1x1 or 3x1x1, then
1x3x3 with the spatial stride, then 1x1x1. I3D halves T with a 2x1x1 max pool after the first stage; Slow never pools
over time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from everyframe.models.families.blocks import half_size, initialise, mean_positions


@dataclass(frozen=True)
class Plan:
    """stem_taps: temporal kernel of the stem. taps: that of conv_a, one a block, four stages. pool_after_first: halve
    T."""

    stem_taps: int
    taps: tuple[tuple[int, ...], ...]
    pool_after_first: bool = False


PLANS = {
    "slow_r50": Plan(1, ((1, 1, 1), (1, 1, 1, 1), (3, 3, 3, 3, 3, 3), (3, 3, 3))),
    "i3d_r50": Plan(5, ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1)), pool_after_first=True),
}
INNER = (64, 128, 256, 512)  # the outer width of a stage is 4 times this


def stem(in_channels: int, taps: int) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv3d(in_channels, 64, (taps, 7, 7), (1, 2, 2), (taps // 2, 3, 3), bias=False)
    layers["norm"] = nn.BatchNorm3d(64)
    layers["activation"] = nn.ReLU()
    layers["pool"] = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    return nn.Sequential(layers)


class Block(nn.Module):
    """Bottleneck with a temporal first convolution of `taps` frames."""

    def __init__(self, c_in: int, inner: int, taps: int, stride: int) -> None:
        super().__init__()
        c_out = 4 * inner
        self.projected = c_in != c_out or stride != 1
        if self.projected:
            self.branch1_conv = nn.Conv3d(c_in, c_out, 1, (1, stride, stride), bias=False)
            self.branch1_norm = nn.BatchNorm3d(c_out)
        self.branch2 = nn.Sequential(
            OrderedDict(
                conv_a=nn.Conv3d(c_in, inner, (taps, 1, 1), padding=(taps // 2, 0, 0), bias=False),
                norm_a=nn.BatchNorm3d(inner),
                act_a=nn.ReLU(),
                conv_b=nn.Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
                norm_b=nn.BatchNorm3d(inner),
                act_b=nn.ReLU(),
                conv_c=nn.Conv3d(inner, c_out, 1, bias=False),
                norm_c=nn.BatchNorm3d(c_out),
            )
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.branch1_norm(self.branch1_conv(x)) if self.projected else x
        return self.activation(shortcut + self.branch2(x))


class Stage(nn.Module):
    def __init__(self, c_in: int, inner: int, taps: tuple[int, ...], stride: int) -> None:
        super().__init__()
        self.res_blocks = nn.Sequential(
            *(Block(4 * inner if i else c_in, inner, k, 1 if i else stride) for i, k in enumerate(taps))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_blocks(x)


class Head(nn.Module):
    """Average pool over the clip the network was made for, then linear; further positions of a larger input are
    averaged."""

    def __init__(self, c_in: int, num_classes: int, window: tuple[int, int, int]) -> None:
        super().__init__()
        self.pool = nn.AvgPool3d(window, stride=1)
        self.dropout = nn.Dropout(0.5)
        self.proj = nn.Linear(c_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.dropout(mean_positions(self.pool(x))))


class VideoResNet(nn.Module):
    """plan: a name in PLANS."""

    def __init__(
        self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, plan: str
    ) -> None:
        super().__init__()
        chosen = PLANS[plan]
        blocks: list[nn.Module] = [stem(in_channels, chosen.stem_taps)]
        channels = 64
        for i, (inner, taps) in enumerate(zip(INNER, chosen.taps, strict=True)):
            blocks.append(Stage(channels, inner, taps, stride=2 if i else 1))
            channels = 4 * inner
            if i == 0 and chosen.pool_after_first:
                blocks.append(nn.MaxPool3d((2, 1, 1), (2, 1, 1)))
                frames //= 2
        height, width = (half_size(pixels, 5) for pixels in size)
        blocks.append(Head(channels, num_classes, (frames, height, width)))
        self.blocks = nn.Sequential(*blocks)
        initialise(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        return self.blocks(clip)
