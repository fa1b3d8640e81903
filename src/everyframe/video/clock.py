"""When a decoded frame is shown: exact times from packets and frames, counted from the first frame of the source.

Timestamps go wrong in few ways, and each has one place here. A clock that is set back is seen in the packets, whose decode
times only grow (`_Packets`); each packet carries what is to be added to its times, and its frame inherits that. Containers
without presentation times (AVI, Matroska made from AVI) number frames in the order in which they are decoded; decoders give
them in the order in which they are shown, so that sorting the numbers mends it (`_Order`). A clock that leaps ahead is seen in
that order, and what has no time at all follows its predecessor by one frame (`Clock`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from heapq import heappop, heappush

import av
import av.video.stream

from everyframe.video.frame import Decoded

#: a step of the clock that is longer than this, and than SLOW usual gaps, is a new recording glued on: it follows at once.
#: FFmpeg takes the first for containers whose clock may jump (`dts_delta_threshold` in fftools/ffmpeg_demux.c)
JUMP = {True: Fraction(10), False: Fraction(60)}
SLOW = 20
_MICRO = 1_000_000
_JUMPY = 0x200  # AVFMT_TS_DISCONT
_UNTIMED = 0x80  # AVFMT_NOTIMESTAMPS
#: and so is a step back beyond this; a smaller one is a clock that trembles
BACK = Fraction(1, 10)
#: frames that a decoder may take out of order: the most that H.264 and H.265 allow
REORDER = 16
_SEAMS = 100


def usual_gap(stream: av.video.stream.VideoStream) -> Fraction:
    """Seconds between two frames, as far as the container knows."""
    return 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)


class Clock:
    """`enter` each packet before it is decoded, `stamp` each picture, `rest` at the end. waits: pictures may be held back.

    joins: recordings of this kind may be glued together. untimed: the container holds no times; a live one's are those at
    which packets arrive, any other's are those of `gap`. jumps: how often the container's clock was set anew. read: where in
    the file the newest packet ends; seams: where that was when the clock was set back, and where the next packet began;
    whole: those of frames, but for the last one there, which may be what was taken for a frame.
    reached: the container's time of the newest frame, in seconds.
    """

    def __init__(
        self, container: av.container.InputContainer, stream: av.video.stream.VideoStream, *, live: bool, waits: bool
    ) -> None:
        self.gap = usual_gap(stream)
        self.count = self.read = self.whole = self._end = 0
        self.seams: list[tuple[int, int]] = []
        self.last = Fraction(0)
        self.reached = self.origin = Fraction(0)
        flags = int(container.format.flags)  # type: ignore[call-overload]
        self.untimed = bool(flags & _UNTIMED)
        self._arrival = self.untimed and live
        self._base, self._shift = Fraction(1, _MICRO) if self._arrival else stream.time_base or Fraction(0), 0
        self.joins = bool(flags & _JUMPY)
        self._jump = max(JUMP[self.joins], SLOW * self.gap)
        self._leaps, self._live = 0, live  # a camera that stalls is late, not elsewhere
        self._packets = _Packets(self._base, self.gap)
        # a picture that has just happened must not wait for others, and what sends it numbers it rightly
        self._order = _Order(REORDER if stream.codec_context.has_b_frames and waits else 0)
        stream.codec_context.copy_opaque = True

    @property
    def jumps(self) -> int:
        return self._leaps + self._packets.jumps

    def enter(self, packet: av.Packet) -> None:
        if self._arrival and packet.size:
            packet.pts = packet.dts = time.monotonic_ns() // 1000
            packet.time_base = self._base  # for whoever keeps it
        end, jumps, read = (packet.pos or 0) + packet.size, self._packets.jumps, self.read
        self.read = max(self.read, end)
        packet.opaque = [self._packets.shift(packet), end]  # an object of its own: PyAV finds it by its address
        if self._packets.jumps > jumps and len(self.seams) < _SEAMS:
            self.seams.append((read, end - packet.size))

    def stamp(self, picture: av.VideoFrame) -> Iterator[Decoded]:
        """The frames that are ready now."""
        if picture.pts is not None:
            self.reached = max(self.reached, picture.pts * self._base)
        if isinstance(picture.opaque, list):
            self._shift, end = picture.opaque
            self.whole, self._end = sorted((self.whole, self._end, end))[1:]
        ready = self._order.put(picture, None if picture.pts is None else picture.pts + self._shift, self._packets.orders)
        yield from map(self._counted, ready)

    def rest(self) -> Iterator[Decoded]:
        yield from map(self._counted, self._order.rest())

    def _counted(self, item: tuple[av.VideoFrame, int | None]) -> Decoded:
        picture, ticks = item
        told = ticks * self._base if ticks is not None and self._base else None
        if self.count == 0:
            self.origin = told or Fraction(0)
        pts = told - self.origin if told is not None else self.last + self.gap * bool(self.count)
        if pts - self.last > self._jump and not self._live:
            self.origin += pts - self.last - self.gap
            self._leaps += 1
            pts = self.last + self.gap
        self.last = max(self.last, pts)
        self.count += 1
        return Decoded(picture, self.last, (picture.duration or 0) * self._base, self.count - 1)


class _Packets:
    """What is to be added to the times of packets, so that decode times only grow.

    orders: whether the container tells presentation times apart from decode times.
    """

    def __init__(self, base: Fraction, gap: Fraction) -> None:
        self.jumps, self.orders = 0, False
        self._shift = 0
        self._last: int | None = None  # decode time of the newest packet
        self._highest: int | None = None  # its presentation time, or a higher one before it
        ticks = 1 / base if base else Fraction(1)
        self._gap = max(1, round(gap * ticks))
        self._back = BACK * ticks

    def shift(self, packet: av.Packet) -> int:
        if packet.is_discard:  # decoded, not shown: what an edit list cuts away, whose times run into the next part's
            return self._shift
        now, shown = packet.dts, packet.pts
        back = self._last is not None and now is not None and self._last - now > self._back
        if packet.is_keyframe and self._highest is not None and shown is not None:  # some containers tell no decode times
            back = back or self._highest - shown > self._back
        if back:
            before, after = (self._last, now) if self._highest is None or shown is None else (self._highest, shown)
            self._shift += (before or 0) + self._gap - (after or 0)
            self._highest = self._last = None
            self.jumps += 1
        self._last = self._last if now is None else now
        if shown is not None:
            self.orders = self.orders or (self._highest is not None and shown < self._highest)
            self._highest = max(shown, self._highest if self._highest is not None else shown)
        return self._shift


class _Order:
    """Pictures as the decoder gives them, times sorted. depth: pictures that wait for an earlier time, 0 for none."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._waiting: deque[tuple[av.VideoFrame, bool]] = deque()
        self._times: list[int] = []

    def put(self, picture: av.VideoFrame, ticks: int | None, known: bool) -> Iterator[tuple[av.VideoFrame, int | None]]:
        """known: the container tells the order, so that nothing need wait."""
        self.depth = 0 if known else self.depth
        self._waiting.append((picture, ticks is not None))
        if ticks is not None:
            heappush(self._times, ticks)
        while len(self._waiting) > self.depth:
            yield self._first()

    def rest(self) -> Iterator[tuple[av.VideoFrame, int | None]]:
        while self._waiting:
            yield self._first()

    def _first(self) -> tuple[av.VideoFrame, int | None]:
        picture, timed = self._waiting.popleft()
        return picture, heappop(self._times) if timed else None
