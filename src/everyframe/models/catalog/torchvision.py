"""Networks whose layers are named as in torchvision.models.video."""

from __future__ import annotations

from everyframe.models.catalog.common import KINETICS_400, KINETICS_TORCHVISION, crop
from everyframe.models.registry import Entry, register

# --- 18-layer ResNets of "A Closer Look": name, note ---
EVERY_8 = "Strides time by 8: streams with a prediction every 8 frames."
RESNET_18 = (
    ("r2plus1d_18", EVERY_8),
    ("r3d_18", EVERY_8),
    ("mc3_18", "Looks at time in its first stage only and never strides it."),
)
for name, note in RESNET_18:
    register(
        Entry(
            name=name,
            build="everyframe.models.families.resnet_18:ResNet18",
            options={"variant": name},
            frames=16,
            size=(112, 112),
            num_classes=KINETICS_400,
            preprocess=crop(112, (128, 171), KINETICS_TORCHVISION, fps=15),
            head="fc",
            paper="A Closer Look at Spatiotemporal Convolutions, Tran et al., CVPR 2018",
            source="torchvision",
            note=note,
        )
    )

register(
    Entry(
        name="s3d",
        build="everyframe.models.families.s3d:S3D",
        frames=128,
        size=(224, 224),
        num_classes=KINETICS_400,
        preprocess=crop(224, (256, 256), KINETICS_TORCHVISION, fps=15),
        head="classifier.1",
        paper="Rethinking Spatiotemporal Feature Learning, Xie et al., ECCV 2018",
        source="torchvision",
        note="Strides time by 8: streams with a prediction every 8 frames. Its accuracy is published for clips of 128 frames, "
        "its 17.98 GFLOPs (multiply-adds) for 16.",
        min_frames=5,
    )
)
