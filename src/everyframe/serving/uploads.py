"""A video that a client sent: to a temporary file, decoded by a process with limits, answered as its predictions come."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from everyframe.errors import EveryframeError, SourceError
from everyframe.modelfile.interface import check_picture
from everyframe.runtime import ClipStream, Prediction, Program
from everyframe.serving.lane import said
from everyframe.serving.limits import Limits
from everyframe.serving.metrics import Metrics
from everyframe.serving.refusals import Refused, refuse, words
from everyframe.serving.stepper import Stepper
from everyframe.video import Reader
from everyframe.video.frame import Frame
from everyframe.video.sources import Source

#: no playlist and nothing else that names a file or an address, which would be opened, wherever it points to
_ALONE = (("format_whitelist", "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,yuv4mpegpipe,gif"), ("protocol_whitelist", "file"))
#: seconds after which what is there is sent
_PORTION_S = 0.1
#: why not all of a video was looked at
STOPPING = "the server is stopping"


async def kept(parts: AsyncIterable[bytes], limits: Limits) -> Path:
    """A temporary file with what comes in. Raises Refused; then there is none."""
    handle, name = tempfile.mkstemp(prefix="everyframe-upload-")
    size = 0
    try:
        with os.fdopen(handle, "wb") as file:
            async for part in parts:
                size += len(part)
                if size > limits.upload:
                    raise too_large(size, limits)
                file.write(part)
        if not size:
            raise refuse(
                400, "No video came.", expected="the bytes of a video, or a form with one as `file`", got="an empty body"
            )
    except BaseException as error:
        Path(name).unlink()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise refuse(507, "There is no room for this video.", got=error.strerror, again_s=60) from None
        raise
    return Path(name)


def too_large(size: int, limits: Limits) -> Refused:
    return refuse(413, "The video is too large.", expected=f"at most {limits.upload:,} bytes", got=f"{size:,} bytes",
                  hint="send it smaller or in parts; whoever runs the server can allow more by --max-upload")  # fmt: skip


class Upload:
    """Lines of JSON, a portion at a time: predictions, then one that says how it ended. `first`, `portion` and `close` block:
    they are for threads. From another one, `taken` gives the lines, `leave` has the portion in work be the last, and `cut` does
    not wait for it. path: of a file that is deleted in the end.
    """

    def __init__(
        self, path: Path, name: str, program: Program, stepper: Stepper, metrics: Metrics, limits: Limits, *, model: str,
        top_k: int, scores: bool, only: Literal["all", "events"], stopping: threading.Event,
    ) -> None:  # fmt: skip
        self._name, self._program, self._stepper, self._metrics, self._limits = name, program, stepper, metrics, limits
        self._model, self._scores, self._only, self._stopping = model, scores, only, stopping
        self._path, self._begun = path, time.monotonic()
        try:
            self._stream = program.stream(top_k=top_k)
            group = self._stream.stride if isinstance(self._stream, ClipStream) else self._stream.hop
            options: dict[str, Any] = {"buffer": group + 1, "stall": limits.silent_s, "bounds": limits.decoding}
            source = Source("file", name, (str(path),), options=_ALONE)
            self._reader = Reader(source, program.metadata.preprocess, **options)
        except BaseException:
            path.unlink()
            raise
        self._found = self._predictions()
        self._lines: list[bytes] = []
        self._count, self._events, self._time = 0, 0, 0.0
        self._reason: str | None = None  # why not all of the video was looked at
        self._ended = False
        self._lock = threading.RLock()  # of whoever works on it
        self._handing = threading.Lock()  # of lines, and of what the last one counts

    def first(self) -> None:
        """The first portion. Raises EveryframeError where there is none: then nothing was said yet."""
        with self._lock:
            try:
                next(self._found)
            except StopIteration:
                self._last()
            else:
                self.portion()

    def portion(self) -> None:
        """What comes in the next tenth of a second, at least one line; nothing behind the last one."""
        with self._lock:
            until = time.monotonic() + _PORTION_S
            try:
                while not self._ended and (not self._lines or time.monotonic() < until):
                    next(self._found)
            except StopIteration:
                self._last()
            except EveryframeError as error:
                self._last(error=words(error, where=self._name))

    def cut(self) -> None:
        """What is there is the last portion: nobody can wait for one that is in work."""
        self._last(reason=STOPPING)

    def taken(self) -> list[bytes]:
        """The lines that were not taken yet."""
        with self._handing:
            lines, self._lines = self._lines, []
            return lines

    def leave(self) -> None:
        """Nobody waits for the rest of the answer any more, or the server stops: then a portion is the last one."""
        self._reader.kill()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            self._ended = True
            self._reader.close()
            self._stream.close()

    def _frames(self) -> Iterator[Frame]:
        try:
            yield from self._reader
        except SourceError:
            if not self._stopping.is_set():
                raise
            self._reason = STOPPING  # its decode process was ended by `leave`

    def _predictions(self) -> Iterator[None]:
        """Goes on with each line."""
        for frame in self._frames():
            if self._reader.frames == 1:
                check_picture(frame.data, self._program.interface, self._name)
            prediction = self._stepper.submit(self._program, partial(self._stream.push_frame, frame)).result()
            self._time = frame.pts_s
            if prediction is not None and self._said(prediction):
                yield
            if (reason := self._over()) is not None:
                self._reason = reason
                return
        if self._reason is not None:
            return
        for prediction in self._stream.drain():
            if self._said(prediction):
                yield

    def _said(self, prediction: Prediction) -> bool:
        """Whether that is a line."""
        self._metrics.count("predictions_total", model=self._model)
        self._metrics.observe("step_seconds", prediction.latency_ms / 1e3, model=self._model)
        if prediction.event is not None:
            self._metrics.count("events_total", model=self._model, label=prediction.event.label)
        made: dict[str, Any] | None = {"type": "prediction", **said(prediction, scores=self._scores)}
        if self._only == "events":
            event = prediction.to_dict().get("event")
            made = event and {"type": "event", **event}
        with self._handing:
            if not self._ended:
                self._count += 1
                self._events += prediction.event is not None
                self._lines += [] if made is None else [_line(made)]
        return made is not None

    def _over(self) -> str | None:
        if self._time >= self._limits.video_s:
            return f"only the first {self._limits.video_s:g} s of a video are looked at"
        if time.monotonic() - self._begun > self._limits.answer_s:
            return f"no video is looked at for longer than {self._limits.answer_s:g} s"
        return STOPPING if self._stopping.is_set() else None

    def _last(self, *, reason: str | None = None, error: dict[str, Any] | None = None) -> None:
        """How it ended, once. The decode process may take a while to go: `close` does not hold up the answer."""
        with self._handing:
            if self._ended:
                return
            self._ended = True
            reason = reason or self._reason
            complete = reason is None and error is None
            made = {
                "type": "end", "complete": complete, "frames": self._reader.frames, "seconds": round(self._time, 6),
                "predictions": self._count, "events": self._events, "notes": self._reader.notes, "reason": reason,
                **({} if error is None else {"error": error}),
            }  # fmt: skip
            self._lines.append(_line(made))
        self._metrics.count("uploads_total", how="complete" if complete else "error" if error else "stopped")


def _line(made: dict[str, Any]) -> bytes:
    return json.dumps(made, separators=(",", ":")).encode() + b"\n"
