"""The decode process: decode, sample, prepare, write. Started by `reader`; imports nothing but video modules.

It writes to the pipe that was its standard output and ends when that pipe is closed. Everything that can go wrong
travels as a pickled EveryframeError; what cannot (a crash of a codec) shows as a closed pipe. While nothing else is to be said it
says every BEAT_S that it lives, and for how long the source has not gone on: the parent judges.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from everyframe.errors import EveryframeError, SourceError
from everyframe.video.frame import Decoded
from everyframe.video.masks import Masks
from everyframe.video.packets import Tapped
from everyframe.video.preprocess import prepare
from everyframe.video.protocol import ALIVE, BEAT_S, END, ERROR, FRAME, HEADER, NOTE, PREVIEW, THUMBNAIL, Order
from everyframe.video.sampling import as_fps, sample

THUMBNAIL_GAP_S, THUMBNAILS_A_GAP = 0.25, 48  # after so many, the gap doubles
#: bytes of packets that wait for a busy reader
PACKETS = 32 << 20


def main() -> None:
    order = Order.loads(sys.argv[1] if len(sys.argv) > 1 else sys.stdin.read())
    if order.bounds is not None:
        resource.setrlimit(resource.RLIMIT_AS, (order.bounds.memory, order.bounds.memory))
        resource.setrlimit(resource.RLIMIT_CPU, (order.bounds.cpu_s, order.bounds.cpu_s))
    pipe = os.dup(1)
    os.dup2(2, 1)  # whatever prints, prints elsewhere
    with contextlib.suppress(BrokenPipeError):  # the parent has what it wants
        if not order.held or _let_go(order):
            _serve(order, pipe)
    os._exit(0)  # decoder threads need no farewell


def _let_go(order: Order) -> bool:
    """Waits, with all that takes time to load in memory, until the source may be opened. False: the parent has gone."""
    from everyframe.video import decode  # noqa: F401

    return bool(os.read(order.asked, 1))


def _serve(order: Order, pipe: int) -> None:
    lane = (_Latest if order.policy == "latest" else _Every)(pipe, order)
    lane.start()
    try:
        for kind, frame, data in _messages(order, lane):
            lane.put(kind, frame, data)
    except EveryframeError as error:
        if error.where == order.source.paths[0]:
            error.where = order.source.where
        lane.end(ERROR, pickle.dumps(error))
    except BrokenPipeError:
        raise
    except Exception as error:  # ours or PyAV's fault; either way the user is told, not left waiting
        what = SourceError("The video cannot be decoded.", where=order.source.where, got=f"{type(error).__name__}: {error}")
        lane.end(ERROR, pickle.dumps(what))
    else:
        lane.end(END, b"")


def _messages(order: Order, lane: _Lane) -> Iterator[tuple[bytes, Decoded, np.ndarray]]:
    from everyframe.video.decode import decode

    rate = as_fps(order.fps) if order.fps else Fraction(25)
    masks = Masks(order.masks, order.region)
    small, smaller = Order(order.source, "rgb", order.thumbnails or None), Order(order.source, "rgb", order.preview or None)
    whole = Order(order.source, "rgb")
    begun = time.monotonic()
    next_thumbnail, thumbnail_gap, thumbnails, next_preview = 0.0, THUMBNAIL_GAP_S, 0, 0.0
    shown: Decoded | None = None
    data = np.empty(0, np.uint8)
    tap = Tapped(lane.packet) if order.packets else None

    def beating() -> Iterator[Decoded]:
        for frame in decode(order.source, picture_rate=rate, note=lane.note, tap=tap, bounds=order.bounds):
            lane.decoded(frame)
            yield frame

    live = order.source.live or order.source.keyframes  # what lies between key frames was not decoded: no picture stands for it
    for frame in sample(beating(), fps=order.fps, every_n=order.every_n, live=live):
        if order.realtime:
            while (wait := begun + float(frame.pts) - time.monotonic()) > 0:
                time.sleep(min(wait, BEAT_S / 2))
                lane.moved()
        if frame is not shown:  # a slow source repeats frames
            picture = masks(prepare(frame.picture, whole)) if masks else frame.picture
            data, shown = prepare(picture, order), frame
            if order.thumbnails and frame.pts >= next_thumbnail:
                yield THUMBNAIL, frame, prepare(picture, small)
                thumbnails += 1
                if thumbnails % THUMBNAILS_A_GAP == 0:
                    thumbnail_gap *= 2
                next_thumbnail = float(frame.pts) + thumbnail_gap
            if order.preview and time.monotonic() >= next_preview:
                yield PREVIEW, frame, prepare(picture, smaller)
                next_preview = time.monotonic() + order.preview_s
        yield FRAME, frame, data


def _write(pipe: int, *parts: bytes | memoryview) -> None:
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(pipe, view) :]


class _Lane:
    """captured: frames that the network is to see; dropped: of those, what came too late. stuck: pictures that came since the
    source's clock last went on.
    """

    def __init__(self, pipe: int, order: Order) -> None:
        self.pipe, self.size, self.live = pipe, order.buffer, order.source.live
        self.captured = self.dropped = self.stuck = 0
        self._pts = Fraction(-1)
        self._moved_at = time.monotonic()
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def decoded(self, frame: Decoded) -> None:
        """Whoever sends pictures while its clock stands still has not gone on."""
        self.stuck += 1
        if not self.live or frame.pts > self._pts:
            self._pts = frame.pts
            self.moved()

    def moved(self) -> None:
        self._moved_at, self.stuck = time.monotonic(), 0

    def pack(
        self, kind: bytes, frame: Decoded, data: np.ndarray, at: float, captured: int, dropped: int
    ) -> tuple[bytes, memoryview]:
        h, w, c = data.shape
        still = time.monotonic() - self._moved_at
        head = HEADER.pack(kind, h, w, c, frame.index, data.nbytes, captured, dropped, float(frame.pts), at, still)
        return head, data.reshape(-1).data

    def blank(self, kind: bytes, payload: bytes = b"") -> bytes:
        now = time.monotonic()
        numbers = (self.stuck, len(payload), self.captured, self.dropped, float(self._pts), now, now - self._moved_at)
        return HEADER.pack(kind, 0, 0, 0, *numbers) + payload

    def put(self, kind: bytes, frame: Decoded, data: np.ndarray) -> None:
        raise NotImplementedError

    def packet(self, kind: bytes, payload: bytes) -> None:
        raise NotImplementedError

    def note(self, text: str) -> None:
        raise NotImplementedError

    def end(self, kind: bytes, payload: bytes) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        try:
            self._speak()
        except BrokenPipeError:  # the parent has gone
            os._exit(0)

    def _speak(self) -> None:
        """What the thread does: says that this process lives, and what is to be said beside."""
        raise NotImplementedError


class _Every(_Lane):
    """Writes each frame and waits until there is room: nothing is lost."""

    def put(self, kind: bytes, frame: Decoded, data: np.ndarray) -> None:
        with self.changed:
            self.captured += kind == FRAME
            self._say(*self.pack(kind, frame, data, time.monotonic(), self.captured, 0))

    def packet(self, kind: bytes, payload: bytes) -> None:
        with self.changed:
            self._say(self.blank(kind, payload))

    def _say(self, *parts: bytes | memoryview) -> None:
        begun = time.monotonic()
        _write(self.pipe, *parts)
        self._moved_at += time.monotonic() - begun  # it was not the source that was waited for

    def note(self, text: str) -> None:
        self.packet(NOTE, text.encode())

    def end(self, kind: bytes, payload: bytes) -> None:
        self.packet(kind, payload)

    def _speak(self) -> None:
        while True:
            time.sleep(BEAT_S)
            self.packet(ALIVE, b"")


class _Latest(_Lane):
    """Keeps the newest frames while the reader is busy and counts those that it dropped. A thread does the writing: a frame for
    each byte that comes from the parent, since those that lie in a pipe grow old.
    """

    def __init__(self, pipe: int, order: Order) -> None:
        super().__init__(pipe, order)
        self.waiting: deque[tuple[bytes, Decoded, np.ndarray, float, int]] = deque()
        self.preview: tuple[bytes, Decoded, np.ndarray, float, int] | None = None
        self.words: deque[bytes] = deque()
        self.packets: deque[bytes] = deque()
        self.packet_bytes = 0
        self.last_word: tuple[bytes, bytes] | None = None
        self.asked, self.ear = 0, order.asked

    def start(self) -> None:
        super().start()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while asked := os.read(self.ear, 16):
            with self.changed:
                self.asked += len(asked)
                self.changed.notify()
        os._exit(0)  # the parent has gone

    def put(self, kind: bytes, frame: Decoded, data: np.ndarray) -> None:
        with self.changed:
            self.captured += kind == FRAME
            item = (kind, frame, data, time.monotonic(), self.captured)
            if kind == PREVIEW:  # the newest is enough, and no frame makes room for it
                self.preview = item
            else:
                while len(self.waiting) >= self.size:
                    self.dropped += self.waiting.popleft()[0] == FRAME
                self.waiting.append(item)
            self.changed.notify()

    def packet(self, kind: bytes, payload: bytes) -> None:
        with self.changed:
            self.packets.append(self.blank(kind, payload))
            self.packet_bytes += len(payload)
            while self.packet_bytes > PACKETS:
                self.packet_bytes -= len(self.packets.popleft()) - HEADER.size
            self.changed.notify()

    def note(self, text: str) -> None:
        with self.changed:
            self.words.append(self.blank(NOTE, text.encode()))
            self.changed.notify()

    def end(self, kind: bytes, payload: bytes) -> None:
        with self.changed:
            self.last_word = kind, payload
            self.changed.notify()
        self.thread.join()

    def _something(self) -> bool:
        """What may be said now."""
        frames = self.asked and self.waiting
        return bool(frames or self.words or self.packets or self.preview or (self.last_word and not self.waiting))

    def _speak(self) -> None:
        while True:
            with self.changed:
                idle = not self.changed.wait_for(self._something, timeout=BEAT_S)
                said = [*self.words, *self.packets, *([self.blank(ALIVE)] if idle else [])]
                self.words.clear()
                self.packets.clear()
                self.packet_bytes = 0
                item = self.waiting.popleft() if self.asked and self.waiting else None
                self.asked -= item is not None and item[0] == FRAME
                preview, self.preview = self.preview, None
                word = self.last_word if item is None and not self.waiting else None
                dropped = self.dropped
            if item is not None:
                _write(self.pipe, *self.pack(*item, dropped))
            _write(self.pipe, *said)
            if preview is not None:
                _write(self.pipe, *self.pack(*preview, dropped))
            if word is not None:
                _write(self.pipe, self.blank(*word))
                return
