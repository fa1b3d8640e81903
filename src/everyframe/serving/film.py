"""A client's pictures as a coded video: a decode process, and what to do where a picture is missing."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable

import numpy as np

from everyframe.errors import EveryframeError, StateError
from everyframe.serving.frames import Sent
from everyframe.serving.limits import Limits
from everyframe.video.coded import Decoder

#: decode processes of one stream; one that was ended by what it was sent is not started over and over
PROCESSES = 4
#: times of pictures that a decoder may hold back
_HELD = 32


class Film:
    """codec: what pictures are coded with from now on. `begin` and `pictures` are for one thread at a time."""

    def __init__(self, limits: Limits, start: Callable[..., Decoder] = Decoder) -> None:
        self.codec = ""
        self._newest: int | None = None  # number of the picture up to which nothing is missing
        self._limits, self._start = limits, start
        self._decoder: Decoder | None = None
        self._times: deque[tuple[int, float]] = deque(maxlen=_HELD)
        self._processes = 0
        self._closed = False

    def begin(self, codec: str) -> None:
        """Blocks until its decode process is there. What is wrong with that is told by the next picture."""
        self.codec, self._newest = codec, None
        with contextlib.suppress(EveryframeError):
            self._running().begin()

    def pictures(self, sent: Sent) -> list[tuple[float, np.ndarray]] | EveryframeError:
        """Times and pictures (h, w, 3) uint8 RGB; or why there are none."""
        before, self._newest = self._newest, None
        try:
            if not sent.key and (before is None or sent.number != before + 1):
                raise StateError("A picture before this one is missing.", expected="a key frame")
            self._times.append((sent.number, sent.pts_s))
            found = self._running().decode(sent.number, sent.data)
        except EveryframeError as error:
            return error
        self._newest = sent.number
        times = dict(self._times)
        return [(times.get(number, sent.pts_s), picture) for number, picture in found]

    def close(self) -> None:
        """From any thread."""
        self._closed = True
        if self._decoder is not None:
            self._decoder.close()

    def _running(self) -> Decoder:
        decoder = self._decoder
        if decoder is not None and decoder.codec == self.codec and decoder.runs:
            return decoder
        if decoder is not None:
            decoder.close()
        if self._processes >= PROCESSES or self._closed:
            raise StateError("Decoding went wrong too often.", expected=f"at most {PROCESSES} times", hint="send JPEGs")
        self._processes += 1
        limits = self._limits
        self._decoder = self._start(self.codec, limits.decoding, limits.silent_s)
        if self._closed:
            self._decoder.close()
        return self._decoder
