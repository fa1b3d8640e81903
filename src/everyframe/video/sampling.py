"""Which decoded frames the network sees: nearest in time to a fixed rate, every n-th, or all. Exact arithmetic, no
drift.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from everyframe.errors import UsageError
from everyframe.video.frame import Decoded

#: a live source that stalls longer than this is not filled up with repeats of its last frame
LIVE_GAP = Fraction(1)
#: frames a second that no source has
FASTEST = 1_000_000
#: a step back of the clock up to this is one that trembles; a longer one set it anew
TREMBLE = Fraction(1, 10)


def as_fps(fps: float) -> Fraction:
    """A frame rate as the fraction that is meant: 29.97 is 30000/1001, 23.976 is 24000/1001, 12.5 is 25/2."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    if fps > 10 and abs(float(ntsc) - fps) < 5e-3 and abs(fps - round(fps)) > 5e-3:
        return ntsc
    return Fraction(fps).limit_denominator(10_000)


def rate_of(fps: Any) -> Fraction:
    """A frame rate that somebody gave. Raises UsageError for what is none."""
    if isinstance(fps, (int, float, Fraction, np.number)) and math.isfinite(fps) and fps > 0 and 0 < as_fps(float(fps)) < FASTEST:
        return as_fps(float(fps))
    raise UsageError("This is not a frame rate.", where="fps", expected="frames a second, such as 30", got=repr(fps))


class Ticks:
    """The one rule of which frames a network sees, for files, cameras and frames that are handed over.

    fps: for each tick n/fps, counted from the first frame, the frame nearest in time, the earlier one of a tie; a slower
    source repeats frames, a variable frame rate needs no special care. every_n: every n-th frame instead. live: a stall is
    skipped instead of filled with repeats, and a frame is given out as soon as no later one can be expected to lie nearer.
    """

    def __init__(self, fps: float | None = None, every_n: int | None = None, *, live: bool = False) -> None:
        self.fps = None if fps is None else as_fps(fps)
        self.every_n, self.live = every_n or 1, live
        self.count = 0
        self._tick = 0  # the next tick without a frame; its time is tick / fps
        self._origin = self._time = Fraction(0)  # of the first frame; of the last one, counted from there
        self._gap = 1 / self.fps if self.fps else Fraction(0)
        self._last: Decoded | None = None

    def put(self, frame: Decoded) -> Iterator[Decoded]:
        """The frames that are due now, this one or the one before, perhaps several times."""
        number, self.count = self.count, self.count + 1
        if self.fps is None:
            if number % self.every_n == 0:
                yield frame
            return
        last, time = self._last, self._since(frame)
        self._last = frame
        if last is not None:
            self._gap = time - self._time
            if self.live and self._gap > LIVE_GAP:
                self._tick = max(self._tick, int(time * self.fps))
            yield from self._until((self._time + time) / 2, last)
        self._time = time
        if self.live:  # bet on the next frame to come after the same gap rather than to wait for it
            time += min(self._gap, 1 / self.fps) / 2
        yield from self._until(time, frame)

    def rest(self) -> Iterator[Decoded]:
        """The last frame is shown for its duration; a quarter of a tick is left for timestamps that were rounded."""
        if self.fps is None or self._last is None or self.live:
            return
        end = self._time + (self._last.duration or self._gap) - Fraction(1, 4) / self.fps
        while self._tick < end * self.fps:
            self._tick += 1
            yield self._last

    def _until(self, time: Fraction, frame: Decoded) -> Iterator[Decoded]:
        while self._tick <= time * (self.fps or 1):
            self._tick += 1
            yield frame

    def _since(self, frame: Decoded) -> Fraction:
        """Seconds since the first frame. A clock that trembles stands still, one that is set back goes on from here."""
        if self._last is None:
            self._origin = frame.pts
        time = frame.pts - self._origin
        if time < self._time:
            step = Fraction(0) if self._time - time <= TREMBLE else max(self._gap, 1 / (self.fps or Fraction(1)))
            if step:
                self._origin += time - self._time - step
            time = self._time + step
        return time


def sample(
    frames: Iterable[Decoded], *, fps: float | None = None, every_n: int | None = None, live: bool = False
) -> Iterator[Decoded]:
    """The frames a network sampled at `fps` (or at every n-th frame, or at every frame) sees: `Ticks`, over all of them."""
    ticks = Ticks(fps, every_n, live=live)
    for frame in frames:
        yield from ticks.put(frame)
    yield from ticks.rest()
