"""Pieces shared by several families. Shapes: N clips, C channels, T frames, H x W pixels; a clip is (N, C, T, H, W).

Everything here exports to plain Conv / Pool / Slice / Pad / Concat / Reshape nodes when T, H and W are static:
no in-place writes (an in-place shift exports as ScatterND, which few tools can read) and no shape arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def half_size(pixels: int, times: int) -> int:
    """Pixels left after `times` stride-2 layers of kernel 3 and padding 1 (each rounds up): ceil(pixels / 2**times)."""
    return -(-pixels // 2**times)


def conv_bn_act(
    c_in: int,
    c_out: int,
    kernel: Sequence[int],
    stride: Sequence[int] | None = None,
    *,
    groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU,
) -> list[nn.Module]:
    """[conv without bias, batch norm, activation], 2-D or 3-D by the length of `kernel`; odd kernels stay centered."""
    conv, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[len(kernel) - 2]
    padding = tuple(k // 2 for k in kernel)
    stride = tuple(stride) if stride is not None else (1,) * len(kernel)
    layers: list[nn.Module] = [
        conv(c_in, c_out, tuple(kernel), stride, padding, groups=groups, bias=False),  # type: ignore[arg-type]
        norm(c_out),
    ]
    return [*layers, act()] if act is not None else layers


class TimeShift(nn.Module):
    """Temporal shift (TSM, Lin et al. 2019, section 3): channel groups take the value of a neighboring frame.

    Input and output (N*T, C, H, W), the T frames of a clip side by side in the batch; C/8 channels are one fold.
    bidirectional: fold 0 comes from the next frame, fold 1 from the previous one.
    causal:        fold 0 comes from the previous frame; needs no future frame, so it runs live.
    Beyond the ends of the clip there are zeros. Written as Slice + Pad + Concat.
    """

    def __init__(self, frames: int, *, causal: bool, folds: int = 8) -> None:
        super().__init__()
        self.frames, self.causal, self.folds = frames, causal, folds

    def forward(self, x: Tensor) -> Tensor:
        _, c, h, w = x.shape
        fold = c // self.folds
        clip = x.reshape(-1, self.frames, c, h, w)  # (N, T, C, H, W)
        pad = functional.pad
        if self.causal:
            parts = [pad(clip[:, :-1, :fold], (0, 0, 0, 0, 0, 0, 1, 0)), clip[:, :, fold:]]
        else:
            parts = [
                pad(clip[:, 1:, :fold], (0, 0, 0, 0, 0, 0, 0, 1)),
                pad(clip[:, :-1, fold : 2 * fold], (0, 0, 0, 0, 0, 0, 1, 0)),
                clip[:, :, 2 * fold :],
            ]
        return torch.cat(parts, dim=2).reshape(-1, c, h, w)  # (N*T, C, H, W)


class SqueezeExcite(nn.Module):
    """Channel gate from the mean over T, H and W (Hu et al. 2018); `block` holds reduce, ReLU, expand, sigmoid."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv3d(channels, squeezed, 1), nn.ReLU(), nn.Conv3d(squeezed, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.block(x.mean((2, 3, 4), keepdim=True))


def initialize(net: nn.Module) -> None:
    """Fresh weights that keep a signal alive: N(0, 1/fan_in), zero biases, batch norm as the identity.

    torch's own default shrinks it at every layer: 3D-MobileNetV2's logits then do not depend on the clip in 7 digits,
    and nothing that is checked on such a network is checked at all. A gain above 1 makes deep residual networks
    chaotic.
    """
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def mean_positions(x: Tensor) -> Tensor:
    """(N, C, T, H, W) -> (N, C): the mean over all positions, or just a reshape where only one is left."""
    return x.flatten(1) if x.shape[2:].numel() == 1 else x.mean((2, 3, 4))
