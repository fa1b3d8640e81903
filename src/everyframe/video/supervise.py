"""A live source that goes on: whoever sends frames may stall, hang up, send rubbish or crash the decoder; then the decode process
is ended and another one begun, later and later, and never more often than a few times a minute.

    with LiveReader(source, preprocess) as frames:
        for frame in frames:            # without end, until close() or stop()
            if frames.gap_s: ...        # so long there were none: what a network remembers is too old

States: `connecting` (no picture yet), `live`, `lost` (to be tried again soon), `failed` (lost so often that it is tried again
only now and then), `stopped`.
"""

from __future__ import annotations

import contextlib
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from everyframe.errors import EveryframeError, SourceError
from everyframe.video.frame import Frame
from everyframe.video.reader import Counted, Reader
from everyframe.video.sources import Source

#: seconds before another try, the first, the second, ...; when they are used up a source has failed, and is tried every FAILED_S.
#: One that was live for STEADY_S begins with the first again: so there are never more than five tries a minute
PAUSES_S, FAILED_S, STEADY_S = (0.25, 1.0, 3.0, 8.0, 20.0), 30.0, 12.0
#: seconds before the end of a pause in which the next decode process is started, to be ready then: one at most
AHEAD_S = 2.0
#: and even before, when a source may be lost: of all sources one at a time, lest a busy machine start many for nothing. Where the
#: source goes on, it waits for so many seconds; then the source has no other one for a while
SPARE_S, NO_SPARE_S = 12.0, 60.0
_SPARE = threading.Semaphore(1)
#: of each pause, so much more or less: cameras that were lost together do not all come back at the same moment
JITTER = 0.2
#: seconds without frames that a network's memory outlives
GAP_S, KEYFRAMES_GAP_S = 2.0, 10.0
#: a source's clock that went so many seconds farther than the time that passed was set anew
LEAP_S = 2.0
#: seconds over which the rate of a source is counted
RATE_S = 10.0


@dataclass(frozen=True, slots=True)
class Change:
    """A source's new state, and why. at: seconds since 1970."""

    state: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Gap:
    """There were no pictures for so many seconds: what a network remembers is too old. pts_s: of the first one after it."""

    seconds: float
    pts_s: float


