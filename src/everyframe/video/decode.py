"""PyAV: a `Source` becomes decoded pictures with exact times. Runs in the decode process (see `worker`), where a codec
that crashes takes only that process with it; nothing hinders calling it directly.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import av.video.stream

from everyframe.errors import SourceError
from everyframe.video.arrays import pictures
from everyframe.video.bounds import Bounds
from everyframe.video.boxes import codecs, glued, glued_header, set_up_anew, standard_input
from everyframe.video.clock import Clock
from everyframe.video.container import check_pixels, no_frames, open_container, piped, refused, video_stream
from everyframe.video.frame import Decoded
from everyframe.video.sources import Source
from everyframe.video.tags import approximated, hold, pixel_aspect, squared, unnamed

#: what is given the packets of a stream
Tap = Callable[[av.video.stream.VideoStream, av.Packet], None]
_MICRO = 1_000_000
_TOLD_AHEAD = ("h264", "hevc")  # in Matroska, sizes and the like stand in front of the pictures only


def decode(
    source: Source,
    *,
    picture_rate: Fraction = Fraction(25),
    threads: int | None = None,
    note: Callable[[str], None] = lambda _: None,
    tap: Tap | None = None,
    bounds: Bounds | None = None,
) -> Iterator[Decoded]:
    """Every frame of `source`, times counted from its first. Raises SourceError for what cannot be opened or has no
    frames, and, after the frames that could be read, for a file that is damaged or cut short.

    picture_rate: pictures per second of a folder of pictures, and of an array without times. threads: of the decoder, where
    other processes decode too.
    note: told, once each, what is no error but makes pictures other than they were meant, or fewer. tap: given each packet before
    it is decoded. bounds: of a file that a stranger sent.
    """
    if source.kind == "array":
        yield from pictures(Path(source.paths[0]), picture_rate)
        return
    found, said = False, None
    for frame in _pictures(source, picture_rate) if source.kind == "pictures" else _container(source, threads, note, tap, bounds):
        found = True
        if (told := approximated(frame.picture)) != said and told is not None:
            note(told)
        said = told or said
        yield frame
    if not found:
        raise no_frames(source.paths[0], source.kind == "address")


def _pictures(source: Source, rate: Fraction) -> Iterator[Decoded]:
    for index, path in enumerate(source.paths):
        with open_container(source, path) as container:
            stream = video_stream(container, path)
            try:
                picture = next(container.decode(stream), None)
            except (av.error.FFmpegError, EOFError):
                picture = None
        if picture is None:
            raise _no_picture(path, f"{index} readable pictures before it")
        yield Decoded(unnamed(picture, stream.codec_context.name), index / rate, 1 / rate, index)


def _container(
    source: Source, threads: int | None, note: Callable[[str], None], tap: Tap | None, bounds: Bounds | None
) -> Iterator[Decoded]:
    path = source.paths[0]
    file = standard_input() if source.kind == "stdin" else None
    with open_container(source, path, file, bounds) as container:
        stream = video_stream(container, path)
        if bounds is not None:
            check_pixels(stream, path, bounds)
        # frame threads hold frames back, which a live picture must not wait for
        stream.thread_type = "SLICE" if source.live else "AUTO"
        stream.codec_context.thread_count = threads or min(4, os.cpu_count() or 1)
        if source.keyframes:
            stream.codec_context.skip_frame = "NONKEY"
        if source.hardware and not stream.codec_context.is_hwaccel:
            note("no device here decodes this video: it is decoded in software")
        clock = Clock(container, stream, live=source.live, waits=source.kind == "file" or source.ends)
        frame = None
        damage: str | None = None
        for frames in _decoded(container, stream, clock, source, tap):
            if isinstance(frames, str):
                damage = frames
                break
            for frame in frames:
                yield frame
        if source.live:
            raise SourceError(
                "The live source has ended.",
                where=path,
                got=f"{clock.count} frames",
                hint="check that it is still connected",
            )
        if damage is None and frame is not None and not source.keyframes:
            damage = _cut_short(container, stream, frame, clock, path if source.kind == "file" else None)
        if frame is None and (why := piped(file, path)):
            raise why
        if clock.untimed and frame is not None:
            note(f"{container.format.name} holds no times: its frames were taken for {float(1 / clock.gap):.4g} a second")
        broken = damage is not None
        # a joined Ogg may be played on or end at the next one's headers
        ended = source.kind == "file" and (not clock.joins or (broken and container.format.name == "ogg"))
        joined = source.kind == "file" and container.format.name == "mpegts" and (broken or clock.jumps)
        if joined and len(kinds := codecs(path)) > 1:
            damage = None
            both = " and ".join(sorted(kinds))
            note(f"recordings in {both} are glued together, and not all are played: join them with ffmpeg's `-f concat`")
        elif ended and stream.codec_context.name in _TOLD_AHEAD and set_up_anew(path, clock.seams, _told(stream)):
            note(
                "recordings of another size or setting are glued behind, and played wrongly: join them with ffmpeg's `-f concat`"
            )
        elif ended and (glued(path, clock.read) or (broken and glued(path, max(1, clock.whole), once=True))):
            damage = None
            note("further recordings are glued behind, which are not played: join them with ffmpeg's `-f concat`")
        if frame is None and damage is None:
            return
        if damage is not None and (container.format.name == "image2" or container.format.name.endswith("_pipe")):
            raise _no_picture(path, damage)
        if damage is not None:
            raise SourceError(
                "The video is damaged or cut short.",
                where=path,
                expected=_expected(container, stream) if "last frame" not in damage else None,
                got=f"{damage} after {clock.count} frames, {float(clock.last):.2f} s" if frame else damage,
                hint="what came before is valid; record or download the video again for the rest" if frame else
                     no_frames(path, source.kind == "address").hint,
            )  # fmt: skip


def _no_picture(path: str, got: str) -> SourceError:
    return SourceError(
        "The picture is damaged, cut short, or of a kind that is not decoded.", where=path, got=got,
        hint="save it as PNG, with 8 or 16 bits a color; a TIFF of floats is not read",
    )  # fmt: skip


def _decoded(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, clock: Clock, source: Source, tap: Tap | None
) -> Iterator[Iterator[Decoded] | str]:
    """Frames; then, if the stream could not be read to its end, one string that says why. Raises SourceError for what is
    whole, but not to be decoded.

    Errors before the first frame are forgiven (a recording may begin between two key frames), and all in a live source.
    """
    any_frame, trouble = False, ""
    aspect, coded = pixel_aspect(stream), stream.codec_context.sample_aspect_ratio
    codec, turned, before = stream.codec_context.name, None, 0

    def shown(picture: av.VideoFrame) -> av.VideoFrame:
        nonlocal turned, before
        if picture.pts is not None:
            turned, before = turned if picture.pts >= before else None, picture.pts  # earlier: of another recording
        now = stream.codec_context.sample_aspect_ratio  # of what begins in mid-stream only the decoder knows it
        whole = squared(unnamed(picture, codec), aspect if now == coded else now)
        turned = hold(whole, turned) if codec in _TOLD_AHEAD else None
        return whole

    packet: av.Packet | None = None
    packets = container.demux(stream)
    while True:
        try:
            first, packet = packet is None, next(packets)
            if first and (why := refused(container, source.paths[0], packet)):
                raise why
            if glued_header(container.format.name, packet):
                continue
            clock.enter(packet)
            if tap is not None and packet.size:
                tap(stream, packet)
            pictures = packet.decode()
        except (StopIteration, EOFError):
            break
        except av.error.FFmpegError as error:
            trouble = error.strerror or str(error)
            if not isinstance(error, av.error.InvalidDataError):
                _keep(stream.codec_context)
            if why := refused(container, source.paths[0], packet):
                raise why from None
            if source.live and isinstance(error, av.error.InvalidDataError):
                continue
            if any_frame or not isinstance(error, av.error.InvalidDataError):
                with contextlib.suppress(av.error.FFmpegError, EOFError):  # what the decoder still holds is good
                    for picture in stream.codec_context.decode(None):
                        yield clock.stamp(shown(picture))
                yield clock.rest()
                yield trouble
                return
            continue
        for picture in pictures:
            any_frame = True
            yield clock.stamp(shown(picture))
    yield clock.rest()
    if trouble and not any_frame:
        yield trouble


def _keep(decoder: object) -> None:
    """Lets it live until the process ends: once it gave up on what FFmpeg does not know to decode, freeing it may wait for ever
    for one of its threads (HEVC, 3 of 100 times).
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(decoder))


