"""Real clips for testing: folders of video, read at one frame rate as the network sees them. Never trained on.

Two layouts: class-per-folder (`val/<class>/*.mp4`) and any tree of videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np

from everyframe.errors import SourceError, UsageError
from everyframe.evaluation.match import match
from everyframe.modelfile.schema import Preprocess
from everyframe.rendering.hands.motions import LABELS

SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm"}

# hand_gestures (skeletons drawn from recordings of people facing the camera): folder -> labels that count as right.
# Seen by eye and in the hands' paths: "left" moves to image-right and "clockwise" runs counter-clockwise in the
# image, so names
# are the user's, as ours. "horizontal" goes either way (29 of 70 clips to image-right). Everything else is `none`.
HAND_GESTURES: dict[str, tuple[str, ...]] = {
    "v_swiping_left": ("swipe_left",),
    "v_swiping_right": ("swipe_right",),
    "horizontal_swiping": ("swipe_left", "swipe_right"),
    "swiping_up": ("swipe_up",),
    "v_swiping_up": ("swipe_up",),
    "swiping_down": ("swipe_down",),
    "v_swiping_down": ("swipe_down",),
    "cw_rotation": ("circle_clockwise",),
    "ccw_rotation": ("circle_counterclockwise",),
    "palm_shake": ("wave",),
    **dict.fromkeys(
        ("five_finger_closure", "palm_opening", "peace_sign", "pointing", "pulling", "pushing", "three_finger_open"),
        ("none",),
    ),
}


def read(path: Path, preprocess: Preprocess) -> np.ndarray:
    """(T, H, W) uint8 gray, sampled at `preprocess.fps` nearest in time, resized to `preprocess.resize` (height,
    width).
    """
    if not isinstance(preprocess.resize, tuple) or preprocess.fps is None:
        raise SourceError("This evaluation needs a network with a fixed picture size and frame rate.", where=path)
    height, width = preprocess.resize
    frames: list[np.ndarray] = []
    stamps: list[float] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            for i, frame in enumerate(container.decode(stream)):
                frames.append(frame.reformat(width=width, height=height, format="gray", interpolation="BILINEAR").to_ndarray())
                stamps.append(frame.time if frame.time is not None else i / float(stream.average_rate or 30))
    except (OSError, IndexError, av.FFmpegError) as error:
        raise SourceError("The clip cannot be read.", where=path, got=error) from None
    if not frames:
        raise SourceError("The clip has no frames.", where=path)
    at = np.asarray(stamps) - stamps[0]
    wanted = np.arange(0, at[-1] + 1e-6, 1 / preprocess.fps)
    nearest = np.abs(at[None] - wanted[:, None]).argmin(1)
    return np.stack([frames[i] for i in nearest])


def videos(folder: Path) -> list[Path]:
    """All videos below a folder, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def classes(paths: Sequence[Path], label_map: Mapping[str, str] | None = None) -> dict[str, tuple[str, ...]]:
    """What counts as right in the videos of each folder: the label it is named like, or which `label_map` names; what is known of
    the folder's name; and else `none`. Empty where no folder is one of a gesture. Raises UsageError where the map does not fit.
    """
    names = sorted({path.parent.name for path in paths})
    try:
        index = match(names, LABELS, len(LABELS), label_map).index
    except UsageError:
        if label_map:
            raise
        index = (-1,) * len(names)
    table = {name: HAND_GESTURES.get(name, ("none",)) if i < 0 else (LABELS[i],) for name, i in zip(names, index, strict=True)}
    return table if any(labels != ("none",) for labels in table.values()) else {}
