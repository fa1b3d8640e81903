"""A clip's pictures, byte for byte what `everyframe predict` hands to `normalize`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from everyframe.data.clips import Clip
from everyframe.data.header import probe
from everyframe.errors import SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.video.decode import decode
from everyframe.video.frame import Decoded
from everyframe.video.preprocess import prepare
from everyframe.video.sampling import as_fps, sample

PICTURE_RATE = Fraction(25)  # of pictures in a folder or an array, where the network wants none, as `video.worker` has it
HELD = 256 << 20  # bytes of decoded frames that may wait for the choice


def pictures(clip: Clip, preprocess: Preprocess, choose: Callable[[int], np.ndarray] | None = None) -> np.ndarray:
    """(T, H, W, C) uint8: sampled and prepared. choose: given the number of sampled frames, the numbers of those that are
    wanted, in their order; default: all. Raises SourceError, naming the clip, for what cannot be read to its end.
    """
    rate = as_fps(preprocess.fps) if preprocess.fps else PICTURE_RATE
    try:
        frames = _within(decode(clip.source, picture_rate=rate, threads=1), clip.span)
        kept = _Kept(preprocess, HELD if choose else 0)
        for frame in sample(frames, fps=preprocess.fps, every_n=preprocess.sample_every_n):
            kept.add(frame)
        if not kept.places:
            raise SourceError("There are no frames in this part of the video.", where=clip.path, got=f"{clip.span} s")
        return kept.take(np.arange(len(kept.places)) if choose is None else choose(len(kept.places)))
    except SourceError as error:
        if error.where is None:  # of one picture
            error = SourceError(error.what, where=clip.path, expected=error.expected, got=error.got, hint=error.hint)
        raise error from None
    except ValueError as error:  # pictures of several sizes
        raise SourceError("The clip's pictures do not belong together.", where=clip.path, got=error) from None
    except Exception as error:  # PyAV's fault; the user is told which file it was
        why = (probe(clip).error or f"{type(error).__name__}: {error}").removeprefix(f"{clip.path}: ")
        raise SourceError("The clip cannot be decoded.", where=clip.path, got=why) from None


class _Kept:
    """Sampled frames, prepared when they are taken, as most may not be wanted; sooner where they are more than `limit` bytes."""

    def __init__(self, preprocess: Preprocess, limit: int) -> None:
        self.preprocess, self.limit, self.held = preprocess, limit, 0
        self.done = 0  # so many of the frames are prepared
        self.frames: list[Any] = []  # decoded or prepared, each once
        self.places: list[int] = []  # of every sampled frame, in `frames`; slow sources repeat theirs
        self._shown: Decoded | None = None

    def add(self, frame: Decoded) -> None:
        if frame is not self._shown:
            self._shown = frame
            picture = frame.picture
            self.held += picture.size if isinstance(picture, np.ndarray) else picture.width * picture.height * 2
            self.frames.append(picture)
            if self.held > self.limit:
                self.frames[self.done :] = [prepare(one, self.preprocess) for one in self.frames[self.done :]]
                self.done = len(self.frames)
        self.places.append(len(self.frames) - 1)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        wanted = [self.places[int(number)] for number in numbers]
        made = {place: self._prepared(place) for place in sorted(set(wanted))}
        return np.stack([made[place] for place in wanted])

    def _prepared(self, place: int) -> np.ndarray:
        return self.frames[place] if place < self.done else prepare(self.frames[place], self.preprocess)


def _within(frames: Iterator[Decoded], span: tuple[float, float] | None) -> Iterator[Decoded]:
    """The frames that are shown in the span, counted and timed as if the file began there."""
    if span is None:
        yield from frames
        return
    begin: Fraction | None = None
    count = 0
    for frame in frames:
        if float(frame.pts) >= span[1]:
            return
        if float(frame.pts) >= span[0]:
            begin = frame.pts if begin is None else begin
            yield Decoded(frame.picture, frame.pts - begin, frame.duration, count)
            count += 1
