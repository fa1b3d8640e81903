"""A path becomes an opened container with a video stream that can be decoded, or an error that says what is in the way."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import av
import av.container
import av.error
import av.video.stream
from av.codec.hwaccel import HWAccel, hwdevices_available

from everyframe.errors import SourceError
from everyframe.video.bounds import Bounds
from everyframe.video.boxes import Piped
from everyframe.video.sources import Source

_NO_VIDEO = frozenset({"tty", "bin", "xbin", "adf", "idf", "txd", "sbg", "lrc"})  # FFmpeg renders text files as "video"
#: where MP4, AVI and Matroska write what their video is coded with
_CODEC = tuple(re.compile(p, re.DOTALL) for p in (rb"stsd.{12}([ -~]{4})", rb"vids([ -~]{4})", rb"\x86.(V_[A-Z0-9_/]{3,})"))
#: what has no pictures, or has them inside something else: its first bytes, its name, and what to do
_OTHERS = (
    (re.compile(rb"PK\x03\x04"), "a zip archive", "unpack it"),
    (re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|.{257}ustar", re.DOTALL), "an archive", "unpack it"),
    (
        re.compile(rb"\s*<(!doctype )?html", re.IGNORECASE),
        "a web page",
        "download the video itself: this is what a server said",
    ),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS", "git lfs pull"),
    (
        re.compile(rb"\x08[\x03-\x20][\x12\x1a\x22\x28\x32\x3a\x42]"),
        "a model",
        "give a video; where a command takes both, the model comes first",
    ),
    (re.compile(rb"$"), "an empty file", "record or download it again"),
)
#: what FFmpeg calls the cameras of a system
CAMERAS = {"linux": "video4linux2", "darwin": "avfoundation"}
_CONVERT = "convert it first, such as with `ffmpeg -i IN OUT.mp4`"


def open_container(source: Source, path: str, file: Any = None, bounds: Bounds | None = None) -> av.container.InputContainer:
    """path: one of `source`. file: what is read in its stead. bounds: of a file that a stranger sent. Raises SourceError."""
    camera, address = source.kind == "camera", source.kind == "address"
    # else FFmpeg takes what stands before a colon for a protocol
    name = f"file:{path}" if source.kind in ("file", "pictures") else path
    options = ({"rtsp_transport": "tcp"} if address else {}) | dict(source.options)
    if bounds is not None:  # to find out what a video is, FFmpeg decodes a picture
        options |= {"max_pixels": str(bounds.pixels)}
    try:
        container = av.open(
            # of what is live, whoever started the decode process looks at the time
            file or name, format=CAMERAS.get(sys.platform, "video4linux2") if camera else None, options=options,
            timeout=15.0 if source.ends else None, metadata_errors="replace", hwaccel=accelerator(source.hardware),
        )  # fmt: skip
    except av.error.InvalidDataError:
        raise piped(file, path) or _no_video(path) from None
    except av.error.EOFError:
        raise no_frames(path) from None
    except (av.error.FFmpegError, OSError) as error:
        busy = camera and getattr(error, "errno", None) == 16
        raise SourceError(
            "The camera cannot be opened." if camera else "The video cannot be opened.",
            where=path,
            got=getattr(error, "strerror", None) or str(error),
            hint="close the program that uses it"
            if busy
            else "check the address, and that its server runs"
            if address
            else "its beginning is damaged: record or download it again"
            if os.access(path, os.R_OK)
            else "check the path and its permissions",
        ) from None
    if container.format.name in _NO_VIDEO:
        container.close()
        raise SourceError("This is not a video.", where=path, got="a text file", expected="a file such as .mp4 or .mkv")
    return container


def accelerator(hardware: str | None) -> HWAccel | None:
    """hardware: a kind of device, or `auto`: the first that is there. None where there is none; what it cannot decode is decoded
    as ever. Raises SourceError for a kind that FFmpeg does not know here.
    """
    if hardware is None:
        return None
    known = devices(hardware)
    for kind in known if hardware == "auto" else [hardware]:
        with contextlib.suppress(av.error.FFmpegError, NotImplementedError, OSError):
            HWAccel(kind).create(av.Codec("h264", "r"))  # a device that is not plugged in is found out here
            return HWAccel(kind, allow_software_fallback=True)
    return None


def devices(hardware: str) -> list[str]:
    """Kinds of devices that FFmpeg knows here, whether or not one is plugged in. Raises SourceError for none of them."""
    known = list(hwdevices_available())
    if hardware != "auto" and hardware not in known:
        raise SourceError(
            "FFmpeg knows no such device here.", where="hardware", expected=", ".join(("auto", *known)), got=hardware,
            hint="leave hardware out, or `auto`: then what no device decodes is decoded in software",
        )  # fmt: skip
    return known


def piped(file: Any, path: str) -> SourceError | None:
    """Why what came through a pipe cannot be read; None if it is not known, or no pipe."""
    if not isinstance(file, Piped):
        return None
    if not file.count:
        return SourceError("Nothing came in.", where=path, hint="everyframe predict MODEL - < video.mp4")
    if file.boxes.index_last:
        return SourceError(
            "This .mp4 cannot be read from a pipe: its index comes last.", where=path,
            hint="give the file itself, or `- < FILE`; or write it with the index first: "
            "`ffmpeg -i IN -c copy -movflags +faststart OUT.mp4`",
        )  # fmt: skip
    return None


def video_stream(container: av.container.InputContainer, path: str) -> av.video.stream.VideoStream:
    """The one to look at; covers of songs are none. Raises SourceError, also where nothing here decodes it."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        kinds = sorted({"a cover" if s.type == "video" else str(s.type) for s in container.streams})
        if kinds in ([], ["data"]):  # of an index that is cut short
            raise _no_video(path)
        raise SourceError(
            "There is no video stream in this file.",
            where=path,
            got=f"only {', '.join(kinds)}",
            hint="give the file with the pictures",
        )
    best = container.streams.best("video")
    found = next((s for s in streams if s is best or (best is not None and s.index == best.index)), streams[0])
    if found.codec_context is None:
        raise SourceError(
            "There is no decoder for this video.", where=path, got=f"codec {_codec(path) or 'unknown'}", hint=_CONVERT
        )
    if found.disposition & av.stream.Disposition.dependent:
        raise SourceError(
            "This picture is kept in tiles, which are not put together here.",
            where=path,
            hint="convert it first, to .jpg or .png",
        )
    return found


