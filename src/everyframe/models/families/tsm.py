"""TSM: "TSM: Temporal Shift Module for Efficient Video Understanding", Lin et al., ICCV 2019 (sections 3 and 4).

2-D networks in which every residual block first exchanges an eighth of its channels with the neighboring frame(s).
The T frames of a clip lie side by side in the batch; logits are computed for each frame and averaged.

Offline networks shift both ways; names follow the authors' `TSN` model (`base_model.*`, `new_fc`). The online
MobileNetV2 shifts from the past only and its names follow the authors' live demo (`features.*`, `classifier`), whose
per-frame cache computes the same numbers as the clip here. An offline checkpoint cannot be run online: other channels
come from the past.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from everyframe.errors import UsageError
from everyframe.models.families.blocks import TimeShift, conv_bn_act, initialize

# expansion, channels, blocks, stride of the first block: MobileNetV2, Sandler et al. 2018, table 2
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# inner channels, blocks, stride of the first block: ResNet-50, He et al. 2016, table 1
RESNET_50 = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


def shifted(conv: nn.Module, frames: int) -> nn.Module:
    """The bidirectional shift, then `conv` under the name `net` (its name in the authors' checkpoints)."""
    return nn.Sequential(OrderedDict(shift=TimeShift(frames, causal=False), net=conv))


class InvertedResidual(nn.Module):
    """MobileNetV2 block; a residual one that expands shifts its first convolution's input, not the shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int, frames: int, *, causal: bool) -> None:
        super().__init__()
        inner = c_in * expansion
        expand = conv_bn_act(c_in, inner, (1, 1), act=nn.ReLU6) if expansion != 1 else []
        layers = [
            *expand,
            *conv_bn_act(inner, inner, (3, 3), (stride, stride), groups=inner, act=nn.ReLU6),
            *conv_bn_act(inner, c_out, (1, 1), act=None),
        ]
        self.residual = stride == 1 and c_in == c_out
        shift = self.residual and expansion != 1
        self.shift = TimeShift(frames, causal=True) if shift and causal else nn.Identity()
        if shift and not causal:
            layers[0] = shifted(layers[0], frames)
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.shift(x)) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """(N*T, 3, H, W) -> (N*T, 1280)."""

    channels = 1280

    def __init__(self, in_channels: int, frames: int, *, causal: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*conv_bn_act(in_channels, 32, (3, 3), (2, 2), act=nn.ReLU6))]
        channels = 32
        for expansion, c_out, repeats, stride in MOBILENET_V2:
            for i in range(repeats):
                layers.append(InvertedResidual(channels, c_out, 1 if i else stride, expansion, frames, causal=causal))
                channels = c_out
        layers.append(nn.Sequential(*conv_bn_act(channels, self.channels, (1, 1), act=nn.ReLU6)))
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3))


class Bottleneck(nn.Module):
    """ResNet bottleneck with the stride on its 3x3; conv1 is shifted, the shortcut is not."""

    def __init__(self, c_in: int, inner: int, stride: int, frames: int) -> None:
        super().__init__()
        c_out = 4 * inner
        self.conv1 = shifted(nn.Conv2d(c_in, inner, 1, bias=False), frames)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU()
        projected = c_in != c_out or stride != 1
        shortcut = conv_bn_act(c_in, c_out, (1, 1), (stride, stride), act=None)
        self.downsample = nn.Sequential(*shortcut) if projected else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(shortcut + self.bn3(self.conv3(y)))


class ResNet50(nn.Module):
    """(N*T, 3, H, W) -> (N*T, 2048)."""

    channels = 2048

    def __init__(self, in_channels: int, frames: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(64), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for i, (inner, repeats, stride) in enumerate(RESNET_50, start=1):
            blocks = [Bottleneck(4 * inner if j else channels, inner, 1 if j else stride, frames) for j in range(repeats)]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
            channels = 4 * inner

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for i in range(1, len(RESNET_50) + 1):
            x = self.get_submodule(f"layer{i}")(x)
        return x.mean((2, 3))


BACKBONES: dict[str, type[MobileNetV2] | type[ResNet50]] = {"mobilenet_v2": MobileNetV2, "resnet50": ResNet50}


class _FrameWise(nn.Module):
    """Folds T into the batch and back, and averages the logits of the frames."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def classify(self, images: Tensor) -> Tensor:
        """(N*T, 3, H, W) -> (N*T, classes)."""
        raise NotImplementedError

    def frame_logits(self, clip: Tensor) -> Tensor:
        """(N, 3, T, H, W) -> (N, T, classes), before the average over frames."""
        n, c, t, h, w = clip.shape
        if t != self.frames:
            raise UsageError(
                "A TSM network runs on clips of the length it was made for.",
                expected=f"{self.frames} frames",
                got=f"{t}",
                hint=f"create it with frames={t}",
            )
        images = clip.transpose(1, 2).reshape(n * t, c, h, w)  # (N*T, 3, H, W)
        return self.classify(images).reshape(n, t, -1)  # (N, T, classes)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        return self.frame_logits(clip).mean(1)


class TSN(_FrameWise):
    """backbone: a name in BACKBONES; bidirectional shift."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, backbone: str) -> None:
        super().__init__(frames)
        network = BACKBONES[backbone](in_channels, frames)
        self.base_model = network
        self.dropout = nn.Dropout(0.5)
        self.new_fc = nn.Linear(network.channels, num_classes)
        initialize(self)

    def classify(self, images: Tensor) -> Tensor:
        return self.new_fc(self.dropout(self.base_model(images)))


class OnlineMobileNetV2(_FrameWise):
    """Shift from the past only: frame t's logits depend on frames 0..t."""

    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3) -> None:
        super().__init__(frames)
        backbone = MobileNetV2(in_channels, frames, causal=True)
        self.features = backbone.features
        self.classifier = nn.Linear(backbone.channels, num_classes)
        initialize(self)

    def classify(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).mean((2, 3)))
