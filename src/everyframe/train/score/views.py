"""Which clips of a video a clip network is shown, and in which order the frames of a video are played.

n frames of a video, T frames of a clip, H W of a frame, h w of the crop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from everyframe.errors import UsageError
from everyframe.program.contract import Preprocess
from everyframe.train.data import sampling
from everyframe.train.schema import Sampling
from everyframe.video.preprocess import output_size

Window = tuple[int, int, bool]  # top, left, mirrored


@dataclass(frozen=True)
class View:
    """indices: (n, T, sampling) -> frames of each clip, (clips, T). crops: (H, W, h, w) -> windows in each of them. cropped:
    the centre alone, which the preprocessing has made already.
    """

    indices: Callable[[int, int, Sampling], np.ndarray]
    crops: Callable[[int, int, int, int], list[Window]]
    cropped: bool


def _one(n: int, t: int, how: Sampling) -> np.ndarray:
    return sampling.middle(n, t, how)[None]


def _ten_times(n: int, t: int, how: Sampling) -> np.ndarray:
    return sampling.spread(n, t, how, 10)


def _centre(height: int, width: int, h: int, w: int) -> list[Window]:
    return [((height - h) // 2, (width - w) // 2, False)]


def _three(height: int, width: int, h: int, w: int) -> list[Window]:
    """The two ends and the middle of the longer side."""
    down, right = height - h, width - w
    wide = right >= down
    return [(down // 2, at, False) if wide else (at, right // 2, False) for at in (0, max(down, right) // 2, max(down, right))]


def _ten(height: int, width: int, h: int, w: int) -> list[Window]:
    down, right = height - h, width - w
    five = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    return [(top, left, mirrored) for mirrored in (False, True) for top, left in five]


#: side by side until the video is covered; one from the middle; its corners and centre, also mirrored; ten times three crops
VIEWS: dict[str, View] = {
    "non-overlapping": View(sampling.covering, _centre, cropped=True),
    "middle": View(_one, _centre, cropped=True),
    "10-crop": View(_one, _ten, cropped=False),
    "30-view": View(_ten_times, _three, cropped=False),
}


def view(name: str) -> View:
    """Raises UsageError."""
    if name not in VIEWS:
        raise UsageError("There is no such view.", where="--views", expected=", ".join(VIEWS), got=name)
    return VIEWS[name]


def clips(frames: np.ndarray, t: int, shown: View, size: tuple[int, int] | None, how: Sampling) -> Iterator[np.ndarray]:
    """(n, H, W, C) -> one (T, h, w, C) after another. size: of the crop, None for whole frames."""
    height, width = frames.shape[1:3]
    h, w = size or (height, width)
    for indices in shown.indices(len(frames), t, how):
        clip = frames[indices]
        for top, left, mirrored in shown.crops(height, width, h, w):
            part = clip[:, top : top + h, left : left + w]
            yield part[:, :, ::-1] if mirrored else part


def centre(frames: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """What the preprocessing would have cropped. Raises SourceError where the crop does not fit."""
    height, width = frames.shape[1:3]
    h, w = output_size(height, width, Preprocess(crop=size))
    ((top, left, _),) = _centre(height, width, h, w)
    return frames[:, top : top + h, left : left + w]


#: how a video is played to find out what a network goes by: (n, generator) -> which frame at each place
ORDERS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "normal": lambda n, _: np.arange(n),
    "reversed": lambda n, _: np.arange(n)[::-1],
    "shuffled": lambda n, rng: rng.permutation(n),
    "frozen": lambda n, _: np.full(n, n // 2),
}
