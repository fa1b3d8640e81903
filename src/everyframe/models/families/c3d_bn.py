"""C3D with batch norm: the network of "Learning Spatiotemporal Features with 3D Convolutional Networks", Tran et al.,
ICCV 2015, as in Efficient-3DCNNs.

Layer names follow that code, so that its checkpoints load by name. Unlike C3D, the first pool overlaps in time (kernel 2,
stride 1: 16 frames become 15, then 7, 3 and 1), and the last one takes every second frame. 16x112x112 ends as
512 x 1 x 4 x 4 = 8192 features.
"""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from everyframe.models.families.blocks import initialize
from everyframe.models.families.c3d import HIDDEN, Triple, pooled

# each stage: channels of its 3x3x3 convolutions, then one max pool (kernel, stride, padding)
STAGES: tuple[tuple[tuple[int, ...], tuple[Triple, Triple, Triple]], ...] = (
    ((64,), ((2, 2, 2), (1, 2, 2), (0, 0, 0))),
    ((128,), ((2, 2, 2), (2, 2, 2), (0, 0, 0))),
    ((256, 256), ((2, 2, 2), (2, 2, 2), (0, 0, 0))),
    ((512, 512), ((2, 2, 2), (2, 2, 2), (0, 0, 0))),
    ((512, 512), ((1, 2, 2), (2, 2, 2), (0, 1, 1))),
)


class C3DBN(nn.Module):
    """fc1 is as wide as the last feature map of the given clip shape, at least 16 frames."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3) -> None:
        super().__init__()
        channels, shape = in_channels, (frames, *size)
        for i, (convs, pool) in enumerate(STAGES, start=1):
            layers: list[nn.Module] = []
            for width in convs:
                layers += [nn.Conv3d(channels, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU()]
                channels = width
            self.add_module(f"group{i}", nn.Sequential(*layers, nn.MaxPool3d(*pool)))
            shape = pooled(shape, *pool)
        self.fc1 = nn.Sequential(nn.Linear(channels * prod(shape), HIDDEN), nn.ReLU(), nn.Dropout(0.5))
        self.fc2 = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Sequential(nn.Linear(HIDDEN, num_classes))
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        x = clip
        for i in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"group{i}")(x)
        return self.fc(self.fc2(self.fc1(x.flatten(1))))
