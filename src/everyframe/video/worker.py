"""The decode process: decode, sample, prepare, write. Started by `reader`; imports nothing but video modules.

It writes to the pipe that was its standard output and ends when that pipe is closed. Everything that can go wrong
travels as a pickled EveryframeError; what cannot (a crash of a codec) shows as a closed pipe.
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
from everyframe.video.preprocess import prepare
from everyframe.video.protocol import ALIVE, END, ERROR, FRAME, HEADER, NOTE, THUMBNAIL, Order
from everyframe.video.sampling import as_fps, sample

BEAT_S = 1.0
THUMBNAIL_GAP_S, THUMBNAILS_A_GAP = 0.25, 48  # after so many, the gap doubles


def main() -> None:
    order = Order.loads(sys.argv[1] if len(sys.argv) > 1 else sys.stdin.read())
    if order.bounds is not None:
        resource.setrlimit(resource.RLIMIT_AS, (order.bounds.memory, order.bounds.memory))
        resource.setrlimit(resource.RLIMIT_CPU, (order.bounds.cpu_s, order.bounds.cpu_s))
    pipe = os.dup(1)
    os.dup2(2, 1)  # whatever prints, prints elsewhere
    with contextlib.suppress(BrokenPipeError):  # the parent has what it wants
        _serve(order, pipe)
    os._exit(0)  # decoder threads need no farewell


def _serve(order: Order, pipe: int) -> None:
    lane = _Latest(pipe, order.buffer) if order.policy == "latest" else _Every(pipe)
    try:
        for kind, frame, data in _messages(order, lane):
            lane.put(kind, frame, data)
    except EveryframeError as error:
        lane.end(ERROR, pickle.dumps(error))
    except BrokenPipeError:
        raise
    except Exception as error:  # ours or PyAV's fault; either way the user is told, not left waiting
        what = SourceError("The video cannot be decoded.", where=order.source.paths[0], got=f"{type(error).__name__}: {error}")
        lane.end(ERROR, pickle.dumps(what))
    else:
        lane.end(END, b"")


def _messages(order: Order, lane: _Latest | _Every) -> Iterator[tuple[bytes, Decoded, np.ndarray]]:
    from everyframe.video.decode import decode

    rate = as_fps(order.fps) if order.fps else Fraction(25)
    small = Order(order.source, "rgb", order.thumbnails or None)
    begun = time.monotonic()
    next_thumbnail, thumbnail_gap, thumbnails = 0.0, THUMBNAIL_GAP_S, 0
    shown: Decoded | None = None
    data = np.empty(0, np.uint8)

    def beating() -> Iterator[Decoded]:
        for frame in decode(order.source, picture_rate=rate, note=lane.note, bounds=order.bounds):
            lane.beat()
            yield frame

    for frame in sample(beating(), fps=order.fps, every_n=order.every_n, live=order.source.live):
        if order.realtime:
            while (wait := begun + float(frame.pts) - time.monotonic()) > 0:
                time.sleep(min(wait, BEAT_S / 2))
                lane.beat()
        if frame is not shown:  # a slow source repeats frames
            data, shown = prepare(frame.picture, order), frame
            if order.thumbnails and frame.pts >= next_thumbnail:
                yield THUMBNAIL, frame, prepare(frame.picture, small)
                thumbnails += 1
                if thumbnails % THUMBNAILS_A_GAP == 0:
                    thumbnail_gap *= 2
                next_thumbnail = float(frame.pts) + thumbnail_gap
        yield FRAME, frame, data


def _write(pipe: int, *parts: bytes | memoryview) -> None:
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(pipe, view) :]


def _pack(kind: bytes, frame: Decoded, data: np.ndarray, dropped: int) -> tuple[bytes, memoryview]:
    h, w, c = data.shape
    header = HEADER.pack(kind, dropped, frame.index, float(frame.pts), h, w, c, data.nbytes)
    return header, data.reshape(-1).data


def _blank(kind: bytes, payload: bytes = b"", dropped: int = 0) -> bytes:
    return HEADER.pack(kind, dropped, 0, 0.0, 0, 0, 0, len(payload)) + payload


class _Every:
    """Writes each frame and waits until there is room: nothing is lost."""

    def __init__(self, pipe: int) -> None:
        self.pipe, self.wrote_at = pipe, time.monotonic()

    def put(self, kind: bytes, frame: Decoded, data: np.ndarray) -> None:
        _write(self.pipe, *_pack(kind, frame, data, 0))
        self.wrote_at = time.monotonic()

    def note(self, text: str) -> None:
        _write(self.pipe, _blank(NOTE, text.encode()))

    def beat(self) -> None:
        if time.monotonic() - self.wrote_at > BEAT_S:
            _write(self.pipe, _blank(ALIVE))
            self.wrote_at = time.monotonic()

    def end(self, kind: bytes, payload: bytes) -> None:
        _write(self.pipe, _blank(kind, payload))


class _Latest:
    """Keeps the newest frames while the reader is busy and counts those that it dropped. A thread does the writing."""

    def __init__(self, pipe: int, size: int) -> None:
        self.pipe, self.size, self.dropped = pipe, size, 0
        self.waiting: deque[tuple[bytes, Decoded, np.ndarray]] = deque()
        self.notes: deque[bytes] = deque()
        self.last_word: bytes | None = None
        self.changed = threading.Condition()
        self.alive = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def put(self, kind: bytes, frame: Decoded, data: np.ndarray) -> None:
        with self.changed:
            while len(self.waiting) >= self.size:
                self.dropped += self.waiting.popleft()[0] == FRAME
            self.waiting.append((kind, frame, data))
            self.changed.notify()

    def note(self, text: str) -> None:
        with self.changed:
            self.notes.append(_blank(NOTE, text.encode()))
            self.changed.notify()

    def beat(self) -> None:
        with self.changed:
            self.alive = True

    def end(self, kind: bytes, payload: bytes) -> None:
        with self.changed:
            self.last_word = _blank(kind, payload, self.dropped)
            self.changed.notify()
        self.thread.join()

    def _run(self) -> None:
        try:
            while True:
                with self.changed:
                    self.changed.wait_for(lambda: bool(self.waiting or self.notes or self.last_word), timeout=BEAT_S)
                    notes = [self.notes.popleft() for _ in range(len(self.notes))]
                    item = self.waiting.popleft() if self.waiting else None
                    word = self.last_word if item is None else None
                    alive, self.alive = self.alive, False
                    dropped = self.dropped
                _write(self.pipe, *notes)
                if item is not None:
                    _write(self.pipe, *_pack(*item, dropped))
                elif word is not None:
                    _write(self.pipe, word)
                    return
                elif alive:
                    _write(self.pipe, _blank(ALIVE))
        except BrokenPipeError:
            os._exit(0)
