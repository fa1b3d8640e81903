"""MoViNet, whose layers are named as in the port MoViNet-pytorch; frames at evaluation as in the authors' configurations."""

from __future__ import annotations

from everyframe.models.catalog.common import KINETICS_600, ZERO_TO_ONE, crop
from everyframe.models.registry import Entry, register

CLIP = "Time is never strided: streams with a prediction at every frame. Gates and head see the mean over the clip."
STREAM = (
    "Causal, with means over all frames so far: streams without delay. Published for ten seconds from a fresh start; reset a "
    "stream between actions."
)
LAST = "classifier.3.conv_1"

# --- variant, T, size, short side, every n-th frame of 25 fps, is there a stream network ---
VARIANTS = (
    ("a0", 50, 172, 192, 5, True),
    ("a1", 50, 172, 192, 5, True),
    ("a2", 50, 224, 256, 5, True),
    ("a3", 120, 256, 288, 2, False),
    ("a4", 80, 290, 320, 3, False),
    ("a5", 120, 320, 368, 2, False),
)
for variant, frames, size, short, n, streams in VARIANTS:
    for stream in (False, True)[: 1 + streams]:
        register(
            Entry(
                name=f"movinet_{variant}" + "_stream" * stream,
                build="everyframe.models.families.movinet:MoViNet",
                options={"variant": variant, "stream": stream, "conv": "2plus1d" if stream else "3d"},
                choices={"conv": ("2plus1d", "3d")},
                frames=frames,
                size=(size, size),
                num_classes=KINETICS_600,
                preprocess=crop(size, short, ZERO_TO_ONE, fps=25 / n),
                head=f"{LAST}.conv2d" if stream else f"{LAST}.conv3d",
                heads={"2plus1d": f"{LAST}.conv2d", "3d": f"{LAST}.conv3d"},
                paper="MoViNets, Kondratyuk et al., CVPR 2021",
                source="MoViNet-pytorch",
                two_sided=False,
                note=STREAM if stream else CLIP,
                min_frames=5 if stream else 1,  # the longest kernel: a shorter clip would never use all of it
            )
        )
