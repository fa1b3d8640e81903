"""Networks of our own design after a published idea: there are no checkpoints of others to load."""

from __future__ import annotations

import re
from dataclasses import replace

from everyframe.errors import UsageError
from everyframe.modelfile.schema import Preprocess
from everyframe.models.catalog.common import IMAGENET, check_width, crop
from everyframe.models.registry import Entry, register, register_pattern

EARLY_WIDTHS = (0.5, 1.0)


def early3d_mobilenet(width: float) -> Entry:
    name = f"early3d_mobilenet_{width}x"
    check_width(name, width, (0.1, 4))
    return Entry(
        name=name,
        build="everyframe.models.families.early3d:EarlyMobileNet",
        options={"width": width, "time": "early"},
        choices={"time": ("early", "none")},
        frames=16,
        size=(112, 112),
        num_classes=2,
        preprocess=crop(112, 128, IMAGENET, fps=15),
        head="classifier.1",
        paper="Early fusion for driver drowsiness, Wijnands et al., 2019 (arXiv 1910.06540): the idea; layers are ours",
        source="everyframe",
        pictures=True,
        note="Looks at time in its first blocks only, then runs a 2-D MobileNet a frame: little state, no time stride.",
    )


register(*map(early3d_mobilenet, EARLY_WIDTHS))
register_pattern(r"early3d_mobilenet_(\d+(?:\.\d+)?)x", lambda match: early3d_mobilenet(float(match[1])))


def motionnet(width: float) -> Entry:
    name = f"motionnet_{width}x"
    check_width(name, width, (0.25, 4))
    return Entry(
        name=name,
        build="everyframe.models.families.motion:MotionNet",
        options={"width": width},
        frames=12,
        size=(48, 64),
        num_classes=8,
        preprocess=Preprocess(color="gray", resize=(48, 64), mean=(0.5,), std=(0.25,), fps=12),
        head="head",
        paper="own: causal (2+1)-D convolutions after frame differences; R(2+1)D (arXiv 1711.11248)",
        source="everyframe",
        two_sided=False,
        note="Small and causal: a prediction at every frame, without delay. The built-in model is of this kind.",
        min_frames=6,
    )


def shaped(match: re.Match[str]) -> Entry:
    """A network whose name says its stages: channels, spatial kernel, stride, depth, taps over time; features, and how many
    temporal convolutions follow.
    """
    stages = tuple(tuple(map(int, re.findall(r"\d+", each))) for each in match[1].strip("_").split("_"))
    follow = int(match[3])
    if any(0 in (channels, stride, taps) or kernel % 2 == 0 for channels, kernel, stride, _, taps in stages) or follow > 3:
        raise UsageError(
            "There is no such network.", where=match[0], expected="sizes from 1 on, odd kernels, and at most 3 that follow"
        )  # fmt: skip
    options = {"stages": stages, "features": int(match[2]), "dilations": (1, 2, 2)[:follow]}
    return replace(motionnet(1.0), name=match[0], options=options)


register(motionnet(1.0))
register_pattern(r"motionnet((?:_\d+k\d+s\d+d\d+t\d+)+)_f(\d+)x(\d+)", shaped)
register_pattern(r"motionnet_(\d+(?:\.\d+)?)x", lambda match: motionnet(float(match[1])))
