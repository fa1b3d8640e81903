"""What is in the zoo: names, published shapes, preprocessing and sources, as data (no torch needed to read it).

Preprocessing is that of the published checkpoints, at evaluation. `fps` is the rate at which they saw frames: a clip
of T frames taken every n-th frame of 30 fps video was seen at 30/n fps, whatever the camera's own rate.
"""

from __future__ import annotations

from everyframe.errors import UsageError
from everyframe.models.registry import Entry, register, register_pattern
from everyframe.program.contract import Preprocess

KINETICS_400, KINETICS_600, UCF_101, JESTER = 400, 600, 101, 27

# mean and standard deviation of pixels 0..1 in R, G, B
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KINETICS_TORCHVISION = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
PYTORCHVIDEO = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))


def _crop(size: int, short: int, stats: tuple[tuple[float, ...], tuple[float, ...]], **more: object) -> Preprocess:
    """Short side to `short`, centre crop of `size`, minus mean, over standard deviation."""
    fields = {"resize": short, "crop": (size, size), "mean": stats[0], "std": stats[1], **more}
    return Preprocess.model_validate(fields)


# --- X3D: name, depth factor, T, size, short side, every n-th frame of 30 fps, parameters ---
X3D = (
    ("x3d_xs", 2.2, 4, 160, 182, 12, 3_794_274),
    ("x3d_s", 2.2, 13, 160, 182, 6, 3_794_274),
    ("x3d_m", 2.2, 16, 224, 256, 5, 3_794_274),
    ("x3d_l", 5.0, 16, 312, 356, 5, 6_153_384),
)
for name, depth, frames, size, short, n, params in X3D:
    register(
        Entry(
            name=name,
            build="everyframe.models.x3d:X3D",
            options={"depth": depth},
            frames=frames,
            size=(size, size),
            num_classes=KINETICS_400,
            preprocess=_crop(size, short, PYTORCHVIDEO, fps=30 / n),
            params=params,
            head="blocks.5.proj",
            paper="X3D, Feichtenhofer, CVPR 2020",
            source="PyTorchVideo",
            note="Time is never strided: streams with a prediction at every frame.",
        )
    )

# --- ResNet-50 over time: name, classifier key, parameters, least T, paper, note ---
RESNET_VIDEO = (
    (
        ("slow_r50", "blocks.5.proj", 32_454_096, 1),
        "SlowFast networks (the slow pathway), Feichtenhofer et al., ICCV 2019",
        "Time is never strided: streams with a prediction at every frame.",
    ),
    (
        ("i3d_r50", "blocks.6.proj", 28_043_472, 2),
        "I3D, Carreira and Zisserman, CVPR 2017; on ResNet-50 as in Wang et al., CVPR 2018",
        "Halves T after the first stage: streams with a prediction every 2 frames.",
    ),
)
for (name, head, params, least), paper, note in RESNET_VIDEO:
    register(
        Entry(
            name=name,
            build="everyframe.models.resnet_video:VideoResNet",
            options={"plan": name},
            frames=8,
            size=(224, 224),
            num_classes=KINETICS_400,
            preprocess=_crop(224, 256, PYTORCHVIDEO, fps=30 / 8),
            params=params,
            head=head,
            paper=paper,
            source="PyTorchVideo",
            note=note,
            min_frames=least,
        )
    )

# --- 18-layer ResNets of "A Closer Look": name, parameters, note ---
EVERY_8 = "Strides time by 8: streams with a prediction every 8 frames."
RESNET_18 = (
    ("r2plus1d_18", 31_505_325, EVERY_8),
    ("r3d_18", 33_371_472, EVERY_8),
    ("mc3_18", 11_695_440, "Looks at time in its first stage only and never strides it."),
)
for name, params, note in RESNET_18:
    mean, std = KINETICS_TORCHVISION
    register(
        Entry(
            name=name,
            build="everyframe.models.r2plus1d:ResNet18",
            options={"variant": name},
            frames=16,
            size=(112, 112),
            num_classes=KINETICS_400,
            preprocess=Preprocess(resize=(128, 171), crop=(112, 112), mean=mean, std=std, fps=15),
            params=params,
            head="fc",
            paper="A Closer Look at Spatiotemporal Convolutions, Tran et al., CVPR 2018",
            source="torchvision",
            note=note,
        )
    )

