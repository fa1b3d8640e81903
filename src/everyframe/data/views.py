"""Clips of one video for evaluation, and the videos themselves, decoded in parallel. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from everyframe.data import sampling
from everyframe.data.cache import Store
from everyframe.data.clips import Clip
from everyframe.data.workers import Pool
from everyframe.errors import SourceError
from everyframe.recipes.training import Sampling

Views = Literal["middle", "non-overlapping", "10-crop", "30-view"]
Places = Literal["center", "corners", "thirds"]


def views(video: np.ndarray, frames: int, size: tuple[int, int], how: Sampling, kind: Views) -> tuple[np.ndarray, np.ndarray]:
    """((V, T, h, w, C) uint8, (V,) which of them are mirrored) of one uncropped video (n, H, W, C).

    middle: one clip, its middle cut out. non-overlapping: clips that cover the video (arXiv:1904.02422), their middle.
    10-crop: the middle clip, cut at the corners and in the middle, each mirrored too. 30-view: 10 clips, each cut in three
    places along its longer side (arXiv:1812.03982). Raises SourceError where the video is smaller than `size`.
    """
    count = len(video)
    middle = sampling.middle(count, frames, how)[None]
    rows, place = {
        "middle": (lambda: middle, "center"),
        "non-overlapping": (lambda: sampling.covering(count, frames, how), "center"),
        "10-crop": (lambda: middle, "corners"),
        "30-view": (lambda: sampling.spread(count, frames, how, 10), "thirds"),
    }[kind]
    clips = [part for row in rows() for part in cut(video[row], size, place)]  # type: ignore[arg-type]
    mirrored = kind == "10-crop"
    made = [*clips, *(clip[:, :, ::-1] for clip in clips)] if mirrored else clips
    return np.stack(made), np.arange(len(made)) >= len(clips)


def array_views(array: np.ndarray, frames: int, how: Sampling, kind: Views) -> np.ndarray:
    """(V, T, ...) of frames (n, ...) that are not cut in space: the middle clip, or those that cover all."""
    count = len(array)
    rows = sampling.middle(count, frames, how)[None] if kind == "middle" else sampling.covering(count, frames, how)
    clips: np.ndarray = array[rows]
    return clips


def cut(frames: np.ndarray, size: tuple[int, int], place: Places) -> list[np.ndarray]:
    """Parts of `size` (h, w) of (T, H, W, C). center: as prediction cuts it. corners: four, and the center."""
    (height, width), (h, w) = frames.shape[1:3], size
    down, across = height - h, width - w
    if down < 0 or across < 0:
        raise SourceError(
            "The pictures are smaller than the network's.", expected=f"at least {h}x{w} (height x width)",
            got=f"{height}x{width}", hint="let the recipe's preprocess resize them",
        )  # fmt: skip
    center = (down // 2, across // 2)
    if place == "center":
        corners = [center]
    elif place == "corners":
        corners = [(0, 0), (0, across), (down, 0), (down, across), center]
    elif width >= height:
        corners = [(center[0], left) for left in (0, center[1], across)]
    else:
        corners = [(top, center[1]) for top in (0, center[0], down)]
    return [frames[:, top : top + h, left : left + w] for top, left in corners]


def videos(clips: Sequence[Clip], store: Store, workers: int = 0) -> Iterator[np.ndarray | SourceError]:
    """Each video whole, (T, H, W, C) uint8, or why it cannot be read, in order."""
    with Pool(_Videos(tuple(clips), store), workers, name=lambda number: clips[number].path) as pool:
        yield from pool.run(range(len(clips)))


class _Videos:
    def __init__(self, clips: tuple[Clip, ...], store: Store) -> None:
        self.clips, self.store = clips, store

    def __call__(self, number: int) -> np.ndarray | SourceError:
        try:
            return self.store.frames(self.clips[number])
        except SourceError as error:
            return error


def named(error: SourceError, clip: Clip) -> SourceError:
    """The error with the clip's path, where it has none."""
    return (
        error
        if error.where
        else SourceError(error.what, where=clip.path, expected=error.expected, got=error.got, hint=error.hint)
    )
