"""MotionNet: a small causal network for gestures, the one behind the built-in model. A clip network like any other, which becomes
a step network with a prediction at every frame and no delay.

    (N, C, T, H, W) -> frame + two frame differences -> [spatial conv, stride 2; temporal conv, residual] a stage
      -> one spatial conv over what is left of the picture -> temporal convs, residual -> mean over T -> Linear

Legend: N clips, C colors, T frames, H W pixels. Every temporal convolution pads k - 1 on the left only (causal), stride 1: a
prediction is there in the step of its newest frame. Own design; the pieces are those of R(2+1)D (arXiv:1711.11248) and of
causal temporal convolution networks (arXiv:1803.01271).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Stage(NamedTuple):
    """channels; kernel: spatial taps, of the convolution with the stride and of `depth` more, each added to its input; taps: over
    time, 1 where it sees none.
    """

    channels: int
    kernel: int = 3
    stride: int = 2
    depth: int = 0
    taps: int = 3

    def __str__(self) -> str:
        return f"{self.channels}k{self.kernel}s{self.stride}d{self.depth}t{self.taps}"


# after the frame difference. The first stage is the costliest place for time; the differences have it already
STAGES = (Stage(16, 5, taps=1), Stage(32), Stage(48), Stage(64))
FEATURES = 96
DILATIONS = (1, 2, 2)  # of the temporal convolutions on the feature vector, 3 taps each
GAIN = 4.0  # of the frame difference, before it is squashed: contrast matters less


class CausalTime(nn.Module):
    """Temporal convolution, batch norm and ReLU, added to its input: (N, C, T, H, W) -> the same."""

    def __init__(self, channels: int, dilation: int = 1, taps: int = 3) -> None:
        super().__init__()
        self.pad = (taps - 1) * dilation
        self.conv = nn.Conv3d(channels, channels, (taps, 1, 1), dilation=(dilation, 1, 1), bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.norm(self.conv(F.pad(x, (0, 0, 0, 0, self.pad, 0)))))


class Look(nn.Module):
    """Spatial convolution, batch norm and ReLU, added to its input: (N, C, T, H, W) -> the same."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, (1, kernel, kernel), padding=(0, kernel // 2, kernel // 2), bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.norm(self.conv(x)))


class FrameDifference(nn.Module):
    """(N, C, T, H, W) -> (N, 3C, T, H, W): the frame, tanh of GAIN times what changed since the frame before, and the
    same one earlier.

    Two differences side by side hold the direction of motion for every 2-D filter that follows. Before the first
    frame lies 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, 2 * channels, (3, 1, 1), groups=channels, bias=False)
        taps = torch.tensor([[0.0, -1.0, 1.0], [-1.0, 1.0, 0.0]]).repeat(channels, 1)
        self.conv.weight = nn.Parameter(GAIN * taps.reshape(-1, 1, 3, 1, 1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.tanh(self.conv(F.pad(x, (0, 0, 0, 0, 2, 0))))], 1)


class MotionNet(nn.Module):
    """width: multiplies every channel count. stages, features, dilations: of what looks and of what follows. Works at any T; H
    and W are fixed. The built-in model is 1.0 wide, gray, 72 x 96, and begins with 7 taps and stride 3.
    """

    def __init__(
        self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 1, width: float = 1.0,
        stages: Sequence[Sequence[int]] = STAGES, features: int = FEATURES, dilations: Sequence[int] = DILATIONS,
    ) -> None:  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = [FrameDifference(in_channels)]
        c_in, features, rest = 3 * in_channels, round(features * width), size
        for channels, k, stride, depth, taps in stages:
            c_out = round(channels * width)
            layers += [
                nn.Conv3d(c_in, c_out, (1, k, k), (1, stride, stride), (0, k // 2, k // 2), bias=False),
                nn.BatchNorm3d(c_out),
                nn.ReLU(),
                *(Look(c_out, k) for _ in range(depth)),
                *((CausalTime(c_out, taps=taps),) if taps > 1 else ()),
            ]
            c_in, rest = c_out, (-(-rest[0] // stride), -(-rest[1] // stride))  # 48x64 -> 3x4
        layers += [nn.Conv3d(c_in, features, (1, *rest), bias=False), nn.BatchNorm3d(features), nn.ReLU()]
        self.look = nn.Sequential(*layers)  # what moves where, frame by frame
        self.follow = nn.Sequential(*(CausalTime(features, d) for d in dilations))  # what becomes of it
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> logits (N, classes)."""
        return self.head(self.dropout(self.follow(self.look(x)).mean((2, 3, 4))))

    def every_frame(self, x: Tensor, window: int) -> Tensor:
        """(N, C, T, H, W) -> (N, T, classes): at each frame what the step network says there.

        The mean of the last `window` feature frames, and in the first frames of those that exist.
        """
        return self.judge(self.look(x), window)

    def judge(self, looks: Tensor, window: int) -> Tensor:
        """`every_frame` from what `look` gave, (N, C, T, 1, 1)."""
        features = self.follow(looks).flatten(2)  # (N, C, T)
        t = features.shape[2]
        total = F.avg_pool1d(F.pad(features, (window - 1, 0)), window, 1) * window
        count = torch.arange(1, t + 1, device=looks.device).clamp(max=window)
        return cast(Tensor, self.head(self.dropout((total / count).transpose(1, 2))))


