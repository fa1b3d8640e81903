"""A small network that enlarges luma: plain convolutions at low resolution, and sub-pixels at the end.

    (N, 1, H, W) -> conv 5x5, ReLU -> [conv 3x3, ReLU] x depth -> + what came out of the first -> conv 3x3 to s*s channels
      -> + bicubic interpolation of the input, whose weights go on learning -> PixelShuffle -> (N, 1, sH, sW)

Everything is computed at the small size (ESPCN, Shi et al., 2016, arXiv:1609.05158). While it trains each convolution is a wide
one, a 1x1 behind it, and an identity, which are one linear map: their kernels are multiplied in every step, so that a step costs
little more than that of the small network, and the file holds nothing else (SESR, Bhardwaj et al., 2022, arXiv:2103.09404, whose
depths and widths these are; that has PReLU, a 5x5 at the end, and the plain input in place of the interpolation).

With `reduce` the network works on squares of r x r pixels: the first convolution and the interpolation have a stride of r, which
is a space-to-depth and a convolution in one, and the last has r*r times as many channels for the PixelShuffle. With `last` that
is so for the last convolution and the interpolation alone.

With `shift` it is a network for video: before every second convolution a share of the channels is that of the frame before
(TSM's online shift, Lin et al., 2019, arXiv:1811.08383), which as a step network is its only state:
(N, 1, T, H, W) -> (N, 1, T, sH, sW).

Legend: N pictures, T frames, H W pixels, s the scale, r the reduction, k taps. Luma is of 0..1, full range.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe.pruning.kernel import DENSE, prune
from everyframe.recipes.super_resolution import ModelSection
from everyframe.tasks.super_resolution.resize import taps

SKIP = 5  # taps of the interpolation
LOUD = 4.0  # differences between neighbors are small


class Collapsible(nn.Module):
    """A k x k convolution that learns as two with nothing between them, and an identity where it keeps its channels. Beyond the
    picture's border are zeros. separable: the same for 1x1, behind k x k of each channel alone. pruned: scheme and rate.
    """

    def __init__(
        self, channels: int, made: int, k: int, wide: int, *, stride: int = 1, separable: bool = False,
        pruned: tuple[str, float] = DENSE,
    ) -> None:  # fmt: skip
        super().__init__()
        inner = 1 if separable else k
        self.wide = nn.Parameter(nn.init.kaiming_normal_(torch.empty(wide, channels, inner, inner)))
        self.narrow = nn.Parameter(nn.init.xavier_normal_(torch.empty(made, wide)))
        self.bias = nn.Parameter(torch.zeros(made))
        self.deep = nn.Parameter(_alone(channels, k)) if separable else None
        self.keeps, self.stride, self.pruned = channels == made and stride == 1, stride, pruned

    def kernel(self, made: int | None = None, channels: int | None = None) -> Tensor:
        """(made, channels, k, k), of the first so many."""
        kernel = torch.einsum("ow,wihv->oihv", self.narrow[:made], self.wide[:, :channels])
        if self.keeps:
            k = kernel.shape[-1]
            kernel = kernel + F.pad(torch.eye(*kernel.shape[:2], device=kernel.device)[:, :, None, None], [k // 2] * 4)
        return kernel

    def forward(
        self, x: Tensor, made: int | None = None, pruned: tuple[str, float] | None = None, inside: bool = False
    ) -> Tensor:  # fmt: skip
        channels = x.shape[1]
        kernel = prune(self.kernel(made, channels), pruned or self.pruned)
        if self.deep is not None:
            x = convolve(x, self.deep[:channels], None)
        return convolve(x, kernel, self.bias[:made], stride=self.stride, inside=inside)


class Plain(nn.Module):
    """The same after training: one kernel, or two of a separable one."""

    def __init__(self, given: Collapsible) -> None:
        super().__init__()
        self.kernel = nn.Parameter(prune(given.kernel(), given.pruned).detach().clone())
        self.bias = nn.Parameter(given.bias.detach().clone())
        self.deep = None if given.deep is None else nn.Parameter(given.deep.detach().clone())
        self.stride = given.stride

    def forward(self, x: Tensor, inside: bool = False) -> Tensor:
        if self.deep is not None:
            x = convolve(x, self.deep, None)
        return convolve(x, self.kernel, self.bias, stride=self.stride, inside=inside)


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, *, stride: int = 1, inside: bool = False) -> Tensor:
    """Over pictures (N, C, H, W), or each frame of (N, C, T, H, W). A kernel with one input is for each channel alone where there
    are several. inside: of a picture that is padded already.
    """
    border = 0 if inside else (kernel.shape[-1] - stride + 1) // 2
    groups = x.shape[1] // kernel.shape[1]
    if x.ndim == 4:
        return F.conv2d(x, kernel, bias, padding=border, stride=stride, groups=groups)
    return F.conv3d(
        x, kernel.unsqueeze(2), bias, padding=(0, border, border), stride=(1, stride, stride), groups=groups
    )  # fmt: skip


class Network(nn.Module):
    """See above. Any H and W."""

    def __init__(self, settings: ModelSection) -> None:
        super().__init__()
        self.scale, self.settings = settings.scale, settings
        c, s, r, wide = settings.channels, settings.scale, settings.reduce, settings.wide
        self.first = beginning(c, settings.first, r, wide)
        self.blocks = nn.ModuleList(
            block(kind, c, wide, pruned) for kind, pruned in zip(settings.layers, settings.pruning, strict=True)
        )
        self.last = ending(c, s * settings.squares, wide, settings.last)
        self.skip = nn.Parameter(interpolation(s))
        if settings.activation == "prelu":  # one for each convolution but the last
            self.slopes = nn.Parameter(torch.full((1 + len(self.blocks), c), 0.1))
        self.shifted = round(c * settings.shift)

    @property
    def name(self) -> str:
        """What it is, in words."""
        s = self.settings
        kinds = f" ({', '.join(s.blocks)})" if s.blocks else ""
        squares = f", on squares of {s.reduce}x{s.reduce} pixels" if s.reduce > 1 else ""
        return (
            f"super-resolution x{s.scale}{' for video' if self.shifted else ''}, {s.channels} channels, "
            f"{len(s.layers)} deep{kinds}{squares}"
        )

    def forward(self, x: Tensor) -> Tensor:
        (height, width), r = x.shape[-2:], self.settings.squares
        x = whole(x, r)
        around = framed(x, SKIP // 2)
        border = self.settings.reduce * (self.settings.first - 1) // 2
        first = self._active(self.first(around if border == SKIP // 2 else framed(x, border), inside=True), 0)
        made = first
        for i, each in enumerate(self.blocks):
            if self.shifted and i % 2 == 0:
                made = shift(made, self.shifted)
            made = self._active(each(made), i + 1)
        made = self.last(made + first) + convolve(around, over_squares(self.skip, r), None, stride=r, inside=True)
        return cut(subpixels(made, self.scale * r), height * self.scale, width * self.scale)

    def _active(self, x: Tensor, place: int) -> Tensor:
        return activate(x, self.slopes[place]) if self.settings.activation == "prelu" else F.relu(x)

    def collapsed(self) -> Network:
        """What is deployed: the same function with one kernel for each convolution."""
        made = Network(self.settings).to(self.skip.device)
        made.skip = nn.Parameter(self.skip.detach().clone())
        if self.settings.activation == "prelu":
            made.slopes = nn.Parameter(self.slopes.detach().clone())
        made.first, made.last = plain(self.first), plain(self.last)  # type: ignore[assignment]
        made.blocks = nn.ModuleList(plain(each) for each in self.blocks)
        return made.eval()


def block(kind: str, channels: int, wide: int, pruned: tuple[str, float] = DENSE) -> Collapsible:
    """`conv3`, `separable5`, ...: see `recipes.super_resolution.Block`."""
    separable = kind.startswith("separable")
    return Collapsible(channels, channels, int(kind[-1]), wide, separable=separable, pruned=pruned)


def beginning(channels: int, k: int, reduce: int, wide: int) -> Collapsible:
    """The first convolution, which begins with differences between neighbors of one pixel of a square. Kernels whose sum is not
    zero say first of all how bright it is, so loudly that what the last layer adds at first is noise; and kernels as large as
    the square's surroundings say little of any one pixel.
    """
    made = Collapsible(1, channels, k * reduce, wide, stride=reduce)
    number, begin = reduce * reduce, (k * reduce - reduce) // 2 - k // 2
    each = torch.randn(wide, k, k) * (2**0.5 / k)
    each = LOUD * (each - each.mean((1, 2), keepdim=True))
    with torch.no_grad():
        made.wide.zero_()
        for pixel in range(number):
            top, left = begin + pixel // reduce, begin + pixel % reduce
            made.wide[pixel::number, 0, top : top + k, left : left + k] = each[pixel::number]
        own = torch.arange(channels)[:, None] % number == torch.arange(wide) % number
        made.narrow.mul_(own * reduce)
    return made


def ending(channels: int, side: int, wide: int, squares: int = 1) -> Collapsible:
    """The convolution before the PixelShuffle: the network begins as interpolation. squares: of so many places a side it answers
    all at once, of which each sees 3x3 and what the others see.
    """
    made = Collapsible(channels, side * side, 2 + squares, wide, stride=squares)
    made.narrow.data.zero_()
    made.keeps = False
    return made


def plain(conv: nn.Module) -> nn.Module:
    return Plain(conv) if isinstance(conv, Collapsible) else cast(nn.Module, conv)


def activate(x: Tensor, slopes: Tensor) -> Tensor:
    """PReLU; a slope a channel."""
    return F.prelu(x, slopes.to(x.dtype))


def whole(x: Tensor, squares: int) -> Tensor:
    """Whole squares of pixels: the border is repeated at the right and below."""
    over = [(-side) % squares for side in (x.shape[-1], x.shape[-2])]
    return F.pad(x, [0, over[0], 0, over[1]] + [0, 0] * (x.ndim - 4), mode="replicate") if any(over) else x


def cut(x: Tensor, height: int, width: int) -> Tensor:
    """What `whole` added, taken away."""
    return x if x.shape[-2:] == (height, width) else x[..., :height, :width]


def shift(x: Tensor, channels: int) -> Tensor:
    """(N, C, T, H, W): so many channels of the frame before, zeros before the first; the others stay."""
    late = F.pad(x[:, :channels], (0, 0, 0, 0, 1, 0))[:, :, :-1]
    return torch.cat([late, x[:, channels:]], 1)


def framed(x: Tensor, border: int) -> Tensor:
    """The picture's border goes on outside, so far. Zeros there would be an edge as strong as any: black beside it."""
    return F.pad(x, [border] * 4 + [0, 0] * (x.ndim - 4), mode="replicate")


def over_squares(kernels: Tensor, reduce: int) -> Tensor:
    """The same for all pixels of a square at once: (r*s*r*s, 1, 4 + r, 4 + r), kernels at the place of their pixel."""
    if reduce == 1:
        return kernels
    side, k = round(len(kernels) ** 0.5), kernels.shape[-1]
    each = kernels.reshape(side, side, k, k)
    over = range(reduce)
    rows = [
        torch.stack([F.pad(each, [left, reduce - 1 - left, top, reduce - 1 - top]) for left in over], 1) for top in over
    ]  # (s, r, s, k + r - 1, k + r - 1): place within a pixel, pixel, place within that
    return torch.stack(rows).reshape(-1, 1, k + reduce - 1, k + reduce - 1)


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


def _alone(channels: int, k: int) -> Tensor:
    """Kernels for each channel alone that begin near the identity."""
    made = torch.randn(channels, 1, k, k) * 0.1
    made[:, :, k // 2, k // 2] += 1.0
    return made
