"""A clip's pictures, byte for byte what `everyframe predict` hands to `normalise`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from everyframe.errors import SourceError
from everyframe.program.contract import Preprocess
from everyframe.train.data.clips import Clip
from everyframe.video.decode import decode
from everyframe.video.frame import Decoded
from everyframe.video.preprocess import prepare
from everyframe.video.sampling import as_fps, sample
from everyframe.video.sources import Source


def source(clip: Clip) -> Source:
    return Source("file" if clip.pictures is None else "pictures", clip.path.name, clip.files())


def pictures(clip: Clip, preprocess: Preprocess) -> np.ndarray:
    """(T, H, W, C) uint8: sampled and prepared. Raises SourceError, naming the clip, for what cannot be read to its end."""
    rate = as_fps(preprocess.fps) if preprocess.fps else Fraction(25)  # of pictures in a folder, as `worker` has it
    made: list[np.ndarray] = []
    shown: Decoded | None = None
    try:
        frames = _within(decode(source(clip), picture_rate=rate), clip.span)
        for frame in sample(frames, fps=preprocess.fps, every_n=preprocess.sample_every_n):
            made.append(made[-1] if frame is shown else prepare(frame.picture, preprocess))
            shown = frame
        if not made:
            raise SourceError("There are no frames in this part of the video.", where=clip.path, got=f"{clip.span} s")
        return np.stack(made)
    except SourceError as error:
        if error.where is None:  # of one picture
            error = SourceError(error.what, where=clip.path, expected=error.expected, got=error.got, hint=error.hint)
        raise error from None
    except ValueError as error:  # pictures of several sizes
        raise SourceError("The clip's pictures do not belong together.", where=clip.path, got=error) from None
    except Exception as error:  # PyAV's fault; the user is told which file it was
        raise SourceError("The clip cannot be decoded.", where=clip.path, got=f"{type(error).__name__}: {error}") from None


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
