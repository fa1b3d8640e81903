"""Which decoded frames the network sees: nearest in time to a fixed rate, every n-th, or all. Exact arithmetic, no
drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from everyframe.video.frame import Decoded

#: a live source that stalls longer than this is not filled up with repeats of its last frame
LIVE_GAP = Fraction(1)


def as_fps(fps: float) -> Fraction:
    """A frame rate as the fraction that is meant: 29.97 is 30000/1001, 23.976 is 24000/1001, 12.5 is 25/2."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    if fps > 10 and abs(float(ntsc) - fps) < 5e-3 and abs(fps - round(fps)) > 5e-3:
        return ntsc
    return Fraction(fps).limit_denominator(10_000)


def sample(
    frames: Iterable[Decoded], *, fps: float | None = None, every_n: int | None = None, live: bool = False
) -> Iterator[Decoded]:
    """The frames a network sampled at `fps` (or at every n-th frame, or at every frame) sees.

    fps: for each tick n/fps the frame nearest in time, the earlier one of a tie; a slower source repeats frames, a
    variable frame rate needs no special care. live: the source is a camera, so a stall is skipped instead of filled
    with repeats and a frame is given out as soon as no later one can be expected to lie nearer.
    """
    if fps is not None:
        yield from _at_rate(frames, as_fps(fps), live)
        return
    n = every_n or 1
    for frame in frames:
        if frame.index % n == 0:
            yield frame


def _at_rate(frames: Iterable[Decoded], fps: Fraction, live: bool) -> Iterator[Decoded]:
    tick = 0  # the next tick without a frame; its time is tick / fps
    last: Decoded | None = None
    gap = 1 / fps
    for frame in frames:
        if last is not None:
            gap = frame.pts - last.pts
            middle = (last.pts + frame.pts) / 2
            if live and gap > LIVE_GAP:
                tick = max(tick, int(frame.pts * fps))
            while tick <= middle * fps:
                yield last
                tick += 1
        last = frame
        # live: bet on the next frame to come after the same gap rather than to wait for it
        reach = frame.pts + min(gap, 1 / fps) / 2 if live else frame.pts
        while tick <= reach * fps:
            yield frame
            tick += 1
    if last is not None and not live:
        # the last frame is shown for its duration; a quarter of a tick is left for timestamps that were rounded
        end = last.pts + (last.duration or gap) - Fraction(1, 4) / fps
        while tick < end * fps:
            yield last
            tick += 1
