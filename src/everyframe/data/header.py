"""What a clip's file says of itself, and what its first frame and its packets say where the file is silent."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import av
import av.container
import av.video.stream

from everyframe.data.clips import Clip
from everyframe.errors import SourceError
from everyframe.video.arrays import loaded
from everyframe.video.container import no_frames, open_container, refused, video_stream
from everyframe.video.sources import Source, refuse_pipe
from everyframe.video.tags import pixel_aspect, square_size, transposed

_PIECE = 1 << 18
_FASTEST = 240  # frames a second; a header that says more gives the unit of its clock (1000 or 90000, mostly)


@dataclass(frozen=True)
class Header:
    """What a clip's file says of itself. height, width: as it is shown, turned where the file says so. digest: of its size,
    beginning and end. error: why it cannot be read.
    """

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
    """Opens one clip and decodes its first frame. Never raises: what is wrong is in `error`."""
    try:
        return _header(clip)
    except SourceError as error:
        return Header(error=f"{clip.path}: {error.what} " + (f"({error.got})" if error.got else ""))
    except Exception as error:  # PyAV has many; a data set of thousands of files meets them all
        return Header(error=f"{clip.path}: {getattr(error, 'strerror', None) or error or type(error).__name__}")


def glance(clips: Sequence[Clip], count: int = 64) -> list[Header]:
    """What some of the clips, evenly spread, say of themselves; those that cannot be read are left out."""
    every = max(1, len(clips) // count)
    return [header for header in map(probe, clips[::every]) if header.error is None]


def _header(clip: Clip) -> Header:
    files = clip.files()
    refuse_pipe(Path(files[0]))
    if clip.source.kind == "array":
        array, times = loaded(clip.path)
        fps = (len(times) - 1) / float(times[-1] - times[0]) if times and times[-1] > times[0] else None
        return Header(len(array), fps, array.shape[1], array.shape[2], _digest(files, clip))
    digest = _digest(files if clip.pictures is None else {files[0], files[len(files) // 2], files[-1]}, clip)
    with _opened(files[0]) as (container, stream):
        height, width = _shown(container, stream, files[0])
        if clip.pictures is not None:
            return Header(len(files), None, height, width, digest)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        frames = stream.frames
        told = float((stream.duration or 0) * (stream.time_base or 0)) * rate
    # a stated duration alone is no help: a clock that jumps makes it of 2 s 1000 s; of a clip that was cut by an edit list (as
    # phones cut) the frames that are stored are said, and the duration of those that are shown
    if not frames or not 0 < rate <= _FASTEST or (told and abs(told - frames) > 1):
        frames, rate = _counted(files[0], rate)
    if clip.span:
        frames = round(max(0.0, min(frames / rate, clip.span[1]) - clip.span[0]) * rate)
    return Header(frames, rate, height, width, digest)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    with open_container(Source("file", path, (path,)), path) as container:
        yield container, video_stream(container, path)


def _shown(container: av.container.InputContainer, stream: av.video.stream.VideoStream, path: str) -> tuple[int, int]:
    """(height, width) of the first frame as it is shown. Raises SourceError where none can be decoded."""
    stream.codec_context.thread_count = 1
    trouble = no_frames(path)
    for packet in container.demux(stream):
        if packet.size and (why := refused(container, path, packet)):
            raise why
        try:
            for frame in packet.decode():
                size = square_size(frame.height, frame.width, pixel_aspect(stream))
                return size[::-1] if transposed(frame) else size
        except av.error.InvalidDataError:  # a recording may begin between two key frames
            trouble = SourceError("None of its frames can be decoded.", where=path)
    raise trouble


def _counted(path: str, rate: float) -> tuple[int, float]:
    """(frames, frames a second) by the packets: browsers, for one, record without a duration."""
    with _opened(path) as (container, stream):
        packets = list[av.Packet]()
        with contextlib.suppress(av.error.InvalidDataError):  # what is glued behind, or damaged, is for who decodes it
            packets.extend(packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
        times = sorted(float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None and packet.time_base)
    gaps = [later - time for time, later in pairwise(times) if later > time]
    told = 1 / median(gaps) if gaps else 0.0
    return len(packets), next((one for one in (rate, told) if 0 < one <= _FASTEST), 25.0)


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
