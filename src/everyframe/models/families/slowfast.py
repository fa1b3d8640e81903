"""SlowFast ResNet-50: "SlowFast Networks for Video Recognition", Feichtenhofer et al., ICCV 2019 (table 1).

Layer names, kernels and strides follow PyTorchVideo's models, so that their checkpoints load by name. A wide slow pathway
sees every alpha-th frame; a fast one, 8 times narrower, sees all frames with temporal kernels in every block. Behind the
stem and the first three stages a strided temporal convolution brings the fast pathway's frames to the slow one, beside
its own channels.

The slow frames are clip[:, :, ::alpha] here: evenly spaced, so that a stream knows which frames they are. The original
code picks them by linspace over the clip instead (of 32 frames 0, 4, 8, 13, 17, 22, 26, 31); pass [slow, fast] for that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from everyframe.models.families.blocks import half_size, initialize, mean_positions
from everyframe.models.families.resnet_video import INNER, Stage, stem

BETA = 8  # channels of the slow pathway for one of the fast
FUSED = 2  # channels that the fusion makes of one of the fast pathway
SLOW_TAPS = ((1, 1, 1), (1, 1, 1, 1), (3, 3, 3, 3, 3, 3), (3, 3, 3))
FAST_TAPS = ((3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3, 3, 3), (3, 3, 3))


@dataclass(frozen=True)
class Variant:
    """alpha: frames of the fast pathway for one of the slow. fusion_taps: temporal kernel of the fusion."""

    alpha: int
    fusion_taps: int


# frames of the slow pathway x their distance at 30 frames a second
VARIANTS = {"8x8": Variant(alpha=4, fusion_taps=7), "4x16": Variant(alpha=8, fusion_taps=5)}


def fusion(c_fast: int, variant: Variant) -> nn.Module:
    """alpha frames of the fast pathway -> one frame for the slow one."""
    k = variant.fusion_taps
    conv = nn.Conv3d(c_fast, FUSED * c_fast, (k, 1, 1), (variant.alpha, 1, 1), (k // 2, 0, 0), bias=False)
    return nn.Sequential(OrderedDict(conv_fast_to_slow=conv, norm=nn.BatchNorm3d(FUSED * c_fast), activation=nn.ReLU()))


class Pathways(nn.Module):
    """The same depth of both pathways, then the fusion (None behind the last stage)."""

    def __init__(self, slow: nn.Module, fast: nn.Module, fuse: nn.Module | None) -> None:
        super().__init__()
        self.multipathway_blocks = nn.ModuleList([slow, fast])
        self.multipathway_fusion = fuse

    def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
        slow, fast = self.multipathway_blocks[0](slow), self.multipathway_blocks[1](fast)
        if self.multipathway_fusion is not None:
            slow = torch.cat([slow, self.multipathway_fusion(fast)], dim=1)
        return slow, fast


class PooledPathways(nn.Module):
    """Each pathway averaged over its own window, side by side: (N, C, T, H, W) twice -> (N, C + C/8)."""

    def __init__(self, slow_window: tuple[int, int, int], fast_window: tuple[int, int, int]) -> None:
        super().__init__()
        self.pool = nn.ModuleList(nn.AvgPool3d(window, stride=1) for window in (slow_window, fast_window))

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        return torch.cat([mean_positions(pool(x)) for pool, x in zip(self.pool, (slow, fast), strict=True)], dim=1)


class SlowFast(nn.Module):
    """variant: a name in VARIANTS. frames: those of the fast pathway."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, variant: str) -> None:
        super().__init__()
        chosen = VARIANTS[variant]
        self.alpha = chosen.alpha
        channels = INNER[0]
        stems = (stem(in_channels, channels, 1), stem(in_channels, channels // BETA, 5))
        blocks: list[nn.Module] = [Pathways(*stems, fusion(channels // BETA, chosen))]
        for i, (inner, slow_taps, fast_taps) in enumerate(zip(INNER, SLOW_TAPS, FAST_TAPS, strict=True)):
            stride = (1, 2, 2) if i else (1, 1, 1)
            slow = Stage(channels + FUSED * channels // BETA, inner, slow_taps, stride)
            fast = Stage(channels // BETA, inner // BETA, fast_taps, stride)
            channels = 4 * inner
            blocks.append(Pathways(slow, fast, fusion(channels // BETA, chosen) if inner != INNER[-1] else None))
        height, width = (half_size(pixels, 5) for pixels in size)
        blocks.append(PooledPathways((-(-frames // self.alpha), height, width), (frames, height, width)))
        head = OrderedDict(dropout=nn.Dropout(0.5), proj=nn.Linear(channels + channels // BETA, num_classes))
        blocks.append(nn.Sequential(head))
        self.blocks = nn.ModuleList(blocks)
        initialize(self)

    def forward(self, clip: Tensor | Sequence[Tensor]) -> Tensor:
        """clip (N, 3, T, H, W), or [slow (N, 3, T / alpha, H, W), fast (N, 3, T, H, W)] -> logits (N, classes)."""
        slow, fast = (clip[:, :, :: self.alpha], clip) if isinstance(clip, Tensor) else clip
        *stages, pool, head = self.blocks
        for stage in stages:
            slow, fast = stage(slow, fast)
        return head(pool(slow, fast))
