"""MoViNet: "Mobile Video Networks for Efficient Video Recognition", Kondratyuk et al., CVPR 2021 (tables 2 and 12 to 17).

Layer names follow the port Atze00/MoViNet-pytorch, whose checkpoints (converted from the authors') load by name. As in
the original in TensorFlow: a layer of stride 2 pads more behind than in front, and an average at the border divides by
what is inside the picture.

A base network sees the whole clip: its gates and its head take means over all frames. A stream network looks back only
(the paper's stream buffer is the padding on the left): its gates and its head take the mean of all frames *so far*, and
its answer is that of the last frame. Its convolutions are (2+1)-D with hard swish, or 3-D with swish.

Legend: N clips, C channels, T frames, H W pixels.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from everyframe.models.families.blocks import initialize
from everyframe.models.families.x3d import round_channels


@dataclass(frozen=True)
class Plan:
    """stem, last: channels. stages: a stage's channels out, and its blocks as channels inside x kernel (T H W), * repeats."""

    stem: int
    last: int
    stages: tuple[tuple[int, str], ...]


HIDDEN = 2048
FRESH_ALPHA = 0.1  # the port starts at 0, where a fresh network's blocks do nothing and nobody could check them
_STRIDES = (2, 2, 2, 1, 2)  # in space, of a stage's first block; time is never strided

PLANS = {
    "a0": Plan(8, 480, (
        (8, "24x155"),
        (32, "80x333*3"),
        (56, "184x533 112x333 184x333"),
        (56, "184x533 184x333*3"),
        (104, "384x533 280x155*2 344x155"),
    )),
    "a1": Plan(16, 600, (
        (16, "40x155 40x333"),
        (40, "96x333 120x333 96x333*2"),
        (64, "216x533 128x333 216x333 168x333 216x333"),
        (64, "216x533 216x333*2 128x333 128x155 216x333"),
        (136, "456x533 360x155*3 456x155 456x333 544x133"),
    )),
    "a2": Plan(16, 640, (
        (16, "40x155 40x333 64x333"),
        (40, "96x333 120x333 96x333*2 120x333"),
        (72, "240x533 160x333 240x333 192x333 240x333"),
        (72, "240x533 240x333*3 144x155 240x333"),
        (144, "480x533 384x155*2 480x155*2 480x333 576x133"),
    )),
    "a3": Plan(16, 744, (
        (16, "40x155 40x333 64x333 40x333"),
        (48, "112x333 144x333 112x333 112x155 144x333*2"),
        (80, "240x533 152x333 240x333 192x333 240x333"),
        (88, "264x533 264x333*3 160x155 264x333*3"),
        (168, "560x533 448x155*2 560x155*2 560x333 448x155*2 560x333 672x133"),
    )),
    "a4": Plan(24, 856, (
        (24, "64x155 64x333 96x333 64x333 96x333 64x333"),
        (56, "168x333*2 136x333*2 168x333*3 136x155 136x333"),
        (96, "320x533 160x333 320x333 192x333 320x333 160x333 320x333 256x333 320x333"),
        (96, "320x533 320x333*3 192x155 320x333*2 192x333 320x333*2"),
        (192, "640x533 512x155*2 640x155*2 640x333 512x155*2 640x155 768x155 640x155 640x333 768x333"),
    )),
    "a5": Plan(24, 992, (
        (24, "64x155*2 96x333 64x333 96x333 64x333"),
        (64, "192x533 152x333*3 192x333*3 152x333*2 192x333*2"),
        (112, "376x533 224x333 376x333*2 296x333 376x333 224x333 376x333*2 296x333 376x333*3"),
        (120, "376x533 376x333*3 224x155 376x333*2 224x333 376x333*3"),
        (224, "744x533 744x333 600x155*2 744x155*2 744x333 896x155 600x155*2 896x155 744x155 744x333 896x155 600x155*2 "
              "744x155 744x333"),
    )),
}  # fmt: skip


def blocks_of(text: str) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """(channels inside, kernel) of each block of a stage."""
    for inner, t, h, w, repeats in re.findall(r"(\d+)x(\d)(\d)(\d)(?:\*(\d+))?", text):
        yield from [(int(inner), (int(t), int(h), int(w)))] * int(repeats or 1)