# --- C3D ---
register(
    Entry(
        name="c3d",
        build="everyframe.models.c3d:C3D",
        frames=16,
        size=(112, 112),
        num_classes=UCF_101,
        preprocess=_crop(112, 128, ((104.0, 117.0, 128.0), (1.0, 1.0, 1.0)), scale=1.0),
        params=78_409_573,
        head="cls_head.fc_cls",
        paper="C3D, Tran et al., ICCV 2015",
        source="MMAction2",
        note="Its first dense layer fits one clip shape: other frames or sizes need other weights.",
        min_frames=16,
    )
)

# --- TSM: name, builder, options, classes, parameters, classifier key, frames a second, note ---
BOTH = "Shifts from both neighbours: every shift delays a live prediction by one frame."
PAST = "Shifts from the past only: streams without delay."
TSM: tuple[tuple[str, str, dict[str, str], int, int, str, float, str], ...] = (
    ("tsm_mobilenet_v2", "TSN", {"backbone": "mobilenet_v2"}, KINETICS_400, 2_736_272, "new_fc", 30 / 8, BOTH),
    ("tsm_resnet50", "TSN", {"backbone": "resnet50"}, KINETICS_400, 24_327_632, "new_fc", 30 / 8, BOTH),
    ("tsm_mobilenet_v2_online", "OnlineMobileNetV2", {}, JESTER, 2_258_459, "classifier", 15.0, PAST),
)
for name, builder, options, classes, params, head, fps, note in TSM:
    register(
        Entry(
            name=name,
            build=f"everyframe.models.tsm:{builder}",
            options=options,
            frames=8,
            size=(224, 224),
            num_classes=classes,
            preprocess=_crop(224, 256, IMAGENET, fps=fps),
            params=params,
            head=head,
            paper="TSM, Lin et al., ICCV 2019",
            source="the authors' temporal-shift-module",
            note=note,
            min_frames=2,
        )
    )

# --- 3D-MobileNetV2, any width: parameters of the widths in the paper ---
MOBILENET3D_V2 = {0.2: 964_110, 0.45: 1_399_834, 0.7: 2_049_942, 1.0: 3_122_648}


def _mobilenet3d_v2(name: str, width: float) -> Entry:
    if not 0.1 <= width <= 4:
        raise UsageError(
            "This width multiplier is out of range.",
            where=name,
            expected="0.1 to 4",
            got=width,
            hint=f"the published widths are {', '.join(map(str, MOBILENET3D_V2))}",
        )
    # Pixels 0..255 minus a mean. The authors' Kinetics checkpoints were trained on frames in B, G, R order with the
    # mean in R, G, B order; those for Jester and UCF101 on R, G, B.
    mean, std = (114.7748, 107.7354, 99.475), (1.0, 1.0, 1.0)
    return Entry(
        name=name,
        build="everyframe.models.mobilenet3d_v2:MobileNet3DV2",
        options={"width": width},
        frames=16,
        size=(112, 112),
        num_classes=KINETICS_600,
        preprocess=_crop(112, 112, (mean, std), scale=1.0, color="bgr"),
        params=MOBILENET3D_V2.get(width),
        head="classifier.1",
        paper="Resource Efficient 3D CNNs, Kopuklu et al., ICCVW 2019",
        source="the authors' Efficient-3DCNNs",
        note="Strides time by 16: streams with a prediction every 16 frames. Kinetics checkpoints take B, G, R.",
    )


register(*(_mobilenet3d_v2(f"mobilenet3d_v2_{width}x", width) for width in MOBILENET3D_V2))
register_pattern(r"mobilenet3d_v2_(\d+(?:\.\d+)?)x", lambda match: _mobilenet3d_v2(match[0], float(match[1])))
