"""What a SOURCE argument means: a file, a folder, a glob, a camera, an address, standard input."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from everyframe.errors import SourceError

PICTURES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".heic", ".heif"} | {".jp2", ".tga"}
)
#: every suffix of a video that FFmpeg knows and that is not mostly something else, nor a small copy (.lrv) of what lies beside it
VIDEOS = frozenset(
    {".264", ".265", ".266", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".av1", ".avc", ".avi", ".avs2", ".avs3"}
    | {".bik", ".dav", ".dif", ".divx", ".drc", ".dv", ".dvr-ms", ".evo", ".f4p", ".f4v", ".flc", ".fli", ".flv"}
    | {".gif", ".gxf", ".h261", ".h263", ".h264", ".h265", ".h266", ".h26l", ".hevc", ".insv", ".ismv", ".ivf"}
    | {".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4p", ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mod"}
    | {".mov", ".mp2v", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nsv", ".nut", ".obu", ".ogg", ".ogm"}
    | {".ogv", ".ogx", ".qt", ".rm", ".rmvb", ".roq", ".tod", ".tp", ".trp", ".ts", ".ty", ".vc1", ".vob", ".vro"}
    | {".webm", ".wmv", ".wtv", ".xvid", ".y4m"}
)  # fmt: skip
#: frames as numbers (`arrays`)
ARRAYS = frozenset({".npy", ".npz", ".csv"})
#: what systems leave in folders and archives: never a clip, never a class
LITTER = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "#recycle", "system volume information", "lost+found", "__pycache__"}
    | {"thumbs.db", "desktop.ini", "icon\r"}
)
_ADDRESS = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
#: schemes whose addresses are files; of those that may be either, the server is asked
_FILES, _WEB = frozenset({"ftp", "sftp", "smb"}), frozenset({"http", "https"})
_ANSWER_S = 5


@dataclass(frozen=True, slots=True)
class Source:
    """kind: file | pictures | array | camera | address | stdin. paths: one entry, or the pictures of a sequence in order.

    ends: of an address, that it is a file which lies elsewhere. options: names and values for FFmpeg, beside RTSP over TCP.
    hardware: decoded by the first device that can, or by this one (FFmpeg's name), if any can. keyframes: only those.
    """

    kind: Literal["file", "pictures", "array", "camera", "address", "stdin"]
    name: str
    paths: tuple[str, ...]
    ends: bool = False
    options: tuple[tuple[str, str], ...] = ()
    hardware: str | None = None
    keyframes: bool = False

    @property
    def live(self) -> bool:
        """True where frames are lost if nobody takes them in time."""
        return self.kind == "camera" or (self.kind == "address" and not self.ends)

    @property
    def where(self) -> str:
        """For messages: the path or address, without the password that stands in it."""
        return without_password(self.paths[0])


def resolve(source: str | int | os.PathLike[str], *, arrays: bool = False) -> list[Source]:
    """One `Source` per video that `source` names. Raises SourceError where it names nothing.

    A number is a camera (`./0` is a file of that name). A folder or glob gives its videos in natural order (2 before
    10); where it holds only pictures they are one video, and where there are neither, its arrays are read. arrays: they
    come first, for a model that takes no pictures. `-` is standard input. An address such as rtsp://host/path is opened as
    it is; a web server is asked whether it ends, as a file does.
    """
    if isinstance(source, int) or (isinstance(source, str) and source.isdecimal()):
        return [_camera(int(source))]
    text = os.fspath(source)
    if text in ("-", "/dev/stdin", "/dev/fd/0"):
        if sys.stdin is not None and sys.stdin.isatty():
            raise SourceError("No video comes in.", where="standard input", got="a terminal", hint="`- < video.mp4`, or a pipe")
        return [Source("stdin", "stdin", ("standard input",))]
    if address := _ADDRESS.match(text):
        scheme = address[1].lower()
        if scheme != "file":
            return [
                Source("address", without_password(text), (text,), ends=scheme in _FILES or (scheme in _WEB and _has_end(text)))
            ]
        text = unquote(urlsplit(text).path)
    path = Path(text)
    if text.startswith("/dev/video"):
        return [_camera_at(text)]
    if path.is_dir():
        return _many(list(path.iterdir()), path, "this folder", arrays)
    if path.exists():
        refuse_pipe(path)
        return [Source("array" if path.suffix.lower() in ARRAYS else "file", path.name, (text,))]
    if glob.has_magic(text):
        found = glob.glob(text, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
        return _many([Path(match) for match in found], path, "this pattern", arrays)
    raise SourceError(
        "There is no such video.",
        where=text,
        hint="give a file, a folder, a glob in quotes, a camera number, or an rtsp:// address",
    )


def refuse_pipe(path: Path) -> None:
    """Raises SourceError for a pipe that has a name: to open it waits for who writes, and it is read once and in order only."""
    if path.is_fifo() or path.is_socket():
        raise SourceError("This is a pipe, not a file.", where=path, hint=f"hand it over as standard input: `- < {path}`")


def is_litter(name: str) -> bool:
    """Hidden, such as the `._clip.mp4` that macOS puts beside `clip.mp4`, or left by a system."""
    return name.startswith(".") or name.casefold() in LITTER


def _many(found: list[Path], where: Path, what: str, arrays: bool) -> list[Source]:
    found = [path for path in found if not is_litter(path.name)]
    folders = sum(p.is_dir() for p in found)
    found = sorted((p for p in found if p.is_file()), key=lambda p: natural(str(p)))
    numbers = [Source("array", p.name, (str(p),)) for p in _arrays(found, folders)]
    videos = [p for p in found if p.suffix.lower() in VIDEOS]
    if numbers and arrays:
        return numbers
    if videos:
        return [Source("file", p.name, (str(p),)) for p in videos]
    pictures = [str(p) for p in found if p.suffix.lower() in PICTURES]
    if pictures:
        return [Source("pictures", where.name or str(where), tuple(pictures))]
    if numbers:
        return numbers
    raise SourceError(
        f"There is neither a video nor a picture in {what}.",
        where=where,
        expected="files such as .mp4, .mkv, .avi, or .png, .jpg",
        got=f"{len(found)} other files, {folders} folders",
        hint=f'folders below are found by a pattern in quotes: "{where}/**/*.mp4"' if folders else None,
    )


def _arrays(found: list[Path], folders: int) -> list[Path]:
    """A table beside arrays or folders is rather a list of what is there."""
    arrays = [path for path in found if path.suffix.lower() in ARRAYS]
    return [path for path in arrays if path.suffix.lower() != ".csv"] or ([] if folders else arrays)


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key under which frame_2 comes before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def without_password(address: str) -> str:
    """`rtsp://user:secret@host/` -> `rtsp://user:***@host/`; the same for values of a query that are called like one."""
    address = re.sub(r"^([a-z][a-z0-9+.-]*://[^/@:]*):[^/]*@", r"\1:***@", address, flags=re.IGNORECASE)
    return re.sub(r"([?&](?:pass|password|pwd|token|key|auth|secret)=)[^&#]*", r"\1***", address, flags=re.IGNORECASE)


def _has_end(address: str) -> bool:
    """Whether a web server says how long what lies there is, as it does of files and not of cameras. Playlists say it."""
    if urlsplit(address).path.lower().endswith(".m3u8"):
        return _asked(address, "GET", lambda answer: b"#EXT-X-ENDLIST" in answer.read(1 << 20))
    # a server may refuse to tell without sending
    return any(
        _asked(address, method, lambda answer: int(answer.headers.get("Content-Length", 0)) > 0) for method in ("HEAD", "GET")
    )


def _asked(address: str, method: str, told: Callable[[Any], bool]) -> bool:
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(address, method=method), timeout=_ANSWER_S) as answer:
            return told(answer)
    except (OSError, HTTPException, ValueError):  # what is wrong is said where it is opened
        return False


def camera(which: int | str) -> Source:
    """By its number or its device, whether or not it is there now."""
    if sys.platform == "darwin":  # AVFoundation knows numbers, and opens none at a rate that it was not told
        return Source("camera", f"camera {which}", (str(which),), options=(("framerate", "30"),))
    path = f"/dev/video{which}" if isinstance(which, int) else which
    return Source("camera", path, (path,))


def _camera(number: int) -> Source:
    return camera(number) if sys.platform == "darwin" else _camera_at(f"/dev/video{number}")


def _camera_at(path: str) -> Source:
    if not Path(path).exists():
        there = sorted((str(p) for p in Path("/dev").glob("video*")), key=natural)
        raise SourceError(
            "There is no such camera.",
            where=path,
            got=f"cameras here: {', '.join(there)}" if there else "no camera is connected",
            hint="plug it in or choose another number; a file of that name is ./NAME",
        )
    return camera(path)
