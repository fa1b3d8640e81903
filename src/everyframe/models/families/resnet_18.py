"""R(2+1)D-18, R3D-18 and MC3-18: "A Closer Look at Spatiotemporal Convolutions", Tran et al., CVPR 2018 (table 1,
figure 1).

Layer names and channel counts follow torchvision.models.video, so that its checkpoints load by name. As there: the
middle width of a (2+1)-D pair is computed once a block, from the block's input and output, also for its second
convolution; MC3 keeps T from its second stage on.
"""

from __future__ import annotations

from torch import Tensor, nn

from everyframe.models.families.blocks import conv_bn_act, initialize

WIDTHS = (64, 128, 256, 512)
# kind of the convolutions in each of the four stages
KINDS = {
    "r3d_18": ("3d", "3d", "3d", "3d"),
    "mc3_18": ("3d", "2d", "2d", "2d"),
    "r2plus1d_18": ("2+1d", "2+1d", "2+1d", "2+1d"),
}


def conv(kind: str, c_in: int, c_out: int, middle: int, stride: int) -> nn.Module:
    """One 3x3x3-like convolution: 3d; 2d (1x3x3, T kept); 2+1d (1x3x3, BN, ReLU, 3x1x1)."""
    if kind == "2+1d":
        spatial = conv_bn_act(c_in, middle, (1, 3, 3), (1, stride, stride))
        temporal = nn.Conv3d(middle, c_out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)
        return nn.Sequential(*spatial, temporal)
    taps, t_stride = (3, stride) if kind == "3d" else (1, 1)
    return nn.Conv3d(c_in, c_out, (taps, 3, 3), (t_stride, stride, stride), (taps // 2, 1, 1), bias=False)


def stem(in_channels: int, kind: str, width: float) -> nn.Module:
    middle, out = round(45 * width), round(64 * width)
    if kind == "2+1d":
        return nn.Sequential(*conv_bn_act(in_channels, middle, (1, 7, 7), (1, 2, 2)), *conv_bn_act(middle, out, (3, 1, 1)))
    return nn.Sequential(*conv_bn_act(in_channels, out, (3, 7, 7), (1, 2, 2)))


class Block(nn.Module):
    """Two convolutions and a shortcut; the shortcut is a strided 1x1x1 where the shape changes."""

    def __init__(self, kind: str, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        # the number of weights of the pair equals that of the 3x3x3 it replaces (section 3.5)
        middle = (c_in * c_out * 27) // (c_in * 9 + 3 * c_out)
        self.conv1 = nn.Sequential(conv(kind, c_in, c_out, middle, stride), nn.BatchNorm3d(c_out), nn.ReLU())
        self.conv2 = nn.Sequential(conv(kind, c_out, c_out, middle, 1), nn.BatchNorm3d(c_out))
        t_stride = 1 if kind == "2d" else stride
        projected = c_in != c_out or stride != 1
        shortcut = conv_bn_act(c_in, c_out, (1, 1, 1), (t_stride, stride, stride), act=None)
        self.downsample = nn.Sequential(*shortcut) if projected else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(shortcut + self.conv2(self.conv1(x)))


class ResNet18(nn.Module):
    """variant: a name in KINDS. width: multiplies every channel count. Works at any T, H and W."""

    def __init__(
        self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, variant: str, width: float = 1.0
    ) -> None:  # fmt: skip
        super().__init__()
        kinds, channels = KINDS[variant], round(64 * width)
        self.stem = stem(in_channels, kinds[0], width)
        for i, (kind, wide) in enumerate(zip(kinds, WIDTHS, strict=True), start=1):
            made = round(wide * width)
            stage = nn.Sequential(Block(kind, channels, made, 2 if i > 1 else 1), Block(kind, made, made, 1))
            self.add_module(f"layer{i}", stage)
            channels = made
        self.fc = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        x = self.stem(clip)
        for i in range(1, len(WIDTHS) + 1):
            x = self.get_submodule(f"layer{i}")(x)
        return self.fc(x.mean((2, 3, 4)))
