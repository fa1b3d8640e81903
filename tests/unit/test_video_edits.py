"""Edit lists of MP4 and MOV, with which phones cut: what is shown of the stored frames, and when."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from everyframe.data.clips import Clip
from everyframe.data.header import probe
from unit.test_video_clock import seen, video


def changed(data: bytes, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    """The file with other contents of the boxes at `path`."""
    made, at = b"", 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + size]
        if kind == path[0]:
            body = changed(body, path[1:], change) if path[1:] else change(body)
        made += struct.pack(">I4s", 8 + len(body), kind) + body
        at += size
    return made


def edited(path: Path, edits: list[tuple[float, float | None]], **options: str) -> Path:
    """40 frames, and the list (seconds, from where in the stored ones); None: nothing is shown so long."""
    data = video(path, 40, **options).read_bytes()
    movie, media = (struct.unpack(">I", data[(at := data.index(kind) + 16) : at + 4])[0] for kind in (b"mvhd", b"mdhd"))
    first = struct.unpack(">i", data[(at := data.index(b"elst") + 16) : at + 4])[0]  # where B-frames let the pictures begin
    rows = b"".join(
        struct.pack(">IiI", round(seconds * movie), -1 if since is None else first + round(since * media), 0x10000)
        for seconds, since in edits
    )
    path.write_bytes(changed(data, (b"moov", b"trak", b"edts", b"elst"), lambda _: struct.pack(">II", 0, len(edits)) + rows))
    return path


@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "2"}, {"codec": "mpeg4", "bf": "0"}], ids=str)
@pytest.mark.parametrize(
    ("edits", "shown"),
    [
        ([(1.0, 0.6)], [*range(15, 40)]),
        ([(0.4, 0.0)], [*range(10)]),
        ([(0.5, None), (1.6, 0.0)], [*range(40)]),
        ([(0.4, 0.0), (0.4, 0.0)], [*range(10), *range(10)]),
        ([(0.4, 0.8), (0.4, 0.0)], [*range(20, 30), *range(10)]),
        ([(99.0, 0.0)], [*range(40)]),
    ],
    ids=["a beginning is cut", "an end is cut", "begins late", "twice", "swapped", "says more than there is"],
)
def test_what_an_edit_list_shows(
    tmp_path: Path, edits: list[tuple[float, float | None]], shown: list[int], options: dict[str, str]
) -> None:
    path = edited(tmp_path / "v.mp4", edits, **options)
    numbers, times = seen(path)
    assert numbers == shown
    assert times == pytest.approx([number / 25 for number in range(len(shown))], abs=2e-3)
    assert probe(Clip(path, 0, "v")).frames == len(shown)