class LiveReader(Counted):
    """Frames of a live source as `Reader` gives them, on one clock: pts_s are seconds since its first frame, numbers go on.

    tell: told each change of state and each gap, in the thread that reads. gap: seconds without frames after which memory is old.
    give_up: a source that cannot be opened at first, or has failed, raises its error. options: as `Reader` has them.

    state, reason: see above. restarts: how often. gap_s: seconds without frames before the newest one, where they were too many,
    else 0. captured, frames, dropped: as of `Reader`, of all connections. fps: frames a second that the source really sends, over
    the last seconds. still_s: for how long its pictures have not changed by a single bit: those of a camera that hangs never do,
    but neither do those of a wall that is coded well.
    """

    def __init__(
        self,
        source: Source,
        preprocess: Any,
        *,
        tell: Callable[[Change | Gap], None] = lambda _: None,
        gap: float | None = None,
        give_up: bool = False,
        **options: Any,
    ) -> None:
        self.source, self.tell = source, tell
        self.gap = gap or (KEYFRAMES_GAP_S if source.keyframes else GAP_S)
        self.give_up = give_up
        self.state, self.reason, self.restarts = "connecting", "", 0
        self.gap_s = self.still_s = 0.0
        self.notes: list[str] = []
        self.thumbnails: list[Frame] = []
        self._open = lambda held: Reader(source, preprocess, held=held, doubt=self._doubt, **options)
        self._before = (0, 0, 0)  # counts of former connections
        self._began: float | None = None  # on the monotonic clock: the first frame ever
        self._last: Frame | None = None  # the newest, on the clock of all connections
        self._from: Frame | None = None  # the newest, as its connection has it
        self._offset_s, self._offset = 0.0, 0  # what is added to times and numbers of this connection
        self._changed_at = self._since = 0.0  # when the picture last changed; when this connection began
        self._arrivals: deque[tuple[float, int]] = deque()
        self._tries = 0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._reader: Reader | None = None  # opened when a frame is wanted, held while a pause lasts
        self._spare: Reader | None = None  # what comes after it, where that may be soon
        self._doubted = -math.inf

    # counters

    @property
    def counts(self) -> tuple[int, int, int]:
        """captured, frames, dropped"""
        with self._lock:
            return _sum(self._before, self._reader.counts if self._reader is not None else (0, 0, 0))

    @property
    def preview(self) -> Frame | None:
        """The newest picture, of a live connection only: what was lost is not shown as if it were now."""
        reader = self._reader
        return reader.preview if reader is not None and self.state == "live" else None

    @property
    def fps(self) -> float | None:
        arrivals = list(self._arrivals)
        if len(arrivals) < 2 or self.state != "live":
            return None
        (begun, first), (now, last) = arrivals[0], arrivals[-1]
        return (last - first) / (now - begun) if now > begun else None

    # the end

    def stop(self) -> None:
        """From any thread: whoever reads gets no more frames."""
        with self._lock:
            self._stopping.set()
            if self._reader is not None:
                self._reader.kill()

    def close(self) -> None:
        """In the thread that reads. Calling it again does nothing."""
        self._stopping.set()
        self._end_connection()
        self._leave_spare()
        if self.state != "stopped":
            self._change("stopped", "")

    # frames

    def __next__(self) -> Frame:
        while not self._stopping.is_set():
            try:
                reader = self._started()
                if reader is None:
                    break
                frame = next(reader)
            except (EveryframeError, StopIteration, OSError) as error:
                if self._stopping.is_set():
                    break
                if isinstance(error, StopIteration):
                    error = SourceError("The live source has ended.", where=self.source.where)
                elif isinstance(error, OSError):  # nothing more can be opened here
                    error = SourceError("The decode process cannot be started.", where=self.source.where, got=error.strerror)
                self.lose(error)
            else:
                if time.monotonic() - self._doubted > SPARE_S:
                    self._leave_spare()
                return self._placed(frame)
        self.close()
        raise StopIteration

    def lose(self, error: EveryframeError) -> None:
        """The connection is of no use: ends it and waits until it may be tried again. Raises the error if this gives up."""
        never = self._began is None
        self._end_connection()
        if self.give_up and never:
            raise error
        failed = self._tries >= len(PAUSES_S)
        if failed and self.give_up:
            raise error
        pause = FAILED_S if failed else PAUSES_S[self._tries]
        self._tries += 1
        reason = error.what if error.got is None else f"{error.what} ({error.got})"
        self._change("failed" if failed else "lost", reason)
        until = time.monotonic() + pause * random.uniform(1 - JITTER, 1 + JITTER)
        if self._stopping.wait(until - time.monotonic() - AHEAD_S):
            return
        with contextlib.suppress(EveryframeError, OSError):  # told when it is wanted
            self._started(held=True)
        if not self._stopping.wait(until - time.monotonic()):
            self.restarts += 1

    def _started(self, held: bool = False) -> Reader | None:
        """The connection, a new one where there is none; None if this is to end."""
        with self._lock:
            if self._reader is None and not self._stopping.is_set():
                if (spare := self._take_spare()) is not None:
                    self._doubted = -math.inf  # it was right
                self._reader = spare or self._open(held)
            return self._reader

    def _doubt(self) -> None:
        now = time.monotonic()
        if now - self._doubted < NO_SPARE_S or self._stopping.is_set() or not _SPARE.acquire(blocking=False):
            return
        self._doubted = now
        try:
            self._spare = self._open(True)
        except (EveryframeError, OSError):  # told when it is wanted
            _SPARE.release()

    def _take_spare(self) -> Reader | None:
        reader, self._spare = self._spare, None
        if reader is not None:
            _SPARE.release()
        return reader

    def _leave_spare(self) -> None:
        if (reader := self._take_spare()) is not None:
            reader.close()

    def _end_connection(self) -> None:
        with self._lock:
            reader, self._reader = self._reader, None
            if reader is None:
                return
            self._before = _sum(self._before, reader.counts)
        reader.close()
        self._take_notes(reader)
        self.thumbnails += reader.thumbnails
        del self.thumbnails[:-96]
        self._from = None
        self._arrivals.clear()

    def _take_notes(self, reader: Reader) -> None:
        self.notes += [note for note in reader.notes if note not in self.notes]

    def _placed(self, frame: Frame) -> Frame:
        """On the clock of all connections: where it begins, and where the source's own clock leaps, that of this machine says."""
        if self._began is None:
            self._began = frame.at
        before, last = self._from, self._last
        self._since = frame.at if before is None else self._since
        self._tries = 0 if frame.at - self._since >= STEADY_S else self._tries
        leap = 0.0 if before is None else (frame.pts_s - before.pts_s) - (frame.at - before.at)
        if before is None:
            self._offset_s = frame.at - self._began - frame.pts_s
            self._offset = last.index + 1 - frame.index if last is not None else 0
        elif leap > LEAP_S:
            self._offset_s -= leap
            self.notes.append(f"the source's clock leapt ahead by {leap:.1f} s")
            del self.notes[:-50]
        pts_s = max(frame.pts_s + self._offset_s, last.pts_s if last is not None else 0.0)
        gap_s = pts_s - last.pts_s if last is not None else 0.0
        self.gap_s = gap_s if gap_s > self.gap else 0.0
        self._from, self._last = frame, Frame(frame.data, pts_s, frame.index + self._offset, frame.at)
        self._watch(self._last, last)
        if self.gap_s:
            self.tell(Gap(gap_s, pts_s))
        return self._last

    def _watch(self, frame: Frame, last: Frame | None) -> None:
        same = last is not None and frame.data.shape == last.data.shape and bool((frame.data == last.data).all())
        if not same:
            self._changed_at = frame.at
        self.still_s = frame.at - self._changed_at
        self._arrivals.append((frame.at, frame.index))
        while self._arrivals[0][0] < frame.at - RATE_S:
            self._arrivals.popleft()
        if self._reader is not None:
            self._take_notes(self._reader)
        if self.state != "live":
            self._change("live", f"after {frame.at - last.at:.1f} s" if last is not None else "")

    def _change(self, state: str, reason: str) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self.tell(Change(state, reason, time.time()))


def _sum(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