def _told(stream: av.video.stream.VideoStream) -> bytes:
    return stream.codec_context.extradata or b""


def _stated_end(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Fraction | None:
    """When the container says the video ends, in container time; None where it does not say."""
    ends = []
    if stream.duration and stream.time_base:
        ends.append(((stream.start_time or 0) + stream.duration) * stream.time_base)
    elif tag := _seconds(stream.metadata.get("DURATION", "")):
        ends.append(tag)
    if container.duration and (ends or len(container.streams) == 1):
        ends.append(Fraction((container.start_time or 0) + container.duration, _MICRO))
    return min(ends) if ends else None


def _seconds(text: str) -> Fraction | None:
    """'00:01:02.500' -> 62.5"""
    try:
        hours, minutes, seconds = text.strip().split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return None


#: formats that do not say how long they are -> their last bytes
_ENDS = {"gif": b";", "mjpeg": b"\xff\xd9"}


def _cut_off(name: str, path: str, read: int) -> bool:
    """Whether a file of such a format ends within a picture. read: bytes in whole pictures."""
    with open(path, "rb") as file:  # noqa: PTH123 (not pathlib: this process is to begin fast)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 512))
        tail = file.read().rstrip(b"\0\r\n")
    return (name == "yuv4mpegpipe" and size > read) or not tail.endswith(_ENDS.get(name, b""))


def _cut_short(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, last: Decoded, clock: Clock, path: str | None
) -> str | None:
    """path: of a file, which can be looked at."""
    if last.picture.is_corrupt and last.index:
        return "a broken last frame"
    if path is not None and _cut_off(container.format.name, path, clock.read):
        return "a last frame that is cut off"
    if clock.jumps:  # the container's end is not that of the clock
        return None
    end = _stated_end(container, stream)
    if "avi" in container.format.name and stream.frames:  # its duration is guessed from the file's size
        end = max(end or Fraction(0), clock.origin + stream.frames * clock.gap)
    if end is None:
        return None
    missing = end - clock.reached - max(last.duration, clock.gap)
    return "end of file" if missing > max(Fraction(1, 10) + 2 * clock.gap, (end - clock.origin) / 50) else None


def _expected(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> str | None:
    frames = f"{stream.frames} frames" if stream.frames else ""
    end = _stated_end(container, stream)
    start = Fraction(container.start_time or 0, _MICRO)
    seconds = f"{float(end - start):.2f} s" if end and "avi" not in container.format.name else ""
    return ", ".join(filter(None, (frames, seconds))) or None
