"""ResNet-50 and -101 over time, one variant each: Slow, I3D, C2D, R(2+1)D and CSN.

Slow: "SlowFast Networks", Feichtenhofer et al., ICCV 2019 (table 1, slow pathway). I3D: "Quo Vadis", Carreira and
Zisserman, CVPR 2017, inflated on ResNet-50 as in "Non-local Neural Networks", Wang et al., CVPR 2018 (table 1); C2D is
that paper's baseline. R(2+1)D: "A Closer Look at Spatiotemporal Convolutions", Tran et al., CVPR 2018. CSN: "Video
Classification with Channel-Separated Convolutional Networks", Tran et al., ICCV 2019 (interaction-reduced, ir-CSN).

Layer names, strides and kernels follow PyTorchVideo's models, so that their checkpoints load by name; R(2+1)D and CSN
differ there from the papers: R(2+1)D has bottlenecks, filters time before space, keeps the inner width between the two
and has no pool behind its stem; CSN has one, and gives a stage four times its inner width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from everyframe.models.families.blocks import half_size, initialize, mean_positions

INNER = (64, 128, 256, 512)  # the outer width of a stage is 4 times this
Stride = tuple[int, int, int]  # over T, H, W


@dataclass(frozen=True)
class Variant:
    """What makes a variant.

    taps: temporal kernel of conv_a, one a block, four stages; their lengths are the depth of the network.
    middle: conv_b, a name in MIDDLE. stem_taps: temporal kernel of the stem. stem_pool: a 1x3x3 max pool behind it.
    time, space: strides of the first block of each stage. pool_after_first: halves T behind the first stage.
    """

    taps: tuple[tuple[int, ...], ...]
    middle: str = "spatial"
    stem_taps: int = 1
    stem_pool: bool = True
    time: tuple[int, ...] = (1, 1, 1, 1)
    space: tuple[int, ...] = (1, 2, 2, 2)
    pool_after_first: bool = False


def depth(*blocks: int) -> tuple[tuple[int, ...], ...]:
    """`taps` of stages with so many blocks and no temporal conv_a."""
    return tuple((1,) * n for n in blocks)


VARIANTS = {
    "slow_r50": Variant(((1, 1, 1), (1, 1, 1, 1), (3, 3, 3, 3, 3, 3), (3, 3, 3))),
    "i3d_r50": Variant(((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1)), stem_taps=5, pool_after_first=True),
    "c2d_r50": Variant(depth(3, 4, 6, 3), pool_after_first=True),
    "r2plus1d_r50": Variant(depth(3, 4, 6, 3), "time then space", stem_pool=False, time=(1, 1, 2, 2), space=(2, 2, 2, 2)),
    "csn_r101": Variant(depth(3, 4, 23, 3), "depthwise", stem_taps=3, time=(1, 2, 2, 2)),
}


def spatial(inner: int, stride: Stride) -> nn.Module:
    """1x3x3."""
    return nn.Conv3d(inner, inner, (1, 3, 3), stride, (0, 1, 1), bias=False)


def time_then_space(inner: int, stride: Stride) -> nn.Module:
    """3x1x1 with the temporal stride, BN, ReLU, 1x3x3 with the spatial stride."""
    return nn.Sequential(
        OrderedDict(
            conv_t=nn.Conv3d(inner, inner, (3, 1, 1), (stride[0], 1, 1), (1, 0, 0), bias=False),
            norm=nn.BatchNorm3d(inner),
            activation=nn.ReLU(),
            conv_xy=spatial(inner, (1, *stride[1:])),
        )
    )


def depthwise(inner: int, stride: Stride) -> nn.Module:
    """3x3x3, every channel on its own."""
    return nn.Conv3d(inner, inner, 3, stride, 1, groups=inner, bias=False)


MIDDLE: dict[str, Callable[[int, Stride], nn.Module]] = {
    "spatial": spatial,
    "time then space": time_then_space,
    "depthwise": depthwise,
}


def stem(c_in: int, c_out: int, taps: int, pool: bool = True) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv3d(c_in, c_out, (taps, 7, 7), (1, 2, 2), (taps // 2, 3, 3), bias=False)
    layers["norm"] = nn.BatchNorm3d(c_out)
    layers["activation"] = nn.ReLU()
    if pool:
        layers["pool"] = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    return nn.Sequential(layers)


class Block(nn.Module):
    """Bottleneck: conv_a reads `taps` frames, `middle` makes conv_b, which takes all strides, conv_c widens by 4."""

    def __init__(self, c_in: int, inner: int, taps: int, stride: Stride, middle: str) -> None:
        super().__init__()
        c_out = 4 * inner
        self.projected = c_in != c_out or stride != (1, 1, 1)
        if self.projected:
            self.branch1_conv = nn.Conv3d(c_in, c_out, 1, stride, bias=False)
            self.branch1_norm = nn.BatchNorm3d(c_out)
        self.branch2 = nn.Sequential(
            OrderedDict(
                conv_a=nn.Conv3d(c_in, inner, (taps, 1, 1), padding=(taps // 2, 0, 0), bias=False),
                norm_a=nn.BatchNorm3d(inner),
                act_a=nn.ReLU(),
                conv_b=MIDDLE[middle](inner, stride),
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
    """Blocks, one for each of `taps`; the first one changes the width and takes the stride."""

    def __init__(self, c_in: int, inner: int, taps: tuple[int, ...], stride: Stride, middle: str = "spatial") -> None:
        super().__init__()
        first = Block(c_in, inner, taps[0], stride, middle)
        others = (Block(4 * inner, inner, k, (1, 1, 1), middle) for k in taps[1:])
        self.res_blocks = nn.Sequential(first, *others)

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
    """variant: a name in VARIANTS."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, variant: str) -> None:
        super().__init__()
        chosen = VARIANTS[variant]
        blocks: list[nn.Module] = [stem(in_channels, INNER[0], chosen.stem_taps, chosen.stem_pool)]
        channels = INNER[0]
        for inner, taps, time, space in zip(INNER, chosen.taps, chosen.time, chosen.space, strict=True):
            blocks.append(Stage(channels, inner, taps, (time, space, space), chosen.middle))
            channels = 4 * inner
            frames = -(-frames // time)
            if chosen.pool_after_first and len(blocks) == 2:
                blocks.append(nn.MaxPool3d((2, 1, 1), (2, 1, 1)))
                frames //= 2
        height, width = (half_size(pixels, 5) for pixels in size)
        blocks.append(Head(channels, num_classes, (frames, height, width)))
        self.blocks = nn.Sequential(*blocks)
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        return self.blocks(clip)