@dataclass(frozen=True)
class Style:
    """causal: no frame sees a later one. planar: convolutions in space and in time apart, as 2-D layers in the checkpoint."""

    causal: bool
    planar: bool

    @property
    def activation(self) -> type[nn.Module]:
        return nn.Hardswish if self.planar else nn.SiLU

    @property
    def gate(self) -> type[nn.Module]:
        return HardSigmoid if self.planar else nn.Sigmoid


class HardSigmoid(nn.Module):
    """As Keras has it, of slope 1/5 (torch's is 1/6)."""

    def forward(self, x: Tensor) -> Tensor:
        return (0.2 * x + 0.5).clamp(0, 1)


class Planar(nn.Conv2d):
    """A 2-D layer on (N, C, T, H, W): over space in each frame, or (kernel k x 1) over time at each position."""

    def __init__(self, *args: Any, over_time: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self.over_time = over_time

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.unsqueeze(-1 if self.over_time else 2)
        return functional.conv3d(x, weight, self.bias, (1, self.stride[0], self.stride[1]), groups=self.groups)


class PlanarNorm(nn.BatchNorm2d):
    """Batch norm of 2-D layers, on (N, C, T, H, W): frames count as further pictures."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def same(pixels: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding (in front, behind) of one axis: ceil(pixels / stride) positions."""
    total = max(kernel - (pixels % stride or stride), 0)
    return total // 2, total - total // 2


class Conv(nn.Module):
    """Convolution, batch norm, activation; of (2+1)-D: in space, and then the same over time where the kernel has frames.

    A layer without norm has a bias.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: tuple[int, int, int],
        style: Style,
        *,
        stride: int = 1,
        groups: int = 1,
        norm: bool = True,
        activation: type[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.style = kernel, stride, style

        def layers(name: str, conv: nn.Module) -> nn.Sequential:
            own = OrderedDict([(name, conv)])
            if norm:
                own["norm"] = (PlanarNorm if style.planar else nn.BatchNorm3d)(c_out, eps=1e-3)
            if activation:
                own["act"] = activation()
            return nn.Sequential(own)

        self.conv_2 = None
        if style.planar:
            self.conv_1 = layers("conv2d", Planar(c_in, c_out, kernel[1:], stride, groups=groups, bias=not norm))
            if kernel[0] > 1:
                over_time = Planar(c_out, c_out, (kernel[0], 1), groups=groups, bias=not norm, over_time=True)
                self.conv_2 = layers("conv2d", over_time)
        else:
            strides = (1, stride, stride)
            self.conv_1 = layers("conv3d", nn.Conv3d(c_in, c_out, kernel, strides, groups=groups, bias=not norm))

    def forward(self, x: Tensor) -> Tensor:
        frames = self.kernel[0] - 1
        past = frames if self.style.causal else frames // 2
        time = (past, frames - past)
        height, width = (same(n, k, self.stride) for n, k in zip(x.shape[3:], self.kernel[1:], strict=True))
        if self.conv_2 is None:
            return self.conv_1(_padded(x, width, height, time))
        return self.conv_2(_padded(self.conv_1(_padded(x, width, height)), (0, 0), (0, 0), time))


def _padded(x: Tensor, *axes: tuple[int, int]) -> Tensor:
    """axes: (in front, behind) from the last axis on."""
    return functional.pad(x, [n for axis in axes for n in axis]) if any(map(any, axes)) else x


class MeanSoFar(nn.Module):
    """(N, C, T, H, W): each frame becomes the mean of itself and all before it."""

    def forward(self, x: Tensor) -> Tensor:
        counts = torch.arange(1, x.shape[2] + 1, device=x.device, dtype=x.dtype).reshape(1, 1, -1, 1, 1)
        return x.cumsum(2) / counts


class Excite(nn.Module):
    """Squeeze-and-excite. Causal: from the mean so far beside the mean of the frame itself."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        sources = 2 if style.causal else 1
        squeezed = round_channels(channels // 4 * sources)
        self.so_far = MeanSoFar()
        self.fc1 = Conv(channels * sources, squeezed, (1, 1, 1), style, norm=False)
        self.act, self.gate = style.activation(), style.gate()
        self.fc2 = Conv(squeezed, channels, (1, 1, 1), style, norm=False)
        self.causal = style.causal

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((3, 4) if self.causal else (2, 3, 4), keepdim=True)
        if self.causal:
            mean = torch.cat([self.so_far(mean), mean], 1)
        return x * self.gate(self.fc2(self.act(self.fc1(mean))))


class HalfMean(nn.Module):
    """Average of 1x3x3, stride 2, padded as `same`, over the pixels that are inside the picture."""

    def forward(self, x: Tensor) -> Tensor:
        sizes = x.shape[3:]
        pads = [same(pixels, 3, 2) for pixels in sizes]
        mean = functional.avg_pool3d(_padded(x, *reversed(pads)), (1, 3, 3), (1, 2, 2))
        return mean * torch.outer(*(_outside(pixels, pad, x) for pixels, pad in zip(sizes, pads, strict=True)))


def _outside(pixels: int, pad: tuple[int, int], like: Tensor) -> Tensor:
    """By what a mean of three must be multiplied, where one or two of them are padding."""
    front = range(-pad[0], pixels + pad[1] - 2, 2)
    inside = [sum(0 <= i < pixels for i in range(first, first + 3)) for first in front]
    return torch.tensor([3 / n for n in inside], dtype=like.dtype, device=like.device)


class Block(nn.Module):
    """Inverted bottleneck: expand, depthwise, gate, project; times a learned alpha, plus the shortcut."""

    def __init__(self, c_in: int, inner: int, c_out: int, kernel: tuple[int, int, int], stride: int, style: Style) -> None:
        super().__init__()
        point, act = (1, 1, 1), style.activation
        self.expand = Conv(c_in, inner, point, style, activation=act) if inner != c_out else None
        self.deep = Conv(inner, inner, kernel, style, stride=stride, groups=inner, activation=act)
        self.se = Excite(inner, style)
        self.project = Conv(inner, c_out, point, style)
        self.res = None
        if stride > 1 or c_in != c_out:
            pool = [HalfMean()] if stride > 1 else []
            self.res = nn.Sequential(*pool, Conv(c_in, c_out, point, style))
        self.alpha = nn.Parameter(torch.tensor(FRESH_ALPHA))

    def forward(self, x: Tensor) -> Tensor:
        deep = self.project(self.se(self.deep(self.expand(x) if self.expand else x)))
        return (self.res(x) if self.res else x) + self.alpha * deep


class MoViNet(nn.Module):
    """variant: a0 to a5. stream: causal, with means so far. conv: "2plus1d" or "3d"."""

    def __init__(
        self,
        num_classes: int,
        frames: int,
        size: tuple[int, int],
        *,
        in_channels: int = 3,
        variant: str,
        stream: bool = False,
        conv: str = "3d",
    ) -> None:
        super().__init__()
        del frames, size  # any length and size
        plan, style = PLANS[variant], Style(stream, conv == "2plus1d")
        self.conv1 = Conv(in_channels, plan.stem, (1, 3, 3), style, stride=2, activation=style.activation)
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        channels = plan.stem
        for i, ((c_out, text), stride) in enumerate(zip(plan.stages, _STRIDES, strict=True)):
            for j, (inner, kernel) in enumerate(blocks_of(text)):
                blocks[f"b{i}_l{j}"] = Block(channels, inner, c_out, kernel, 1 if j else stride, style)
                channels = c_out
        self.blocks = nn.Sequential(blocks)
        self.conv7 = Conv(channels, plan.last, (1, 1, 1), style, activation=style.activation)
        self.classifier = nn.Sequential(
            Conv(plan.last, HIDDEN, (1, 1, 1), style, norm=False),
            nn.SiLU(),
            nn.Dropout(0.2),
            Conv(HIDDEN, num_classes, (1, 1, 1), style, norm=False),
        )
        self.so_far = MeanSoFar() if stream else None
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes), of a stream network those of the last frame."""
        x = self.conv7(self.blocks(self.conv1(clip)))
        mean = self.so_far(x.mean((3, 4), keepdim=True))[:, :, -1:] if self.so_far else x.mean((2, 3, 4), keepdim=True)
        return self.classifier(mean).flatten(1)
