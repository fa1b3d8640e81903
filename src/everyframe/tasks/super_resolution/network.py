"""A small network that enlarges luma: plain convolutions at low resolution, and sub-pixels at the end.

    (N, 1, H, W) -> conv 5x5, ReLU -> [conv 3x3, ReLU] x depth -> + what came out of the first -> conv 3x3 to s*s channels
      -> + bicubic interpolation of the input, whose weights go on learning -> PixelShuffle -> (N, 1, sH, sW)

Everything is computed at the small size (ESPCN, Shi et al., 2016, arXiv:1609.05158). While it trains each convolution is a wide
one, a 1x1 behind it, and an identity, which are one linear map: their kernels are multiplied in every step, so that a step costs
little more than that of the small network, and the file holds nothing else (SESR, Bhardwaj et al., 2022, arXiv:2103.09404, whose
depths and widths these are; that has PReLU, a 5x5 at the end, and the plain input in place of the interpolation).

With `shift` it is a network for video: before every second convolution a share of the channels is that of the frame before
(TSM's online shift, Lin et al., 2019, arXiv:1811.08383), which as a step network is its only state:
(N, 1, T, H, W) -> (N, 1, T, sH, sW).

Legend: N pictures, T frames, H W pixels, s the scale, k taps. Luma is of 0..1, full range.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe.recipes.super_resolution import ModelSection
from everyframe.tasks.super_resolution.resize import taps

FIRST, SKIP = 5, 5  # taps of the first convolution, and of the interpolation


class Collapsible(nn.Module):
    """A k x k convolution that learns as two with nothing between them, and an identity where it keeps its channels. Beyond the
    picture's border are zeros.
    """

    def __init__(self, channels: int, made: int, k: int, wide: int) -> None:
        super().__init__()
        self.wide = nn.Parameter(nn.init.kaiming_normal_(torch.empty(wide, channels, k, k)))
        self.narrow = nn.Parameter(nn.init.xavier_normal_(torch.empty(made, wide)))
        self.bias = nn.Parameter(torch.zeros(made))
        self.keeps = channels == made

    def kernel(self) -> Tensor:
        """(made, channels, k, k)."""
        made = torch.einsum("ow,wihv->oihv", self.narrow, self.wide)
        if not self.keeps:
            return made
        k = made.shape[-1]
        return made + F.pad(torch.eye(len(made), device=made.device)[:, :, None, None], [k // 2] * 4)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.kernel(), self.bias)


class Plain(nn.Module):
    """The same after training: one kernel."""

    def __init__(self, kernel: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.kernel = nn.Parameter(kernel.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.kernel, self.bias)


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, *, inside: bool = False) -> Tensor:
    """Over pictures (N, C, H, W), or each frame of (N, C, T, H, W). inside: of a picture that is padded already."""
    border = 0 if inside else kernel.shape[-1] // 2
    if x.ndim == 4:
        return F.conv2d(x, kernel, bias, padding=border)
    return F.conv3d(x, kernel.unsqueeze(2), bias, padding=(0, border, border))


class Network(nn.Module):
    """See above. Any H and W."""

    def __init__(self, settings: ModelSection) -> None:
        super().__init__()
        self.scale, self.settings = settings.scale, settings
        c, s = settings.channels, settings.scale
        make = lambda channels, made, k: Collapsible(channels, made, k, settings.wide)  # noqa: E731
        self.first = make(1, c, FIRST)
        self.blocks = nn.ModuleList(make(c, c, settings.kernel) for _ in range(settings.depth))
        self.last = make(c, s * s, 3)
        self.last.narrow.data.zero_()  # it begins as interpolation
        self.last.keeps = False
        self.skip = nn.Parameter(interpolation(s))
        self.shifted = round(c * settings.shift)

    @property
    def name(self) -> str:
        """What it is, in words."""
        s = self.settings
        return f"super-resolution x{s.scale}{' for video' if self.shifted else ''}, {s.channels} channels, {s.depth} deep"

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.first(x))
        made = first
        for i, block in enumerate(self.blocks):
            if self.shifted and i % 2 == 0:
                made = shift(made, self.shifted)
            made = F.relu(block(made))
        return subpixels(self.last(made + first) + convolve(replicated(x), self.skip, None, inside=True), self.scale)

    def collapsed(self) -> Network:
        """What is deployed: the same function with one kernel for each convolution."""
        made = Network(self.settings).to(self.skip.device)
        made.skip = nn.Parameter(self.skip.detach().clone())
        made.first, made.last = plain(self.first), plain(self.last)  # type: ignore[assignment]
        made.blocks = nn.ModuleList(plain(cast(Collapsible, block)) for block in self.blocks)
        return made.eval()


def plain(conv: nn.Module) -> Plain:
    return Plain(conv.kernel() if isinstance(conv, Collapsible) else cast(Tensor, conv.kernel), cast(Tensor, conv.bias))


def shift(x: Tensor, channels: int) -> Tensor:
    """(N, C, T, H, W): so many channels of the frame before, zeros before the first; the others stay."""
    late = F.pad(x[:, :channels], (0, 0, 0, 0, 1, 0))[:, :, :-1]
    return torch.cat([late, x[:, channels:]], 1)


def replicated(x: Tensor) -> Tensor:
    """The picture's border goes on outside, as far as the interpolation reaches."""
    return F.pad(x, [SKIP // 2] * 4 + [0, 0] * (x.ndim - 4), mode="replicate")


def subpixels(x: Tensor, scale: int) -> Tensor:
    """(N, s*s, H, W) -> (N, 1, sH, sW), or (N, s*s, T, H, W) -> (N, 1, T, sH, sW)."""
    if x.ndim == 4:
        return F.pixel_shuffle(x, scale)
    return F.pixel_shuffle(x.transpose(1, 2), scale).transpose(1, 2)


def interpolation(scale: int) -> Tensor:
    """Bicubic interpolation as a convolution: (s*s, 1, 5, 5), one kernel for each place within a pixel."""
    size = 8  # far enough from every border
    places, weights = taps(size, size * scale)
    rows = np.zeros((scale, SKIP))
    for phase in range(scale):
        place = (size // 2) * scale + phase
        for at, weight in zip(places[place], weights[place], strict=True):
            if weight:
                rows[phase, at - size // 2 + SKIP // 2] += weight
    kernels = np.einsum("ah,bw->abhw", rows, rows).reshape(scale * scale, 1, SKIP, SKIP)
    return torch.from_numpy(kernels.astype(np.float32))