class Mirrored(nn.Module):
    """A trained network asked of the picture and of the same in a mirror: the mean of both logits, at twice the work and with the
    same weights. swap: of each class, the one that a mirror makes of it.
    """

    def __init__(self, net: MotionNet, swap: Sequence[int]) -> None:
        super().__init__()
        self.look, self.follow = net.look, net.follow
        weight, bias = net.head.weight.detach(), net.head.bias.detach()
        self.head = nn.Linear(2 * weight.shape[1], weight.shape[0])
        self.head.weight = nn.Parameter(torch.cat([weight, weight[list(swap)]], 1) / 2)
        self.head.bias = nn.Parameter((bias + bias[list(swap)]) / 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> logits (N, classes)."""
        seen = [self.follow(self.look(each)).mean((2, 3, 4)) for each in (x, x.flip(-1))]
        return cast(Tensor, self.head(torch.cat(seen, 1)))


def enlarged(weight: Tensor, kernel: int, zoom: float) -> Tensor:
    """The weights of a spatial convolution, for pictures `zoom` times as large: (O, I, 1, k, k) -> the same with `kernel`.

    Each tap is spread over the pixels that its own pixel became; what falls behind the new border goes to the tap at it. What the
    convolution says of a picture hardly changes if its stride grows as much.
    """
    k, half = weight.shape[-1], kernel // 2
    taps = torch.zeros(k, kernel, dtype=weight.dtype)
    for i in range(k):
        begin = (i - k // 2) * zoom
        for j in range(math.floor(begin), math.ceil(begin + zoom)):
            taps[i, min(max(j, -half), half) + half] += (min(begin + zoom, j + 1) - max(begin, j)) / zoom
    return torch.einsum("octhw,hi,wj->octij", weight, taps, taps)


def spelled(stages: Sequence[Stage], features: int, follow: int) -> str:
    """The name of a network in the zoo: `motionnet_16k5s2d0t1_32k3s2d0t3_f96x3`."""
    return f"motionnet_{'_'.join(map(str, stages))}_f{features}x{follow}"


def roles(stages: Sequence[Stage]) -> list[str]:
    """What the layers of `look` are, in their order."""
    found = ["difference"]
    for at, stage in enumerate(stages, 1):
        found += [f"stage{at}", f"norm{at}", f"active{at}", *(f"look{at}_{n}" for n in range(stage.depth))]
        found += [f"time{at}"] * (stage.taps > 1)
    return [*found, "rest", "norm", "active"]
