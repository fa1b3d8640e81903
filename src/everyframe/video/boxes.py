"""The bytes of a file beside what FFmpeg tells: where the index (moov) of an MP4 or MOV file stands, what is glued behind a file.

Also standard input, which FFmpeg reads through `Piped`, so that it is known what came.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

#: the first box of a file is one of these
_FIRST = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_EBML = b"\x1aE\xdf\xa3"  # where a Matroska file begins
_MOST = 100_000  # boxes that are looked at
#: bytes behind the last packet among which the beginning of another file is looked for; an index may stand between
_NEAR = 1 << 24
#: packets of a transport stream that begin its table of contents (program association: PID 0), among so many first and last
#: bytes; one of so many has what it names in the packets behind it
_TABLE, _TABLE_SIZE, _TAIL, _TABLES = re.compile(rb"\x47[\x40\x60]\0[\x10-\x3f]"), 8 * 192, 1 << 20, 8


class Boxes:
    """kinds: types of the boxes so far, in order; empty for what is no such file. `feed` it bytes as they come."""

    def __init__(self) -> None:
        self.kinds: list[bytes] = []
        self.skip = 0  # bytes of the current box that are still to come
        self.over = False
        self._head = b""

    def feed(self, data: bytes) -> None:
        while data and not self.over:
            over = min(self.skip, len(data))
            self.skip, data = self.skip - over, data[over:]
            if data:
                self._head, data = self._head + data[: 16 - len(self._head)], data[16 - len(self._head) :]
            if len(self._head) == 16:
                data, self._head = self._enter(self._head) + data, b""

    def _enter(self, head: bytes) -> bytes:
        """The 16 bytes at the beginning of a box, of which 8 may be its content or the next ones: those are given back."""
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        known = head[:8] if size != 1 else head
        size = int.from_bytes(head[8:], "big") if size == 1 else size
        self.over = size < len(known) or (not self.kinds and kind not in _FIRST) or len(self.kinds) >= _MOST
        if not self.over or (size == 0 and self.kinds):  # 0: to the end of the file
            self.kinds.append(kind)
        self.skip = 0 if self.over else size - len(known)
        return head[len(known) :]

    @property
    def index_last(self) -> bool:
        """The pictures came, and before them no index."""
        return b"mdat" in self.kinds and b"moov" not in self.kinds[: self.kinds.index(b"mdat")]

    @property
    def files(self) -> int:
        """How many there are one behind the other."""
        return self.kinds.count(b"moov")


def boxes_of(path: str) -> Boxes:
    """Of a file: reads nothing but the beginnings of its boxes."""
    found = Boxes()
    with contextlib.suppress(OSError), Path(path).open("rb", buffering=0) as file:
        while data := file.read(16):
            found.feed(data)
            if found.over:
                break
            file.seek(found.skip, os.SEEK_CUR)
            found.skip = 0
    return found


def glued(path: str, end: int, once: bool = False) -> bool:
    """Is another file behind the first? Of MP4 its boxes say so; another kind begins anew behind `end`, the last packet's.
    once: with what has not stood before `end` as well, as it does where each frame begins like the file.
    """
    if boxes := boxes_of(path).files:
        return boxes > 1
    with contextlib.suppress(OSError), Path(path).open("rb", buffering=0) as file:
        head, begin = file.read(12), max(1, end - _NEAR) if once else end
        file.seek(begin)
        return head not in file.read(end - begin) and head in file.read(_NEAR)
    return False


def codecs(path: str) -> set[str]:
    """Of the video of a transport stream, by its first and its last table of contents: two where recordings are glued together,
    which FFmpeg does not tell. It goes on with one of their decoders.
    """
    found = set()
    with contextlib.suppress(OSError), Path(path).open("rb", buffering=0) as file:
        head = file.read(_TAIL)
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        for data, order in ((head, 1), (file.read(_TAIL), -1)):
            tables = [data[each.start() :][:_TABLE_SIZE] for each in _TABLE.finditer(data)][::order]
            found |= set(next(filter(None, map(_named, tables[:_TABLES])), []))
    return found


def _named(table: bytes) -> list[str]:
    with contextlib.suppress(av.FFmpegError), av.open(io.BytesIO(table), format="mpegts") as container:
        return [stream.codec_context.name for stream in container.streams.video[:1]]
    return []


def set_up_anew(path: str, seams: Sequence[tuple[int, int]], told: bytes) -> bool:
    """Whether at a seam, bytes (from, to), a recording begins whose decoder should be told something else: of Matroska FFmpeg
    reads that of the first only. told: what the first says.
    """
    with contextlib.suppress(OSError), Path(path).open("rb", buffering=0) as file:
        for begin, end in seams:
            file.seek(begin)
            between = file.read(max(0, min(end - begin, _TAIL)))
            if _EBML in between and told not in between:
                return True
    return False


def glued_header(container: str, packet: Any) -> bool:
    """Whether FFmpeg took the beginning of a recording that is glued on for a frame: in NUT, which writes this there."""
    return container == "nut" and b"multimedia container\0" in bytes(memoryview(packet)[:32])


class Piped:
    """Standard input as PyAV reads it: a file that cannot go back. count: bytes so far."""

    def __init__(self, descriptor: int = 0) -> None:
        self.boxes, self.count = Boxes(), 0
        self._descriptor = descriptor

    def read(self, size: int) -> bytes:
        data = os.read(self._descriptor, size)
        self.count += len(data)
        self.boxes.feed(data)
        return data


def standard_input() -> Any:
    """A file that was put there with `<` can be read anywhere; a pipe cannot."""
    return open(0, "rb", buffering=0, closefd=False) if stat.S_ISREG(os.fstat(0).st_mode) else Piped()
