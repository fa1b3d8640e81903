"""Seed clips as classes (Exemplar-CNN, arXiv:1406.6909): learning without labels, from the places where most moves.

Each seed is one class; sampling and augmentation make its members. A place's score is the median over its frames of the mean
change between neighbors, so that a cut, which is one great change, does not count as motion.

Single pictures tell most seeds apart, by clothes and background. A seed played backwards shows the same pictures: as a class of
its own it can be told by motion alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from everyframe.data.clips import Clip, Collection
from everyframe.data.decode import pictures
from everyframe.data.header import probe
from everyframe.data.workers import Pool
from everyframe.errors import RecipeError, SourceError
from everyframe.modelfile.schema import Preprocess

FPS = 10.0  # at which motion is looked for
SMALL = Preprocess(color="gray", resize=(32, 32), fps=FPS)
ROOM = 1.5  # a seed is so many times as long as a clip, where videos are, so that its members begin at different times


def seeds(
    clips: Sequence[Clip], count: int, frames: int, preprocess: Preprocess, stride: int = 1, workers: int = 0,
    backwards: bool = False,
) -> Collection:  # fmt: skip
    """`count` seeds of unlabeled clips, each of them a class, for training and for validation alike. frames, stride: of a
    clip, at the rate of `preprocess`. backwards: as many classes more, the same seeds played backwards. No video gives more
    than twice its share. Clips that cannot be read are in `problems`. Raises RecipeError where there are too few places.
    """
    clips = tuple(dict.fromkeys(replace(clip, label=-1) for clip in clips))
    found: list[tuple[float, int, Clip]] = []
    problems = []
    with Pool(_Places(frames * stride, preprocess), workers, name=lambda clip: clip.path) as pool:
        for number, places in enumerate(pool.run(clips)):
            if isinstance(places, SourceError):
                problems.append(f"{places.where}: {places.what}")
                continue
            best = sorted(places, key=lambda place: -place[0])[: math.ceil(2 * count / len(clips))]
            found += [(score, number, clip) for score, clip in best]
    if len(found) < count:
        raise RecipeError(
            "There are too few places in these videos for so many seeds.", where="key surrogate.seeds", got=count,
            expected=f"at most {len(found)}, of {len(clips)} videos", hint="use longer or more videos, fewer seeds or frames",
        )  # fmt: skip
    chosen = sorted(found, key=lambda row: (-row[0], row[1], row[2].name))[:count]
    members = tuple(replace(clip, label=label) for label, (_, _, clip) in enumerate(chosen))
    if backwards:
        turned = (replace(clip, label=clip.label + count, name=f"{clip.name} backwards", backwards=True) for clip in members)
        members = (*members, *turned)
    return Collection(tuple(clip.name for clip in members), {"train": members, "validation": members}, tuple(problems))


class _Places:
    """Clip -> [(score, the part of it)], parts side by side. sampled: frames of a clip at the rate of `preprocess`."""

    def __init__(self, sampled: int, preprocess: Preprocess) -> None:
        self.sampled, self.preprocess = sampled, preprocess

    def __call__(self, clip: Clip) -> list[tuple[float, Clip]] | SourceError:
        try:
            small = pictures(clip, SMALL).astype(np.int16)  # (T, 32, 32, 1)
        except SourceError as error:
            return error
        change = np.abs(np.diff(small, axis=0)).mean((1, 2, 3))  # of each frame to the next
        rate = self.preprocess.fps or (probe(clip).fps or FPS) / (self.preprocess.sample_every_n or 1)
        # a folder of pictures has no times of its own: it is read at the rate that is asked for
        per_second = FPS if clip.pictures is None else rate
        length = ROOM * self.sampled / rate  # seconds
        taken = max(2, round(length * FPS)) if clip.pictures is None else max(2, round(ROOM * self.sampled))
        if taken > len(small) >= max(2, round(taken / ROOM)):  # a video with room for one clip, and little more
            taken = len(small)
        return [
            (float(np.median(change[begin : begin + taken - 1])), self._part(clip, begin, taken, per_second))
            for begin in range(0, len(small) - taken + 1, taken)
        ]

    def _part(self, clip: Clip, begin: int, taken: int, per_second: float) -> Clip:
        if clip.pictures is not None:
            return replace(clip, first=clip.first + begin, count=taken, name=f"{clip.name} from {clip.first + begin}")
        start = (clip.span[0] if clip.span else 0.0) + begin / per_second
        return replace(clip, span=(start, start + taken / per_second), name=f"{clip.name} at {start:.1f} s")