def check_pixels(stream: av.video.stream.VideoStream, path: str, bounds: Bounds) -> None:
    """Before a frame is decoded, and for those that come later: a few bytes may unpack to gigabytes. Raises SourceError."""
    context = stream.codec_context
    if context.width * context.height > bounds.pixels:
        raise SourceError(
            "The pictures of this video are too large.", where=path, expected=f"at most {bounds.pixels:,} pixels",
            got=f"{context.width} x {context.height}", hint="send it smaller, such as by `ffmpeg -i IN -vf scale=-2:720 OUT.mp4`",
        )  # fmt: skip
    context.options = {**context.options, "max_pixels": str(bounds.pixels)}


def no_frames(path: str, address: bool = False) -> SourceError:
    return SourceError(
        "The video has no frames.", where=path,
        hint="check that it plays; download it first, since some servers give files only from their beginning" if address
        else "check that it plays; record or download it again",
    )  # fmt: skip


def refused(container: av.container.InputContainer, path: str, packet: av.Packet | None) -> SourceError | None:
    """Why what opens cannot be decoded although it is whole; None if it is not known. packet: one that was refused."""
    if packet is not None and any(packet.has_sidedata(kind) for kind in ("encryption_info", "encryption_init_info")):
        return SourceError(
            "The video is encrypted.", where=path, hint="its pictures cannot be read without the key: give an unprotected copy"
        )
    if container.format.name == "webp_pipe" and b"ANIM" in _beginning(path)[:64]:
        return SourceError("Animated WebP cannot be decoded.", where=path, hint="convert it to .gif or .mp4")
    return None


def _beginning(path: str, size: int = 1 << 20) -> bytes:
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        return file.read(size)
    return b""


def _codec(path: str) -> str | None:
    """As the file calls it. FFmpeg knows no name for what it has no decoder for."""
    data = _beginning(path)
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        file.seek(max(0, Path(path).stat().st_size - (1 << 20)))
        data += file.read()
    found = next(filter(None, (pattern.search(data) for pattern in _CODEC)), None)
    return found[1].decode().strip() if found else None


def _no_video(path: str) -> SourceError:
    for pattern, name, hint in _OTHERS:
        if Path(path).is_file() and pattern.match(_beginning(path, 1024)):
            return SourceError("This is not a video.", where=path, got=name, hint=hint)
    return SourceError(
        "This is not a video, or its beginning is missing.",
        where=path,
        expected="a file that FFmpeg can open, such as .mp4 or .mkv",
        hint="an .mp4 that was cut short cannot be opened at all: record or download it again",
    )
