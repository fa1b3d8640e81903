"""C3D: "Learning Spatiotemporal Features with 3D Convolutional Networks", Tran et al., ICCV 2015 (figure 3).

Layer names follow MMAction2's model, so that its checkpoints load by name. Plain convolutions with bias, no batch
norm; the last pool pads space (as in the original Caffe model), so that 16x112x112 ends as 512 x 1 x 4 x 4 = 8192
features.
"""

from __future__ import annotations

from collections import OrderedDict
from math import prod

from torch import Tensor, nn

from everyframe.models.families.blocks import initialize

Triple = tuple[int, int, int]
# each stage: its convolutions (name, channels), then one max pool (kernel = stride, padding)
STAGES: tuple[tuple[tuple[tuple[str, int], ...], Triple, Triple], ...] = (
    ((("conv1a", 64),), (1, 2, 2), (0, 0, 0)),
    ((("conv2a", 128),), (2, 2, 2), (0, 0, 0)),
    ((("conv3a", 256), ("conv3b", 256)), (2, 2, 2), (0, 0, 0)),
    ((("conv4a", 512), ("conv4b", 512)), (2, 2, 2), (0, 0, 0)),
    ((("conv5a", 512), ("conv5b", 512)), (2, 2, 2), (0, 1, 1)),
)
HIDDEN = 4096


def pooled(shape: Triple, kernel: Triple, stride: Triple, padding: Triple) -> Triple:
    """(T, H, W) behind a pool."""
    t, h, w = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape, kernel, stride, padding, strict=True))
    return t, h, w


class Backbone(nn.Module):
    """Clip (N, 3, T, H, W) -> (N, hidden). fc6 is as wide as the last feature map of the given clip shape."""

    def __init__(self, in_channels: int, frames: int, size: tuple[int, int], width: float, hidden: int) -> None:
        super().__init__()
        channels, shape = in_channels, (frames, *size)
        self.order: list[str] = []
        for i, (convs, pool, padding) in enumerate(STAGES, start=1):
            for name, wide in convs:
                made = round(wide * width)
                layer = OrderedDict(conv=nn.Conv3d(channels, made, 3, padding=1), act=nn.ReLU())
                self._append(name, nn.Sequential(layer))
                channels = made
            self._append(f"pool{i}", nn.MaxPool3d(pool, pool, padding))
            shape = pooled(shape, pool, pool, padding)
        self.fc6 = nn.Linear(channels * prod(shape), hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.5)

    def _append(self, name: str, layer: nn.Module) -> None:
        self.add_module(name, layer)
        self.order.append(name)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.order:
            x = self.get_submodule(name)(x)
        x = self.dropout(self.relu(self.fc6(x.flatten(1))))
        return self.relu(self.fc7(x))


class C3D(nn.Module):
    """width: multiplies every channel count."""

    def __init__(
        self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, width: float = 1.0
    ) -> None:  # fmt: skip
        super().__init__()
        hidden = round(HIDDEN * width)
        self.backbone = Backbone(in_channels, frames, size, width, hidden)
        self.cls_head = nn.Sequential(OrderedDict(dropout=nn.Dropout(0.5), fc_cls=nn.Linear(hidden, num_classes)))
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        return self.cls_head(self.backbone(clip))
