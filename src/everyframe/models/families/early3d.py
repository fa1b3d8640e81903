"""Time first, then one picture at a time: a small network for watching a driver, after "Real-time monitoring of driver
drowsiness on mobile platforms using 3D neural networks", Wijnands et al., 2019 (arXiv 1910.06540).

From the paper comes the idea: depthwise-separable convolutions that join the frames early and go on without time. Its
layer table is not published; the one below is ours: MobileNet-V1 (Howard et al. 2017, table 1) run on every frame, with
3x3x3 instead of 1x3x3 in its first three depthwise convolutions. A feature so depends on 7 frames, 3 before and 3 behind
its own; a stream keeps three histories of 2 frames, and time costs 3 % more multiply-adds than a 2-D network a frame.
"""

from __future__ import annotations

from torch import Tensor, nn

from everyframe.models.families.blocks import conv_bn_act, initialize

STEM_CHANNELS = 32
# channels, spatial stride, frames that the depthwise convolution reads; time is never strided
BLOCKS = (
    (64, 1, 3),
    (128, 2, 3),
    (128, 1, 3),
    (256, 2, 1),
    (256, 1, 1),
    (512, 2, 1),
    *((512, 1, 1),) * 5,
    (1024, 2, 1),
    (1024, 1, 1),
)


def widen(channels: int, width: float) -> int:
    """The multiple of 8 nearest to channels * width, at least 8."""
    return max(8, round(channels * width / 8) * 8)


def block(c_in: int, c_out: int, stride: int, taps: int) -> nn.Module:
    """Depthwise taps x 3x3, then 1x1x1, each with batch norm and ReLU."""
    depthwise = conv_bn_act(c_in, c_in, (taps, 3, 3), (1, stride, stride), groups=c_in)
    return nn.Sequential(*depthwise, *conv_bn_act(c_in, c_out, (1, 1, 1)))


class EarlyMobileNet(nn.Module):
    """width: multiplies every channel count. time: `early`, or `none` for the same network that looks at each frame alone, to see
    what time is worth. Works at any T, H and W."""

    def __init__(
        self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3, width: float, time: str = "early"
    ) -> None:
        super().__init__()
        channels = widen(STEM_CHANNELS, width)
        layers: list[nn.Module] = [nn.Sequential(*conv_bn_act(in_channels, channels, (1, 3, 3), (1, 2, 2)))]
        for c_out, stride, taps in BLOCKS:
            layers.append(block(channels, widen(c_out, width), stride, taps if time == "early" else 1))
            channels = widen(c_out, width)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, num_classes))
        initialize(self)

    def forward(self, clip: Tensor) -> Tensor:
        """clip (N, 3, T, H, W) -> logits (N, classes)."""
        return self.classifier(self.features(clip).mean((2, 3, 4)))
