"""Cameras of the server: looked at whether or not somebody listens, shown to those who may."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from everyframe.errors import UsageError
from everyframe.live.camera import Camera, Said
from everyframe.live.clips import jpeg
from everyframe.runtime import Prediction, Stream
from everyframe.serving.lane import said as as_message
from everyframe.serving.shelf import Edition, Served, Shelf, swapped
from everyframe.serving.stepper import Stepper
from everyframe.video import Source, resolve
from everyframe.video.frame import Frame
from everyframe.video.supervise import Change

#: events of each camera that are remembered; messages that wait for one listener, then the oldest is left out
EVENTS, WAITING = 20, 64
#: short side of a picture that is shown, and its quality as JPEG
SIDE, QUALITY = 360, 75
_SPELT = re.compile(r"([\w.-]+)(?::([\w.-]+))?=(.+)")


class Watched:
    """One camera with its model. Its own thread tells; listeners are queues of this event loop."""

    def __init__(self, name: str, source: Source, served: Served, stepper: Stepper) -> None:
        self.name, self.served = name, served
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._listeners: set[asyncio.Queue[dict[str, Any]]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._shown: tuple[np.ndarray | None, bytes] = (None, b"")

        def step(stream: Stream, frame: Frame) -> Prediction | None:
            return stepper.submit(stream.program, partial(stream.push_frame, frame)).result()

        # a file is played at its own speed, over and over
        self.camera = Camera(name, source, served.program, tell=self._told, preview=SIDE, step=step, realtime=not source.live)
        served.exchanged.append(self._exchanged)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.camera.start()

    @contextlib.contextmanager
    def listening(self) -> Any:
        """A queue of what the camera says from now on."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def picture(self) -> bytes | None:
        """The newest as JPEG; None while there is none that is new. Blocks: for a thread."""
        preview = self.camera.preview
        if preview is None:
            return None
        if preview is not self._shown[0]:
            self._shown = (preview, jpeg(preview, QUALITY))
        return self._shown[1]

    def status(self) -> dict[str, Any]:
        """Without its address, which is nobody's business here."""
        status = {key: value for key, value in self.camera.status.to_dict().items() if key not in ("source", "notes")}
        last = self.camera.last
        top = last.to_dict().get("top", []) if last is not None and status["state"] == "live" else []
        return {**status, "model": self.served.name, "top": top, "events": list(self.events)}

    def _told(self, _: Camera, said: Said) -> None:
        if isinstance(said, Prediction):
            message = {"type": "prediction", **as_message(said, scores=False)}
            if said.event is not None:
                self.counts[self.name, said.event.label] += 1
                self.events.appendleft({**message["event"], "at": round(time.time(), 3)})
        elif isinstance(said, Change):
            message = {"type": "state", "state": said.state, "reason": said.reason, "at": said.at}
        else:
            message = {"type": "gap", "seconds": said.seconds, "pts_s": said.pts_s}
        self._say(message)

    def _exchanged(self, before: Edition, now: Edition) -> None:
        self.camera.switch(now.program)
        self._say(swapped(before, now))

    def _say(self, message: dict[str, Any]) -> None:
        """From any thread."""
        if self._listeners and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._spread, message)

    def _spread(self, message: dict[str, Any]) -> None:
        for queue in self._listeners:
            if queue.qsize() >= WAITING:
                queue.get_nowait()
            queue.put_nowait(message)


def cameras(spelt: Sequence[str], shelf: Shelf, stepper: Stepper) -> dict[str, Watched]:
    """From `NAME=SOURCE` or `NAME:MODEL=SOURCE`, each. Raises UsageError, SourceError."""
    made: dict[str, Watched] = {}
    for text in spelt:
        match = _SPELT.fullmatch(text)
        if match is None or match[1] in made:
            raise UsageError(
                "This is no camera." if match is None else "Two cameras have the same name.", where="--camera",
                expected="NAME=ADDRESS or NAME:MODEL=ADDRESS", got=text.partition("=")[0],
            )  # fmt: skip
        name, model, address = match.groups()
        served = shelf.find(model)
        if served is None:
            raise UsageError(
                "There is no such model here.", where=f"--camera {name}", expected=", ".join(shelf.models), got=model
            )
        found = resolve(address)
        if len(found) != 1 or found[0].kind in ("array", "stdin"):
            raise UsageError("This is no camera.", where=f"--camera {name}", expected="an address, a camera number or a video")
        made[name] = Watched(name, found[0], served, stepper)
    return made
