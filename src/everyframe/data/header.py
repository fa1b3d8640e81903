"""What a clip's file says of itself, and where that cannot be trusted, what its packets and its first picture say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import av.container
import av.video.stream

from everyframe.data.clips import Clip
from everyframe.errors import SourceError
from everyframe.video.container import open_container, video_stream
from everyframe.video.sources import Source
from everyframe.video.tags import transposed

_PIECE = 1 << 18


@dataclass(frozen=True)
class Header:
    """height, width: as it is shown. digest: of its size, beginning and end. error: why it cannot be opened."""

    frames: int = 0
    fps: float | None = None
    height: int = 0
    width: int = 0
    digest: str = ""
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        return self.frames / self.fps if self.fps else None

    def sampled(self, fps: float | None, every_n: int | None = None) -> float:
        """How many frames a network sees that samples at `fps`, or every n-th frame."""
        return self.seconds * fps if fps and self.seconds else self.frames / (every_n or 1)


def probe(clip: Clip) -> Header:
    """Opens one clip. Never raises: what is wrong is in `error`."""
    files = clip.files()
    try:
        digest = _digest(files if clip.pictures is None else {files[0], files[len(files) // 2], files[-1]}, clip)
        source = Source("file" if clip.pictures is None else "pictures", clip.path.name, files)
        with open_container(source, files[0]) as container:
            stream = video_stream(container, files[0])
            stated, rate = _stated(container, stream), stream.average_rate or stream.guessed_rate
            height, width = _shown(container, stream)
            if clip.pictures is not None:
                return Header(len(files), None, height, width, digest)
            fps, counted = float(rate or 0), stream.frames
            if not stated:  # a recording that a browser or a camera never finished
                counted, stated, fps = _counted(source, fps)
            seconds = stated
            if clip.span:
                seconds = max(0.0, min(stated or clip.span[1], clip.span[1]) - clip.span[0])
                counted = 0
            return Header(counted or round(seconds * fps), fps or None, height, width, digest)
    except SourceError as error:
        return Header(error=f"{clip.path}: {error.what} " + (f"({error.got})" if error.got else ""))
    except (OSError, av.FFmpegError, IndexError, ValueError) as error:
        return Header(error=f"{clip.path}: {getattr(error, 'strerror', None) or error or 'no video stream'}")


def glance(clips: Sequence[Clip], count: int = 64) -> list[Header]:
    """What some of the clips, evenly spread, say of themselves; those that cannot be opened are left out."""
    every = max(1, len(clips) // count)
    return [header for header in map(probe, clips[::every]) if header.error is None]


def _stated(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> float:
    """Seconds, 0 where nothing is said."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def _shown(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> tuple[int, int]:
    """(height, width) of the first picture as it is shown; the header's where there is none."""
    for packet in container.demux(stream):
        try:
            for frame in packet.decode():
                return (frame.width, frame.height) if transposed(frame) else (frame.height, frame.width)
        except av.FFmpegError:  # said when it is decoded
            break
    return stream.height, stream.width


def _counted(source: Source, fps: float) -> tuple[int, float, float]:
    """(frames, seconds, frames a second), by counting packets without decoding them."""
    with open_container(source, source.paths[0]) as container:
        stream = video_stream(container, source.paths[0])
        base = float(stream.time_base or 0)
        packets = [packet.pts for packet in container.demux(stream) if packet.size]
    times = [pts * base for pts in packets if pts is not None]
    span = max(times) - min(times) if times else 0.0
    fps = (len(packets) - 1) / span if span > 0 else fps
    return len(packets), len(packets) / fps if fps else 0.0, fps


def _digest(files: Iterable[str], clip: Clip) -> str:
    digest = hashlib.sha256(repr(clip.span).encode())
    for name in sorted(files):
        with Path(name).open("rb") as file:
            size = file.seek(0, 2)
            digest.update(str(size).encode())
            for at in {0, max(0, size - _PIECE)}:
                file.seek(at)
                digest.update(file.read(_PIECE))
    return digest.hexdigest()
