"""A video written again: its pictures upright and as somebody draws them, at their own times, with the sound as it is."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from everyframe.errors import OutputError, SourceError, UsageError
from everyframe.files import make_ordinary
from everyframe.video.decode import decode
from everyframe.video.encode import KINDS, Encoder
from everyframe.video.frame import Decoded
from everyframe.video.preprocess import prepare
from everyframe.video.sources import Source

_JUMP_S = 0.5


@dataclass(frozen=True)
class _Upright:
    """A whole picture in RGB, as large as the first one of its video."""

    resize: tuple[int, int] | None = None
    color: Any = "rgb"
    crop: None = None


def check_twice(source: Source, path: Path | None) -> None:
    """Raises UsageError for what cannot be read a second time, OutputError for a name, if one is given, that is no video's."""
    if path is not None and path.suffix.lower() not in KINDS:
        raise OutputError(
            "This is no name of a video.", where=path, expected=f"one that ends in {', '.join(KINDS)}", got=path.name
        )
    if source.live or source.kind == "stdin":
        raise UsageError(
            "This is read twice, and comes only once.", where=source.name, expected="a file, a folder or pictures",
            hint="record it first",
        )  # fmt: skip


def rewrite(
    source: Source,
    path: Path,
    draw: Callable[[np.ndarray, float], np.ndarray],
    *,
    picture_rate: Fraction,
    until: float | None = None,
) -> list[str]:
    """Writes a whole file or nothing, and gives what is to be said of it.

    draw: (H, W, 3) uint8 RGB, upright, and its time in seconds since the first frame -> the picture that is written, always of
    one size. picture_rate: pictures a second of a folder of them, and of an array without times. until: seconds, where it ends.
    Raises SourceError, OutputError. What a damaged video has before the damage is written.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        with av.open(temporary, "w") as output, _Sound(source, output) as sound:
            video: _Video | None = None
            with contextlib.suppress(SourceError):  # who ran the video has told it
                for frame in decode(source, picture_rate=picture_rate):
                    if until is not None and frame.pts > until:
                        break
                    video = video or _Video(output, draw, frame, 1 / picture_rate)
                    sound.before(frame)
                    video.add(frame)
            if video is None:
                raise SourceError("The video has no frames.", where=source.paths[0])
            sound.to(video.end)
            video.close()
        make_ordinary(Path(temporary))
        Path(temporary).replace(path)
    except (OSError, av.error.FFmpegError) as error:
        raise OutputError(
            "The video cannot be written.", where=path, got=getattr(error, "strerror", None) or str(error),
            hint="choose a folder that exists and is writable, with enough free space",
        ) from None  # fmt: skip
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return sound.notes


class _Video:
    """end: when the last picture is over, in seconds."""

    def __init__(self, output: Any, draw: Callable[[np.ndarray, float], np.ndarray], first: Decoded, gap: Fraction) -> None:
        picture = prepare(first.picture, _Upright())
        height, width = draw(picture, 0.0).shape[:2]
        self._upright, self._draw, self._gap = _Upright(picture.shape[:2]), draw, first.duration or gap
        self._encoder = Encoder(output, Path(output.name).suffix.lower(), height, width, 1 / self._gap)
        self.end = Fraction(0)

    def add(self, frame: Decoded) -> None:
        self._encoder.add(self._draw(prepare(frame.picture, self._upright), float(frame.pts)), frame.pts)
        self.end = frame.pts + (frame.duration or self._gap)

    def close(self) -> None:
        self._encoder.close()


class _Sound:
    """Packets of the sound, at the times of the pictures beside which they stood. notes: where some of it is left out."""

    def __init__(self, source: Source, output: Any) -> None:
        self.notes: list[str] = []
        self._output, self._origin = output, Fraction(0)
        self._input = av.open(f"file:{source.paths[0]}", metadata_errors="replace") if source.kind == "file" else None
        self._copies: dict[int, Any] = {}
        for stream in self._input.streams.audio if self._input else ():
            name = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
            if name in output.supported_codecs:
                self._copies[stream.index] = output.add_stream_from_template(stream)
            else:
                self.notes.append(f"the sound ({name}) cannot be kept in {Path(output.name).suffix}: write .mkv")
        self._newest: dict[int, int] = {}
        self._packets = (
            self._input.demux([self._input.streams[i] for i in self._copies]) if self._input and self._copies else None
        )
        self._waiting: Any = None

    def __enter__(self) -> _Sound:
        return self

    def __exit__(self, *_: object) -> None:
        if self._input:
            self._input.close()

    def before(self, frame: Decoded) -> None:
        """What is heard before this picture."""
        ticks = getattr(frame.picture, "pts", None)
        if self._packets is None or ticks is None or not frame.picture.time_base:
            return
        told = ticks * frame.picture.time_base
        if frame.index == 0:
            self._origin = told
        if abs(told - self._origin - frame.pts) > _JUMP_S:
            self.notes.append(f"the clock of the video jumps at {float(frame.pts):.2f} s: no sound from there on")
            self._packets = None
        self.to(frame.pts)

    def to(self, end: Fraction) -> None:
        """What is heard until then, in seconds of the pictures."""
        while self._packets is not None:
            try:
                packet = self._waiting or next(self._packets)
            except (StopIteration, av.error.FFmpegError, EOFError):
                self._packets = None
                return
            self._waiting = None
            if packet.dts is None or packet.pts is None:
                continue
            if packet.pts * packet.time_base - self._origin > end:
                self._waiting = packet
                return
            shift = round(self._origin / packet.time_base)
            copy = self._copies[packet.stream_index]
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            if packet.pts < 0 or packet.dts <= self._newest.get(copy.index, -1):
                continue
            self._newest[copy.index] = packet.dts
            packet.stream = copy
            self._output.mux(packet)
