"""Networks whose layers are named as in the release of their authors, or in the project that is used instead of it."""

from __future__ import annotations

from everyframe.models.catalog.common import IMAGENET, JESTER, KINETICS_400, MINUS_ONE_TO_ONE, UCF_101, crop
from everyframe.models.registry import Entry, register

register(
    Entry(
        name="c3d",
        build="everyframe.models.families.c3d:C3D",
        frames=16,
        size=(112, 112),
        num_classes=UCF_101,
        preprocess=crop(112, 128, ((104.0, 117.0, 128.0), (1.0, 1.0, 1.0)), scale=1.0),
        head="cls_head.fc_cls",
        paper="C3D, Tran et al., ICCV 2015",
        source="MMAction2",
        note="Its first dense layer fits one clip shape: other frames or sizes need other weights.",
        min_frames=16,
    )
)

register(
    Entry(
        name="i3d",
        build="everyframe.models.families.i3d:InceptionI3D",
        frames=64,
        size=(224, 224),
        num_classes=KINETICS_400,
        preprocess=crop(224, 256, MINUS_ONE_TO_ONE, fps=25),
        head="logits.conv3d",
        paper="I3D, Carreira and Zisserman, CVPR 2017",
        source="pytorch-i3d",
        two_sided=False,
        note="Strides time by 8: streams with a prediction every 8 frames. Pools pad with zeros, as in TensorFlow.",
    )
)

# --- TSM: name, builder, options, classes, classifier key, frames a second, note ---
BOTH = "Shifts from both neighbors: every shift delays a live prediction by one frame."
PAST = "Shifts from the past only: streams without delay."
TSM: tuple[tuple[str, str, dict[str, str], int, str, float, str], ...] = (
    ("tsm_mobilenet_v2", "TSN", {"backbone": "mobilenet_v2"}, KINETICS_400, "new_fc", 30 / 8, BOTH),
    ("tsm_resnet50", "TSN", {"backbone": "resnet50"}, KINETICS_400, "new_fc", 30 / 8, BOTH),
    ("tsm_mobilenet_v2_online", "OnlineMobileNetV2", {}, JESTER, "classifier", 15.0, PAST),
)
for name, builder, options, classes, head, fps, note in TSM:
    register(
        Entry(
            name=name,
            build=f"everyframe.models.families.tsm:{builder}",
            options=options,
            frames=8,
            size=(224, 224),
            num_classes=classes,
            preprocess=crop(224, 256, IMAGENET, fps=fps),
            head=head,
            paper="TSM, Lin et al., ICCV 2019",
            source="temporal-shift-module",
            two_sided=False,
            note=note,
            min_frames=2,
        )
    )
