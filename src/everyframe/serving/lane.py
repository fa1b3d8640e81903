"""One client's stream: frames come in at the client's pace, answers go out at this machine's, never more than two lie between."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from everyframe.errors import EveryframeError, SourceError, StateError, UsageError
from everyframe.runtime.handed import seconds
from everyframe.runtime.prediction import Prediction
from everyframe.serving.film import Film
from everyframe.serving.frames import Sent, decoded
from everyframe.serving.limits import Limits
from everyframe.serving.metrics import Metrics
from everyframe.serving.refusals import words
from everyframe.serving.shelf import Edition, Served, swapped
from everyframe.serving.stepper import Stepper, apart
from everyframe.video.coded import CODECS

Message = dict[str, Any]
#: of a client that does not wait for answers
ORDERS = 16


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants of its stream. live: frames come as they happen, rather than from a file, which waits for its answers.
    scores: of all labels, with every prediction.
    """

    live: bool = True
    top_k: int = 5
    scores: bool = False


class Lane:
    """offer, reset, end and close are called in the event loop (UsageError: too many orders), `answers` is awaited there by one
    task. The stream itself is touched only by its turns, in the threads of the stepper, one at a time.
    """

    def __init__(self, served: Served, stepper: Stepper, metrics: Metrics, limits: Limits, wish: Wish) -> None:
        self.served, self.wish = served, wish
        self.received = self.processed = self.dropped = 0  # frames; received = processed + dropped + unanswered
        self._stepper, self._metrics, self._limits = stepper, metrics, limits
        self._waiting: deque[Sent | str] = deque()  # frames and orders
        self._stepping: Sent | None = None
        self._closed = False
        self._changed = asyncio.Event()
        self._edition: Edition | None = None
        self._stream: Any = None
        self._last: float | None = None  # the last frame's time
        self._film = Film(limits)

    @property
    def unanswered(self) -> list[Sent]:
        return [each for each in (self._stepping, *self._waiting) if isinstance(each, Sent)]

    @property
    def full(self) -> bool:
        return len(self.unanswered) >= self._limits.unanswered

    def offer(self, sent: Sent) -> None:
        """One more frame. Where there are too many unanswered, the oldest that waits is dropped; of a coded video, those behind
        it are answered without being looked at, until a key frame comes.
        """
        self.received += 1
        self._metrics.count("frames_received_total", model=self.served.name)
        if self.full:
            self._drop(1)
        self._put(sent)

    def reset(self, live: bool | None = None) -> None:
        """The next frame is the first. Those that wait are dropped."""
        self._check_orders()
        self._drop(len(self._waiting))
        self.wish = Wish(self.wish.live if live is None else live, self.wish.top_k, self.wish.scores)
        self._put("reset")

    def video(self, codec: str) -> None:
        """Coded pictures are of this kind from now on."""
        self._check_orders()
        if codec not in CODECS:
            raise UsageError("Pictures coded like this are not taken.", expected=", ".join(CODECS), got=codec[:40])
        self._put(f"video {codec}")

    def end(self) -> None:
        """No more frames of this video: what its last frame still owes is answered. The next frame is the first of another."""
        self._check_orders()
        self._put("end")

    def close(self) -> None:
        """What waits is still answered."""
        self._closed = True
        self._changed.set()

    def counts(self) -> Message:
        """Of frames; and the numbers of those that are still to be answered."""
        return {
            "received": self.received, "processed": self.processed, "dropped": self.dropped,
            "unanswered": [each.number for each in self.unanswered],
        }  # fmt: skip

    def free(self) -> None:
        """The state, and frames that nobody waits for any more."""
        self._drop(len(self._waiting))
        self._stream = self._edition = None
        threading.Thread(target=self._film.close, daemon=True).start()

    async def room(self) -> None:
        """Until one more frame can come without another being dropped."""
        while self.full and not self._closed:
            self._changed.clear()
            await self._changed.wait()

    async def answers(self) -> list[Message] | None:
        """To the next frame or order. None: there will be no more."""
        while not self._waiting:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        what = self._waiting.popleft()
        self._stepping = what if isinstance(what, Sent) else None
        try:
            pictures = None
            if isinstance(what, Sent) and what.coded:
                pictures = await apart(functools.partial(self._film.pictures, what))
            elif isinstance(what, str) and what.startswith("video"):
                await apart(functools.partial(self._film.begin, what.split()[1]))
            turn = functools.partial(self._turn, what, pictures)
            made = await asyncio.wrap_future(self._stepper.submit(self.served.program, turn))
        finally:
            self._stepping = None
            self._changed.set()
        if isinstance(what, Sent):
            self.processed += 1
            taken = time.perf_counter() - what.arrived
            self._metrics.count("frames_processed_total", model=self.served.name)
            self._metrics.observe("answer_seconds", taken, model=self.served.name)
            made[-1].update(ms=round(1e3 * taken, 2))
        made[-1].update(received=self.received, dropped=self.dropped)
        return made

    def _check_orders(self) -> None:
        if len(self._waiting) >= ORDERS:
            raise UsageError("Too many orders wait for their answers.", expected=f"fewer than {ORDERS}")

    def _put(self, what: Sent | str) -> None:
        self._waiting.append(what)
        self._changed.set()

    def _drop(self, most: int) -> None:
        for sent in [each for each in self._waiting if isinstance(each, Sent)][:most]:
            self._waiting.remove(sent)
            self.dropped += 1
            self._metrics.count("frames_dropped_total", model=self.served.name)

    # in a thread of the stepper

    def _turn(self, what: Sent | str, pictures: list[tuple[float, np.ndarray]] | EveryframeError | None) -> list[Message]:
        """pictures: of a coded video."""
        if what == "reset":
            self._stream = None
            return [{"type": "reset"}]
        if what == "end":
            stream, self._stream = self._stream, None
            return [{"type": "end", "predictions": [self._said(each) for each in stream.feed_end()] if stream else []}]
        if isinstance(what, str):  # video
            return [{"type": "video", "codec": self._film.codec}]
        made = self._current()
        answer: Message = {"type": "answer", "frame": what.number, "pts_s": what.pts_s, "predictions": []}
        try:
            if isinstance(pictures, EveryframeError):
                raise pictures
            for pts_s, picture in [(what.pts_s, decoded(what, self._limits))] if pictures is None else pictures:
                self._check_gap(pts_s)
                answer["predictions"] += [self._said(each) for each in self._stream.feed(picture, seconds(pts_s))]
                self._last = pts_s
        except EveryframeError as error:
            answer["error"] = words(error, where=f"frame {what.number}")
            if not isinstance(error, StateError | SourceError):  # its memory may be spoilt
                self._stream = None
        if isinstance(pictures, EveryframeError):  # nothing can be decoded until there is one
            answer["key"] = True
        return [*made, answer]

    def _check_gap(self, pts_s: float) -> None:
        if not self.wish.live and self._last is not None and pts_s - self._last > self._limits.gap_s:
            raise StateError(
                "Frames of a file lie too far apart.", expected=f"at most {self._limits.gap_s:g} s",
                got=pts_s - self._last, hint="reset the stream, or send them live",
            )  # fmt: skip

    def _current(self) -> list[Message]:
        """Makes the stream where there is none of the newest edition; a message where another one was in use."""
        edition, before = self.served.edition, self._edition
        if self._stream is not None and edition is before:
            return []
        self._stream, self._edition, self._last = edition.program.stream(top_k=self.wish.top_k), edition, None
        self._stream.expect(live=self.wish.live)
        if before is None or before is edition:
            return []
        return [swapped(before, edition)]

    def _said(self, prediction: Prediction) -> Message:
        self._metrics.count("predictions_total", model=self.served.name)
        self._metrics.observe("step_seconds", prediction.latency_ms / 1e3, model=self.served.name)
        if prediction.event is not None:
            self._metrics.count("events_total", model=self.served.name, label=prediction.event.label)
        return said(prediction, scores=self.wish.scores)


def said(prediction: Prediction, *, scores: bool) -> Message:
    """As it is sent."""
    made = {**prediction.to_dict(), "step_ms": round(prediction.latency_ms, 3)}
    if scores:
        made["scores"] = prediction.scores.astype(float).tolist()
    return made
