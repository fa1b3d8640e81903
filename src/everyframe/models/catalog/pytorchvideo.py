"""Networks whose layers are named as in PyTorchVideo; checkpoints of SlowFast (PySlowFast) and co3d are renamed to it."""

from __future__ import annotations

from typing import Any

from everyframe.models.catalog.common import KINETICS_400, PYTORCHVIDEO, crop
from everyframe.models.registry import Entry, register

EVERY_FRAME = "Time is never strided: streams with a prediction at every frame."

# --- X3D: name, depth factor, T, size, short side, every n-th frame of 30 fps ---
X3D = (
    ("x3d_xs", 2.2, 4, 160, 182, 12),
    ("x3d_s", 2.2, 13, 160, 182, 6),
    ("x3d_m", 2.2, 16, 224, 256, 5),
    ("x3d_l", 5.0, 16, 312, 356, 5),
)
for name, depth, frames, size, short, n in X3D:
    register(
        Entry(
            name=name,
            build="everyframe.models.families.x3d:X3D",
            options={"depth": depth, "first_shortcut": "conv"},
            choices={"first_shortcut": ("conv", "conv_bn")},
            frames=frames,
            size=(size, size),
            num_classes=KINETICS_400,
            preprocess=crop(size, short, PYTORCHVIDEO, fps=30 / n),
            head="blocks.5.proj",
            paper="X3D, Feichtenhofer, CVPR 2020",
            source="PyTorchVideo",
            note=EVERY_FRAME,
        )
    )

SLOW_FAST = "SlowFast networks, Feichtenhofer et al., ICCV 2019"
CLOSER_LOOK = "A Closer Look at Spatiotemporal Convolutions, Tran et al., CVPR 2018"
NON_LOCAL = "on ResNet-50 as in Wang et al., CVPR 2018"

# --- ResNet-50 and -101 over time: name, class, options, T, every n-th frame, classifier key, least T, paper, note ---
RESNETS: tuple[tuple[str, str, dict[str, Any], int, int, str, int, str, str], ...] = (
    ("slow_r50", "resnet_video:VideoResNet", {"variant": "slow_r50"}, 8, 8, "blocks.5.proj", 1, SLOW_FAST, EVERY_FRAME),
    (
        "i3d_r50",
        "resnet_video:VideoResNet",
        {"variant": "i3d_r50"},
        8,
        8,
        "blocks.6.proj",
        2,
        f"I3D, Carreira and Zisserman, CVPR 2017; {NON_LOCAL}",
        "Halves T after the first stage: streams with a prediction every 2 frames.",
    ),
    (
        "c2d_r50",
        "resnet_video:VideoResNet",
        {"variant": "c2d_r50"},
        8,
        8,
        "blocks.6.proj",
        2,
        "Non-local neural networks (the C2D baseline), Wang et al., CVPR 2018",
        "No temporal convolution: sees time only in its pools. A prediction every 2 frames.",
    ),
    (
        "r2plus1d_r50",
        "resnet_video:VideoResNet",
        {"variant": "r2plus1d_r50"},
        16,
        4,
        "blocks.5.proj",
        1,
        CLOSER_LOOK,
        "Strides time by 4: streams with a prediction every 4 frames.",
    ),
    (
        "csn_r101",
        "resnet_video:VideoResNet",
        {"variant": "csn_r101"},
        32,
        2,
        "blocks.5.proj",
        1,
        "Channel-separated networks, Tran et al., ICCV 2019",
        "Strides time by 8: streams with a prediction every 8 frames.",
    ),
    (
        "slowfast_r50",
        "slowfast:SlowFast",
        {"variant": "8x8"},
        32,
        2,
        "blocks.6.proj",
        4,
        SLOW_FAST,
        "T counts frames of the fast pathway; the slow one takes every 4th, so a prediction comes every 4 frames. "
        "The original picks those frames by linspace over the clip (0, 4, 8, 13, 17, 22, 26, 31): for such clips pass "
        "[slow, fast] yourself.",
    ),
    (
        "slowfast_r50_4x16",
        "slowfast:SlowFast",
        {"variant": "4x16"},
        32,
        2,
        "blocks.6.proj",
        8,
        SLOW_FAST,
        "T counts frames of the fast pathway; the slow one takes every 8th, so a prediction comes every 8 frames.",
    ),
)
for name, build, options, frames, n, head, least, paper, note in RESNETS:
    register(
        Entry(
            name=name,
            build=f"everyframe.models.families.{build}",
            options=options,
            frames=frames,
            size=(224, 224),
            num_classes=KINETICS_400,
            preprocess=crop(224, 256, PYTORCHVIDEO, fps=30 / n),
            head=head,
            paper=paper,
            source="PyTorchVideo",
            two_sided=name != "c2d_r50",  # whose convolutions see one frame
            note=note,
            min_frames=least,
        )
    )
