"""Networks whose layers are named as in Efficient-3DCNNs (Resource Efficient 3D CNNs, table 8).

Pixels are 0..255 minus a mean, without a standard deviation. The authors' Kinetics checkpoints were trained on frames in
B, G, R order with the mean in R, G, B order; those for Jester and UCF101 on R, G, B.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from everyframe.models.catalog.common import KINETICS_600, check_width, crop
from everyframe.models.registry import Entry, register, register_pattern

PAPER = "Resource Efficient 3D CNNs, Kopuklu et al., ICCVW 2019"
MEAN, ONES = (114.7748, 107.7354, 99.475), (1.0, 1.0, 1.0)
EVERY_16 = "Strides time by 16: streams with a prediction every 16 frames."
BGR = "Kinetics checkpoints take B, G, R."


def entry(name: str, build: str, head: str, note: str, **more: Any) -> Entry:
    return Entry(
        name=name,
        build=f"everyframe.models.families.{build}",
        frames=16,
        size=(112, 112),
        num_classes=KINETICS_600,
        preprocess=crop(112, 112, (MEAN, ONES), scale=1.0, color="bgr"),
        head=head,
        source="Efficient-3DCNNs",
        note=f"{note} {BGR}",
        **{"paper": PAPER, **more},
    )


register(entry("squeezenet3d", "squeezenet3d:SqueezeNet3D", "classifier.1", EVERY_16))


@dataclass(frozen=True)
class Widths:
    """A family with a width multiplier: `{name}_{width}x`. published: the widths in the paper's table 8."""

    name: str
    build: str
    published: tuple[float, ...]
    limits: tuple[float, float] = (0.1, 4.0)
    note: str = EVERY_16
    more: Mapping[str, Any] = field(default_factory=dict)

    def entry(self, width: float) -> Entry:
        name = f"{self.name}_{width}x"
        check_width(name, width, self.limits, self.published)
        return entry(name, self.build, "classifier.1", self.note, options={"width": width}, **self.more)

    def register(self) -> None:
        register(*map(self.entry, self.published))
        make: Callable[[re.Match[str]], Entry] = lambda match: self.entry(float(match[1]))  # noqa: E731
        register_pattern(rf"{self.name}_(\d+(?:\.\d+)?)x", make)


FAMILIES = (
    Widths("mobilenet3d", "mobilenet3d:MobileNet3D", (0.5, 1.0, 1.5, 2.0)),
    Widths("mobilenet3d_v2", "mobilenet3d_v2:MobileNet3DV2", (0.2, 0.45, 0.7, 1.0)),
    Widths("shufflenet3d", "shufflenet3d:ShuffleNet3D", (0.5, 1.0, 1.5, 2.0), limits=(0.25, 4.0)),
    Widths("shufflenet3d_v2", "shufflenet3d_v2:ShuffleNet3DV2", (0.25, 0.5, 1.0, 1.5, 2.0), limits=(0.25, 2.0)),
)
for family in FAMILIES:
    family.register()

# --- ResNets: name, options, default shortcut (the one of the authors' checkpoint) ---
HARA = "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?, Hara et al., CVPR 2018"
SHORTCUTS = "Shortcut A pads channels with zeros, B has a convolution; a checkpoint's keys decide."
RESNETS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("resnet3d_18", {"variant": "resnet18"}, "A"),
    ("resnet3d_50", {"variant": "resnet50"}, "B"),
    ("resnet3d_101", {"variant": "resnet101"}, "B"),
    ("resnext3d_101", {"variant": "resnext101"}, "B"),
)
for name, options, shortcut in RESNETS:
    register(
        entry(
            name,
            "resnet3d:ResNet3D",
            "fc",
            f"{EVERY_16} {SHORTCUTS}",
            options={**options, "shortcut": shortcut},
            choices={"shortcut": ("A", "B")},
            paper=HARA,
        )
    )

register(
    entry(
        "c3d_bn",
        "c3d_bn:C3DBN",
        "fc.0",
        "C3D with batch norm. Its first dense layer fits one clip shape: other frames or sizes need other weights.",
        paper="C3D, Tran et al., ICCV 2015, with batch norm as in Efficient-3DCNNs",
        min_frames=16,
    )
)
