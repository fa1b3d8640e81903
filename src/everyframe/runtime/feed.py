"""Iterators of frames that somebody else reads, through a stream: what `program.predict(frames)` does."""

from __future__ import annotations

import math
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from everyframe.errors import UsageError
from everyframe.files import at_home
from everyframe.runtime.handed import picture, seconds
from everyframe.runtime.prediction import Prediction
from everyframe.runtime.stream import Stream
from everyframe.video.sampling import rate_of

CAPTURE_FPS = 5  # cv2.CAP_PROP_FPS


def is_frames(source: Any) -> bool:
    """Whether it gives frames, rather than naming a video."""
    if isinstance(source, (str, bytes, int, np.integer, os.PathLike)):
        return False
    return _is_capture(source) or hasattr(source, "__iter__") or hasattr(source, "__aiter__")


def named(source: Any) -> str | int | os.PathLike[str]:
    """The path, camera number or address that names a video. Raises UsageError for anything else."""
    if isinstance(source, np.integer):
        return int(source)
    if isinstance(source, (str, int, os.PathLike)) and not isinstance(source, bool):
        found: str | int | os.PathLike[str] = at_home(source)
        return found
    raise UsageError(
        "This is neither a video nor frames.", expected="a path, a camera number, an address, or an iterator of pictures",
        got=type(source).__name__,
    )  # fmt: skip


def over(
    stream: Stream, frames: Any, *, fps: float | None, pts: Iterable[float] | None, bgr: bool | None, max_frames: int | None,
    seconds_most: float | None,
) -> Iterator[Prediction] | AsyncIterator[Prediction]:  # fmt: skip
    """Predictions of an iterator, async iterator, array (T, h, w, 3) or cv2.VideoCapture. bgr: None: as a capture has it.

    fps, pts: the frames' rate, or their times in seconds; without both, frames that come one by one are timed as they arrive.
    """
    if fps is not None and pts is not None:
        raise UsageError("Frames have a rate or times.", expected="fps or pts", got="both")
    if fps is not None:
        rate_of(fps)
    if _is_capture(frames):
        told = float(frames.get(CAPTURE_FPS) or 0) if hasattr(frames, "get") else 0.0
        fps = told if fps is None and pts is None and math.isfinite(told) and told > 0 else fps
        frames, bgr = _captured(frames), True if bgr is None else bgr
    elif fps is None and pts is None and hasattr(frames, "__len__") and stream.program.metadata.preprocess.fps:
        raise UsageError("Nobody knows how fast these frames are.", expected="fps=30, or pts=[0.0, 0.033, ...]", got="neither")
    feed = _Feed(stream, fps, None if pts is None else iter(pts), bool(bgr), max_frames, seconds_most)
    return feed.later(frames) if hasattr(frames, "__aiter__") else feed.now(frames)


class _Feed:
    def __init__(
        self,
        stream: Stream,
        fps: float | None,
        pts: Iterator[float] | None,
        bgr: bool,
        max_frames: int | None,
        most: float | None,
    ) -> None:
        self.stream, self.pts, self.bgr = stream, pts, bgr
        self.gap = None if fps is None else 1 / rate_of(fps)
        self.count, self.max_frames, self.most = 0, max_frames, most
        self.begun: float | None = None
        stream.expect(live=fps is None and pts is None)

    def now(self, frames: Iterable[Any]) -> Iterator[Prediction]:
        with self.stream:
            for frame in frames:
                at = self._time()
                if at is None:
                    break
                yield from self.stream.feed(picture(frame, self.bgr), at)
                if self._enough():
                    break
            yield from self.stream.feed_end()

    async def later(self, frames: AsyncIterator[Any]) -> AsyncIterator[Prediction]:
        with self.stream:
            async for frame in frames:
                at = self._time()
                if at is None:
                    break
                for prediction in self.stream.feed(picture(frame, self.bgr), at):
                    yield prediction
                if self._enough():
                    break
            for prediction in self.stream.feed_end():
                yield prediction

    def _time(self) -> Fraction | None:
        """Of the next frame; None where it is beyond the limit."""
        if self.pts is not None:
            at = next(self.pts, None)
            if at is None:
                raise UsageError("There are fewer times than frames.", where="pts", got=f"{self.count} times")
            found = seconds(at)
        elif self.gap is not None:
            found = self.count * self.gap
        else:
            clock = time.monotonic()
            self.begun = clock if self.begun is None else self.begun
            found = Fraction(clock - self.begun)
        self.count += 1
        return None if self.most is not None and found >= self.most else found

    def _enough(self) -> bool:
        return self.max_frames is not None and self.stream.frames >= self.max_frames


def _is_capture(source: Any) -> bool:
    return callable(getattr(source, "read", None)) and callable(getattr(source, "isOpened", None))


def _captured(capture: Any) -> Iterator[Any]:
    if not capture.isOpened():
        raise UsageError("The capture is not open.", where="cv2.VideoCapture", hint="check its path or camera number")
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield frame
