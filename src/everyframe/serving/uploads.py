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

from everyframe.errors import EveryframeError
from everyframe.modelfile.interface import check_picture
from everyframe.runtime import ClipStream, Program
from everyframe.serving.lane import said
from everyframe.serving.limits import Limits
from everyframe.serving.metrics import Metrics
from everyframe.serving.refusals import Refused, refuse, words
from everyframe.serving.stepper import Stepper
from everyframe.video import Reader
from everyframe.video.sources import Source

#: no playlist and nothing else that names a file or an address, which would be opened, wherever it points to
_ALONE = (("format_whitelist", "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,yuv4mpegpipe,gif"), ("protocol_whitelist", "file"))
#: seconds after which what is there is sent
_PORTION_S = 0.1


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
    they are for threads. `leave`, from another one, has them end soon. path: of a file that is deleted in the end.
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
        self._count, self._events, self._time = 0, 0, 0.0
        self._reason: str | None = None  # why not all of the video was looked at
        self._ended = False
        self._lock = threading.RLock()

    def first(self) -> list[bytes]:
        """The first portion. Raises EveryframeError where there is none: then nothing was said yet."""
        with self._lock:
            try:
                return [self._line(next(self._found)), *self.portion()]
            except StopIteration:
                return [self._end()]
            except BaseException:
                self.close()
                raise

    def portion(self) -> list[bytes]:
        """What came in the last tenth of a second, at least one line; [] behind the last one."""
        with self._lock:
            if self._ended:
                return []
            until, lines = time.monotonic() + _PORTION_S, list[bytes]()
            try:
                while not lines or time.monotonic() < until:
                    lines.append(self._line(next(self._found)))
            except StopIteration:
                lines.append(self._end())
            except EveryframeError as error:
                lines.append(self._end(error=words(error, where=self._name)))
            return lines

    def leave(self) -> None:
        """Nobody waits for the answer any more."""
        self._reader.kill()

    def close(self) -> None:
        with self._lock:
            self._ended = True
            self._reader.close()
            self._stream.close()
            self._path.unlink(missing_ok=True)

    def _predictions(self) -> Iterator[dict[str, Any]]:
        for frame in self._reader:
            if self._reader.frames == 1:
                check_picture(frame.data, self._program.interface, self._name)
            prediction = self._stepper.submit(self._program, partial(self._stream.push_frame, frame)).result()
            self._time = frame.pts_s
            if prediction is not None and (made := self._said(prediction)):
                yield made
            if (reason := self._over()) is not None:
                self._reason = reason
                return
        for prediction in self._stream.drain():
            if made := self._said(prediction):
                yield made

    def _said(self, prediction: Any) -> dict[str, Any] | None:
        self._count += 1
        self._metrics.count("predictions_total", model=self._model)
        self._metrics.observe("step_seconds", prediction.latency_ms / 1e3, model=self._model)
        if prediction.event is not None:
            self._events += 1
            self._metrics.count("events_total", model=self._model, label=prediction.event.label)
        if self._only == "events":
            event = prediction.to_dict().get("event")
            return event and {"type": "event", **event}
        return {"type": "prediction", **said(prediction, scores=self._scores)}

    def _over(self) -> str | None:
        if self._time >= self._limits.video_s:
            return f"only the first {self._limits.video_s:g} s of a video are looked at"
        if time.monotonic() - self._begun > self._limits.answer_s:
            return f"no video is looked at for longer than {self._limits.answer_s:g} s"
        return "the server is stopping" if self._stopping.is_set() else None

    def _end(self, **more: Any) -> bytes:
        complete = self._reason is None and "error" not in more
        made = {
            "type": "end", "complete": complete, "frames": self._reader.frames, "seconds": round(self._time, 6),
            "predictions": self._count, "events": self._events, "notes": self._reader.notes, "reason": self._reason, **more,
        }  # fmt: skip
        self._metrics.count("uploads_total", how="complete" if complete else "error" if "error" in more else "stopped")
        self.close()
        return self._line(made)

    def _line(self, made: dict[str, Any]) -> bytes:
        return json.dumps(made, separators=(",", ":")).encode() + b"\n"
