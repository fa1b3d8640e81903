"""A small network that finds objects in a scan: pillars, seen from above, and a map of what stands where.

    (N, 10, S, P) -> a linear map and ReLU of each point's 9 features -> maximum over the P points of a slot
      -> the maximum of a cell's slots, in its cell of a map (N, C, rows, columns), zero where nothing is
      -> stages of convolutions, each smaller than the one before -> all as large as the first's, side by side
      -> a convolution -> heat (N, classes, H, W), and boxes (N, 8, H, W)

PointPillars (Lang et al., 2019, arXiv:1812.05784) with the head of CenterPoint (Yin et al., 2021, arXiv:2006.11275), which has no
anchors. What differs: slots of few points that are united by their maximum; no norm behind the first layer, so that empty slots
count for nothing; narrow, and with one head for all classes.

Legend: N scans, S slots, P points, C channels, H W cells of the answer. All choices are those of `ModelSection`, and each name in
it is a row of a table here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from everyframe.pruning.kernel import DENSE, Pruned
from everyframe.recipes.detection import ModelSection
from everyframe.tasks.detection.decode import VALUES
from everyframe.tasks.detection.pillars import FEATURES

#: how sure an untrained network is that something is anywhere
PRIOR = 0.01

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "relu": lambda: nn.ReLU(inplace=True), "leaky_relu": lambda: nn.LeakyReLU(0.1, inplace=True),
        "hard_swish": lambda: nn.Hardswish(inplace=True), "silu": lambda: nn.SiLU(inplace=True),
    }
)  # fmt: skip


def layer(
    channels: int, made: int, settings: ModelSection, *, kernel: int = 3, stride: int = 1, groups: int = 1,
    pruned: tuple[str, float] = DENSE,
) -> nn.Sequential:  # fmt: skip
    """A convolution with its norm and activation. pruned: scheme and rate."""
    conv = (Pruned if pruned != DENSE else nn.Conv2d)(channels, made, kernel, stride, kernel // 2, groups=groups, bias=False)
    if isinstance(conv, Pruned):
        conv.how = pruned
    return nn.Sequential(conv, nn.BatchNorm2d(made, eps=1e-3), ACTIVATIONS[settings.activation]())


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _separable(width: int, settings: ModelSection, kernel: int, _: tuple[str, float]) -> nn.Module:
    """Each channel by itself, then all at each place."""
    return nn.Sequential(layer(width, width, settings, kernel=kernel, groups=width), layer(width, width, settings, kernel=1))


def _plain(width: int, settings: ModelSection, kernel: int, pruned: tuple[str, float]) -> nn.Module:
    return layer(width, width, settings, kernel=kernel, pruned=pruned)


#: (width, settings, taps, scheme and rate) -> block
BLOCKS: Mapping[str, Callable[[int, ModelSection, int, tuple[str, float]], nn.Module]] = MappingProxyType(
    {"plain": _plain, "residual": lambda *given: Residual(_plain(*given)), "separable": _separable}
)


def _transposed(channels: int, times: int, settings: ModelSection) -> nn.Module:
    if times == 1:
        return layer(channels, settings.neck, settings, kernel=1)
    conv = nn.ConvTranspose2d(channels, settings.neck, times, times, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(settings.neck, eps=1e-3), ACTIVATIONS[settings.activation]())


def _nearest(channels: int, times: int, settings: ModelSection) -> nn.Module:
    small = layer(channels, settings.neck, settings, kernel=1)
    return small if times == 1 else nn.Sequential(small, nn.Upsample(scale_factor=times, mode="nearest"))


UP: Mapping[str, Callable[[int, int, ModelSection], nn.Module]] = MappingProxyType(
    {"transposed": _transposed, "nearest": _nearest}
)


class Network(nn.Module):
    """See above. (N, 10, S, P) -> (heat, boxes)."""

    def __init__(self, settings: ModelSection, classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.cells = settings.grid.cells
        self.points = nn.Conv2d(FEATURES, settings.features, 1)
        self.stages, self.ups = nn.ModuleList(), nn.ModuleList()
        channels, times = settings.features, 1
        stages = zip(settings.widths, settings.depths, settings.strides, settings.kinds, strict=True)
        pruned = iter(settings.pruning)
        for number, (width, depth, stride, (block, kernel)) in enumerate(stages):
            first = layer(channels, width, settings, stride=stride, pruned=next(pruned))
            blocks = [BLOCKS[block](width, settings, kernel, next(pruned)) for _ in range(depth)]
            self.stages.append(nn.Sequential(first, *blocks))
            times = times * stride if number else 1
            self.ups.append(UP[settings.up](width, times, settings))
            channels = width
        joined = settings.neck * len(settings.widths)
        self.head = layer(joined, settings.head, settings, kernel=settings.head_kernel, pruned=next(pruned))
        self.heat = nn.Conv2d(settings.head, classes, 1)
        self.boxes = nn.Conv2d(settings.head, VALUES, 1)
        nn.init.constant_(self.heat.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """What it is, in words."""
        s = self.settings
        widths, kinds = ", ".join(map(str, s.widths)), "/".join(dict.fromkeys(block for block, _ in s.kinds))
        return f"pillars of {s.grid.cell:g} m, {self.cells[0]} x {self.cells[1]} cells, {kinds} blocks of {widths} channels"

    @property
    def stride(self) -> int:
        """Cells of the grid that one of the answer's is wide."""
        return self.settings.strides[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: float32, or its bits as int32."""
        x = self.above(x if x.is_floating_point() else x.view(torch.float32))
        maps = []
        for stage, up in zip(self.stages, self.ups, strict=True):
            x = stage(x)
            maps.append(up(x))
        x = self.head(torch.cat(maps, 1))
        return self.heat(x), self.boxes(x)

    def above(self, x: Tensor) -> Tensor:
        """(N, 10, S, P) -> (N, C, rows, columns)."""
        rows, columns = self.cells
        with torch.autocast(x.device.type, enabled=False):  # where a point lies has more digits than bfloat16
            made = torch.relu(self.points(x[:, :FEATURES])).amax(3)  # (N, C, S)
        place = x[:, FEATURES, :, 0].clamp(0, rows * columns).long()  # the last is nowhere
        place = place.unsqueeze(1).expand(-1, made.shape[1], -1)
        canvas = made.new_zeros(made.shape[0], made.shape[1], rows * columns + 1)
        canvas = canvas.scatter_reduce(2, place, made, "amax")
        return canvas[:, :, :-1].reshape(made.shape[0], -1, rows, columns)


class Above(nn.Module):
    """The pillars of a network alone: what stands before its stages."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.above(x)
