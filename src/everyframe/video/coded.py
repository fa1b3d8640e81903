"""Coded pictures that a stranger sends, one after another, decoded in a process of their own with limits.

    with Decoder("h264", Bounds()) as decoder:
        for number, picture in decoder.decode(0, data):    # (h, w, 3) uint8 RGB: none, one, or several that had waited
            ...

There is no container that would have to be looked into: each packet is one picture, and is answered before the next one is sent.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import struct
import subprocess
import sys
import threading
import time
from typing import Any, cast

import numpy as np

from everyframe.errors import SourceError
from everyframe.video.bounds import Bounds
from everyframe.video.ending import end
from everyframe.video.protocol import END, ERROR, FRAME, HEADER, Order
from everyframe.video.sources import Source

#: what FFmpeg decodes by itself, and browsers encode
CODECS = ("h264", "vp9", "vp8")
#: number of the picture, bytes of its packet
_PACKET = struct.Struct("<QI")
_START = "import sys; sys.path[:] = sys.argv[4:]; from everyframe.video.coded import main; main(*sys.argv[1:4])"


class Decoder:
    """The process starts at once. patience: seconds until it has, and for each packet, instead of a limit of processor time: a
    stream may go on for days. Raises SourceError where it cannot be started.
    """

    def __init__(self, codec: str, bounds: Bounds, patience: float = 15.0) -> None:
        if codec not in CODECS:
            raise SourceError("Pictures coded like this are not taken.", expected=", ".join(CODECS), got=codec[:40])
        command = [sys.executable, "-P", "-c", _START, codec, str(bounds.memory), str(bounds.pixels), *sys.path]
        options: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.DEVNULL,
            "bufsize": 0,
        }
        try:
            self._process = subprocess.Popen(command, **options)
        except OSError as error:
            raise SourceError("The decode process cannot be started.", got=error.strerror) from None
        self.codec, self.patience = codec, patience
        self._pixels, self._lock, self._starting = bounds.pixels, threading.Lock(), True
        self._in, self._out = (cast(Any, pipe).fileno() for pipe in (self._process.stdin, self._process.stdout))
        os.set_blocking(self._in, False)

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Calling it again does nothing; from another thread it ends what waits."""
        self._process.kill()
        with self._lock:
            for pipe in (self._process.stdin, self._process.stdout):
                cast(Any, pipe).close()
            end(self._process)

    def decode(self, number: int, data: bytes | memoryview) -> list[tuple[int, np.ndarray]]:
        """Pictures that are ready now, with the numbers of their packets. Raises SourceError; then decoding goes on at a key
        frame, if the process still `runs`.
        """
        with self._lock:
            self._begin()
            return self._decode(number, data, time.monotonic() + self.patience)

    def begin(self) -> None:
        """Waits until the process has all in memory that it needs. Raises SourceError."""
        with self._lock:
            self._begin()

    def _begin(self) -> None:
        if self._starting:
            self._starting = False
            self._answers(time.monotonic() + self.patience)

    def _decode(self, number: int, data: bytes | memoryview, until: float) -> list[tuple[int, np.ndarray]]:
        try:
            self._send(_PACKET.pack(number, len(data)), until)
            self._send(data, until)
        except OSError as error:
            raise self._over(error) from None
        return self._answers(until)

    def _answers(self, until: float) -> list[tuple[int, np.ndarray]]:
        made: list[tuple[int, np.ndarray]] = []
        try:
            while True:
                kind, h, w, c, index, size, *_ = HEADER.unpack(self._take(HEADER.size, until))
                if size > 3 * self._pixels:
                    raise OSError("this is not what was asked for")
                payload = self._take(size, until)
                if kind == ERROR:
                    raise SourceError("This coded picture is damaged.", got=payload.decode(errors="replace") or None)
                if kind == END:
                    return made
                made.append((index, np.frombuffer(payload, np.uint8).reshape(h, w, c)))
        except (OSError, ValueError) as error:
            raise self._over(error) from None

    def _over(self, error: Exception) -> SourceError:
        self._process.kill()
        if isinstance(error, TimeoutError):
            return SourceError("A picture takes too long to decode.", expected=f"at most {self.patience:g} s")
        return SourceError("The decoder crashed on this picture.")

    def _wait(self, descriptor: int, event: int, until: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, 1e3 * (until - time.monotonic()))):
            raise TimeoutError

    def _send(self, data: bytes | memoryview, until: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._in, select.POLLOUT, until)
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(self._in, view) :]

    def _take(self, size: int, until: float) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            self._wait(self._out, select.POLLIN, until)
            got = os.readv(self._out, [view])
            if not got:
                raise OSError("the process has ended")
            view = view[got:]
        return data


# in the process


def main(codec: str, memory: str, pixels: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    import av
    import av.error

    from everyframe.video.preprocess import prepare

    # a copy, and the original elsewhere: whatever prints does not disturb
    pipe, whole = os.dup(1), Order(Source("stdin", "", ("",)))
    os.dup2(2, 1)

    def say(kind: bytes, payload: bytes | memoryview = b"", shape: tuple[int, ...] = (0, 0, 0), number: int = 0) -> None:
        for part in (HEADER.pack(kind, *shape, number, len(payload), 0, 0, 0.0, 0.0, 0.0), payload):
            view = memoryview(part)
            while view:
                view = view[os.write(pipe, view) :]

    say(END)  # that it is ready
    context: av.VideoCodecContext | None = None
    while head := sys.stdin.buffer.read(_PACKET.size):
        number, size = _PACKET.unpack(head)
        packet = av.Packet(sys.stdin.buffer.read(size))
        packet.pts = packet.dts = number
        try:
            context = context or _context(codec, int(pixels))
            for frame in context.decode(packet):
                picture = prepare(frame, whole)
                say(FRAME, picture.reshape(-1).data, picture.shape, number if frame.pts is None else frame.pts)
        except (av.error.FFmpegError, MemoryError, SourceError) as error:
            context = None  # what it remembers may be spoilt
            say(ERROR, (getattr(error, "strerror", None) or type(error).__name__).encode())
        else:
            say(END)


def _context(codec: str, pixels: int) -> Any:
    import av
    from av.codec.context import Flags

    context = av.CodecContext.create(codec, "r")
    context.thread_count = 1  # threads hold pictures back
    context.flags |= Flags.low_delay
    context.options = {"max_pixels": str(pixels)}
    return context
