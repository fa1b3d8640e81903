"""One camera: a decode process that is watched, a stream through a program, and what they say. A thread of its own.

    camera = Camera("door", source, program, tell=heard)
    camera.start()
    ...
    camera.stop(); camera.join()

`tell(camera, said)` is called in the camera's thread with each Prediction, each Change of its state, and each Gap after which the
network began anew, in order. An exception that it raises ends the camera and is kept in `error`. What the world does wrong never
does: it is a state, with a reason.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from everyframe.errors import EveryframeError
from everyframe.modelfile.interface import check_picture, check_pictures
from everyframe.runtime.prediction import Prediction
from everyframe.runtime.program import Program
from everyframe.runtime.stream import Stream
from everyframe.video.frame import Frame
from everyframe.video.sources import Source
from everyframe.video.supervise import Change, Gap, LiveReader

Said = Prediction | Change | Gap
#: one frame through a stream: who steps several cameras together gives another one
Step = Callable[[Stream, Frame], Prediction | None]


@dataclass(frozen=True, slots=True)
class Status:
    """state: connecting, live, lost, failed or stopped, and the reason. since: seconds since 1970. fps: frames a second that the
    camera really sends. captured: frames that the network was to see; processed: those it saw; dropped: those that came too late:
    captured == processed + dropped. restarts: of the decode process. resets: how often the network began anew after a gap.
    latency_ms: from having the newest picture decoded to knowing what it shows. still_s: for how long the picture is the same.
    """

    name: str
    source: str
    model: str
    state: str
    reason: str
    since: float
    fps: float | None
    captured: int
    processed: int
    dropped: int
    restarts: int
    resets: int
    predictions: int
    latency_ms: float | None
    still_s: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Camera:
    """tell: see above. preview: short side of the newest picture, 0 for none. options: as `Reader` and `LiveReader` have them:
    policy, masks, region, stall, gap, ring. Raises ModelError for a model that takes no pictures.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        program: Program,
        *,
        tell: Callable[[Camera, Said], None] = lambda camera, said: None,
        preview: int = 360,
        step: Step = Stream.push_frame,
        **options: Any,
    ) -> None:
        check_pictures(program.interface, program.path)
        self.name, self.source, self.program = name, source, program
        self.tell, self.step = tell, step
        self.error: BaseException | None = None
        self.last: Prediction | None = None  # the newest
        self._options = {"preview": preview, **options}
        self._reader: LiveReader | None = None
        self._before = (0, 0, 0, 0)  # captured, processed, dropped, restarts with former models
        self._predictions = self._resets = 0
        self._base = 0  # frames that went into former streams
        self._latency_s: float | None = None
        self._notes: tuple[str, ...] = ()
        self._change = Change("connecting", "", 0.0)
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """From any thread; returns at once."""
        self._ending.set()
        self._interrupt()

    def join(self, timeout: float | None = None) -> bool:
        """Whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def switch(self, program: Program) -> None:
        """From the next frames on, another model; who waits for predictions goes on waiting."""
        check_pictures(program.interface, program.path)
        with self._lock:
            self.program = program
        self._interrupt()

    @property
    def preview(self) -> np.ndarray | None:
        """(h, w, 3) uint8 RGB: the newest picture, with its masks; None while there is none that is new."""
        reader = self._reader
        frame = reader.preview if reader is not None else None
        return None if frame is None else frame.data

    @property
    def status(self) -> Status:
        with self._lock:
            reader, change = self._reader, self._change
            captured, processed, dropped, restarts = self._counts()
        live = reader is not None and change.state == "live"
        return Status(
            self.name, self.source.where, self.program.name, change.state, change.reason, change.at,
            reader.fps if reader else None, captured, processed, dropped, restarts, self._resets, self._predictions,
            None if self._latency_s is None else self._latency_s * 1e3, reader.still_s if reader and live else 0.0,
            tuple(reader.notes[-5:]) if reader else self._notes,
        )  # fmt: skip

    def _counts(self) -> tuple[int, int, int, int]:
        now = (*self._reader.counts, self._reader.restarts) if self._reader is not None else (0, 0, 0, 0)
        return tuple(map(sum, zip(self._before, now, strict=True)))  # type: ignore[return-value]

    def _interrupt(self) -> None:
        with self._lock:
            if self._reader is not None:
                self._reader.stop()

    # in the thread

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._watch()
        except BaseException as error:
            self.error = error
        self._change = Change("stopped", "" if self.error is None else repr(self.error), time.time())
        if self.error is None:
            self.tell(self, self._change)

    def _watch(self) -> None:
        """With one model."""
        with self._lock:
            program, preprocess = self.program, self.program.metadata.preprocess
            options = {"buffer": program.metadata.hop + 1, **self._options}
            self._reader = reader = LiveReader(self.source, preprocess, tell=self._told, **options)
        stream: Stream | None = None
        try:
            if self._ending.is_set():
                return
            for frame in reader:
                try:
                    if stream is None or reader.gap_s:
                        stream = self._anew(program, stream, frame)
                    found = self.step(stream, frame)
                except EveryframeError as error:  # a size that does not fit, a state that is no number any more
                    _closed(stream)
                    stream = None
                    reader.lose(error)
                    continue
                if found is not None:
                    self._predicted(found, frame)
        finally:
            _closed(stream)
            reader.close()
            with self._lock:
                self._before, self._reader = self._counts(), None
                self._notes = tuple(reader.notes[-5:])

    def _told(self, said: Change | Gap) -> None:
        if isinstance(said, Change):
            if said.state == "stopped":  # that is said once, at the end of all
                return
            self._change = said
        self.tell(self, said)

    def _anew(self, program: Program, stream: Stream | None, frame: Frame) -> Stream:
        if self._predictions or stream is not None:
            self._resets += 1
        if stream is not None:
            self._base += stream.frames
            _closed(stream)
        check_picture(frame.data, program.interface, self.source.where)
        return program.stream()

    def _predicted(self, found: Prediction, frame: Frame) -> None:
        self._latency_s = time.monotonic() - frame.at
        self._predictions += 1
        self.last = replace(found, frame=found.frame + self._base, source=self.name)
        self.tell(self, self.last)


def _closed(stream: Stream | None) -> None:
    if stream is not None:
        stream.close()
