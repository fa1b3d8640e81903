"""Which frames of a video make a clip, as numbers from 0. No pictures are touched here.

T frames of the clip, n frames of the video.
"""

from __future__ import annotations

import numpy as np

from everyframe.recipes.training import Sampling


def training(count: int, frames: int, how: Sampling, rng: np.random.Generator, speed: float = 1.0) -> np.ndarray:
    """(T,) of `count` frames, from a random place. speed: playback is up to so many times faster or slower."""
    if how.kind == "segments":
        edges = _edges(count, frames)
        return np.minimum(rng.integers(edges[:-1], np.maximum(edges[1:], edges[:-1] + 1)), count - 1)
    factor = float(np.exp(rng.uniform(-np.log(speed), np.log(speed)))) if speed > 1 else 1.0
    taken = _offsets(frames, how.stride * factor)
    begin = int(rng.integers(0, max(0, count - 1 - int(taken[-1])) + 1))
    return _within(begin + taken, 0, count, how.short)


def middle(count: int, frames: int, how: Sampling) -> np.ndarray:
    """(T,) for validation: the middle of the video, or of each of its parts."""
    if how.kind == "segments":
        edges = _edges(count, frames)
        return np.minimum((edges[:-1] + edges[1:]) // 2, count - 1)
    taken = _offsets(frames, how.stride)
    return _within(max(0, count - 1 - int(taken[-1])) // 2 + taken, 0, count, how.short)


def covering(count: int, frames: int, how: Sampling) -> np.ndarray:
    """(V, T): clips that do not overlap and together cover the video; a rest is filled up like a short video.

    clip: one after the other, each T * stride frames long. segments: as many as there are frames in a part, each with
    another frame of every part.
    """
    if how.kind == "segments":
        edges = _edges(count, frames)
        views = max(1, count // frames)
        return np.stack([np.minimum(edges[:-1] + view, count - 1) for view in range(views)])
    length = frames * how.stride
    taken = _offsets(frames, how.stride)
    return np.stack([_within(b + taken, b, min(b + length, count), how.short) for b in range(0, count, length)])


def spread(count: int, frames: int, how: Sampling, views: int) -> np.ndarray:
    """(V, T): clips that begin evenly spread over the video, the first at its beginning, the last at its end."""
    if how.kind == "segments":
        edges = _edges(count, frames)
        shares = (np.arange(views) + 0.5)[:, None] / views
        return np.minimum((edges[:-1] + shares * np.diff(edges)).astype(np.int64), count - 1)
    taken = _offsets(frames, how.stride)
    last = max(0, count - 1 - int(taken[-1]))
    return np.stack([_within(int(b) + taken, 0, count, how.short) for b in np.round(np.linspace(0, last, views))])


def _offsets(frames: int, stride: float) -> np.ndarray:
    return np.floor(np.arange(frames) * stride + 0.5).astype(np.int64)


def _edges(count: int, frames: int) -> np.ndarray:
    """(T + 1,) where the equal parts of a video begin and end; a part of a short video may be empty."""
    return np.arange(frames + 1) * count // frames


def _within(indices: np.ndarray, begin: int, end: int, short: str) -> np.ndarray:
    if short == "loop":
        return begin + (indices - begin) % (end - begin)
    return np.minimum(indices, end - 1)
