"""MotionNet: the small built-in network for hand motions, an ordinary clip network that becomes a step network exactly.

    (N, 1, T, H, W) grey -> frame + two frame differences -> 3 x [spatial conv, stride 2; temporal conv, residual]
      -> one spatial conv over what is left of the picture -> 3 temporal convs, residual -> mean over T -> Linear ->
      (N, 8)

Legend: N clips, T frames, H W pixels, k taps. Every temporal convolution pads k - 1 on the left only (causal),
stride 1:
a prediction is there in the step of its newest frame. Own design; the pieces are those of R(2+1)D (arXiv:1711.11248)
and of
causal temporal convolution networks (arXiv:1803.01271).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# channels, spatial kernel of each stage (all stride 2), after the frame difference
STAGES = ((16, 5), (32, 3), (48, 3), (64, 3))
FEATURES = 96
DILATIONS = (1, 2, 2)  # of the temporal convolutions on the feature vector, 3 taps each
GAIN = 4.0  # of the frame difference, before it is squashed: contrast matters less


class CausalTime(nn.Module):
    """Temporal convolution, 3 taps, batch norm and ReLU, added to its input: (N, C, T, H, W) -> the same."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.pad = 2 * dilation
        self.conv = nn.Conv3d(channels, channels, (3, 1, 1), dilation=(dilation, 1, 1), bias=False)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.norm(self.conv(F.pad(x, (0, 0, 0, 0, self.pad, 0)))))


class FrameDifference(nn.Module):
    """(N, 1, T, H, W) -> (N, 3, T, H, W): the frame, tanh of GAIN times what changed since the frame before, and the
    same one earlier.

    Two differences side by side hold the direction of motion for every 2-D filter that follows. Before the first
    frame lies 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 2, (3, 1, 1), bias=False)
        taps = torch.tensor([[0.0, -1.0, 1.0], [-1.0, 1.0, 0.0]])
        self.conv.weight = nn.Parameter(GAIN * taps.reshape(2, 1, 3, 1, 1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.tanh(self.conv(F.pad(x, (0, 0, 0, 0, 2, 0))))], 1)


class MotionNet(nn.Module):
    """(N, 1, T, 48, 64) normalised grey -> (N, classes) logits."""

    def __init__(self, classes: int = 8, size: tuple[int, int] = (48, 64), dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = [FrameDifference()]
        c_in = 3
        for channels, k in STAGES:
            layers += [
                nn.Conv3d(c_in, channels, (1, k, k), (1, 2, 2), (0, k // 2, k // 2), bias=False),
                nn.BatchNorm3d(channels),
                nn.ReLU(),
            ]
            if c_in != 3:  # the first stage is the costliest place for time; the differences have it already
                layers.append(CausalTime(channels))
            c_in = channels
        rest = tuple(-(-s // 2 ** len(STAGES)) for s in size)  # 48x64 -> 3x4
        layers += [nn.Conv3d(c_in, FEATURES, (1, *rest), bias=False), nn.BatchNorm3d(FEATURES), nn.ReLU()]
        self.look = nn.Sequential(*layers)  # what moves where, frame by frame
        self.follow = nn.Sequential(*(CausalTime(FEATURES, d) for d in DILATIONS))  # what becomes of it
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.follow(self.look(x)).mean((2, 3, 4))))

    def every_frame(self, x: Tensor, window: int) -> Tensor:
        """(N, 1, T, H, W) -> (N, T, classes): at each frame what the step network says there.

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
