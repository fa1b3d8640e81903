"""What is read from a pipe, and what the user is told of a source that is no error: against files made here."""

from __future__ import annotations

import io
import os
import random
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import handmade
from everyframe.data.clips import Clip
from everyframe.data.header import probe
from everyframe.errors import SourceError
from everyframe.video import Source, resolve
from everyframe.video import decode as decoding
from everyframe.video.boxes import Boxes, Piped, boxes_of
from everyframe.video.decode import decode

STDIN = Source("stdin", "stdin", ("standard input",))
NOISE = list(np.random.default_rng(0).integers(0, 255, (40, 96, 128, 3), np.uint8))
FAST = {"movflags": "+faststart"}


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], Source]]:
    """Bytes become what is read from standard input."""
    threads: list[threading.Thread] = []

    def fill(data: bytes) -> Source:
        read, write = os.pipe()

        def send() -> None:
            with os.fdopen(write, "wb") as file:
                file.write(data)

        threads.append(threading.Thread(target=send, daemon=True))
        threads[-1].start()
        monkeypatch.setattr(decoding, "standard_input", lambda: Piped(read))
        return STDIN

    yield fill
    for thread in threads:
        thread.join()


def frames_of(source: Source) -> int:
    return sum(1 for _ in decode(source))


class TestPipe:
    @pytest.mark.parametrize(
        ("name", "codec", "options"),
        [("a.mp4", "mpeg4", FAST), ("b.mp4", "mpeg4", {"movflags": "frag_keyframe+empty_moov"}), ("c.ts", "mpeg2video", {}),
         ("d.webm", "libvpx", {}), ("e.mkv", "mpeg4", {}), ("f.avi", "mpeg4", {})],
    )  # fmt: skip
    def test_what_can_be_read_in_order_is(self, tmp_path: Path, pipe, name: str, codec: str, options: dict[str, str]) -> None:
        path = handmade.write_video(tmp_path / name, NOISE, codec=codec, options=options)
        assert frames_of(pipe(path.read_bytes())) == len(NOISE)

    def test_y4m(self, pipe) -> None:
        assert frames_of(pipe(b"YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C420\n" + (b"FRAME\n" + bytes(384)) * 5)) == 5

    def test_an_index_behind_the_pictures_is_said_with_what_to_do(self, tmp_path: Path, pipe) -> None:
        path = handmade.write_video(tmp_path / "a.mp4", NOISE)
        with pytest.raises(SourceError, match=r"its index comes last.*\n.*standard input\n.*\+faststart"):
            frames_of(pipe(path.read_bytes()))

    @pytest.mark.parametrize(("data", "what"), [(b"", "Nothing came in"), (b"hello", "This is not a video")])
    def test_no_video(self, pipe, data: bytes, what: str) -> None:
        with pytest.raises(SourceError, match=what):
            frames_of(pipe(data))

    def test_a_file_in_its_place_is_read_anywhere(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "a.mp4", NOISE)
        with path.open("rb") as file:
            script = "import sys; from everyframe.video.decode import decode; from everyframe.video import resolve; "
            script += "print(sum(1 for _ in decode(resolve('-')[0])))"
            done = subprocess.run([sys.executable, "-c", script], stdin=file, capture_output=True, text=True, check=True)
        assert done.stdout == f"{len(NOISE)}\n"

    def test_one_that_has_a_name_is_not_waited_for(self, tmp_path: Path) -> None:
        """Its other end may never be opened."""
        os.mkfifo(tmp_path / "v.mp4")
        with pytest.raises(SourceError, match=r"a pipe(.|\n)*- < .*v\.mp4"):
            resolve(tmp_path / "v.mp4")
        assert "a pipe" in (probe(Clip(tmp_path / "v.mp4", 0, "v")).error or "")
        with pytest.raises(SourceError, match="neither a video"):
            resolve(tmp_path)
        assert resolve("/dev/stdin") == resolve("-")

    def test_a_terminal_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
        with pytest.raises(SourceError, match=r"No video comes in(.|\n)*a terminal"):
            resolve("-")


def box(kind: bytes, size: int, form: str = "short") -> bytes:
    """Of `size` bytes of content."""
    if form == "long":
        return (1).to_bytes(4, "big") + kind + (size + 16).to_bytes(8, "big") + bytes(size)
    return (0 if form == "open" else size + 8).to_bytes(4, "big") + kind + bytes(size)


class TestBoxes:
    @pytest.mark.parametrize("seed", range(30))
    def test_kinds_in_any_pieces(self, tmp_path: Path, seed: int) -> None:
        draw = random.Random(seed)
        kinds = [b"ftyp", *(draw.choice((b"moov", b"mdat", b"free", b"moof", b"uuid")) for _ in range(draw.randrange(9)))]
        forms = [draw.choice(("short", "long")) for _ in kinds]
        forms[-1] = draw.choice(("short", "long", "open")) if len(kinds) > 1 else "short"
        sizes = [draw.choice((8, 9, 100, 4000)) for _ in kinds]
        data = b"".join(box(*each) for each in zip(kinds, sizes, forms, strict=True))
        (tmp_path / "a.mp4").write_bytes(data)
        fed, at = Boxes(), 0
        while at < len(data):
            size = draw.choice((1, 3, 16, 1000))
            fed.feed(data[at : at + size])
            at += size
        assert fed.kinds == boxes_of(str(tmp_path / "a.mp4")).kinds == kinds

    @pytest.mark.parametrize("data", [b"", b"RIFF", bytes(100), b"\xff" * 4096, (7).to_bytes(4, "big") + b"ftyp" + bytes(20)])
    def test_of_other_files_there_are_none(self, data: bytes) -> None:
        found = Boxes()
        found.feed(data)
        assert (found.kinds, found.index_last) == ([], False)


def notes(path: Path) -> tuple[int, list[str]]:
    """Frames, and what is said."""
    said: list[str] = []
    return sum(1 for _ in decode(resolve(str(path))[0], note=said.append)), said


class TestNotes:
    @pytest.mark.parametrize(
        ("name", "codec", "options", "played"),
        [
            ("a.mp4", "mpeg4", {}, 1), ("a.mp4", "mpeg4", FAST, 1),
            ("a.mov", "mpeg4", {"movflags": "frag_keyframe+empty_moov"}, 4 / 3),
            ("a.flv", "libx264", {}, 1), ("a.wmv", "msmpeg4", {}, 1), ("a.y4m", "rawvideo", {}, 1),
            ("a.avi", "mpeg4", {}, 3), ("a.mkv", "mpeg4", {}, 2), ("a.webm", "libvpx", {}, 2), ("a.ts", "libx264", {}, 3),
            ("a.mpg", "mpeg2video", {}, 3), ("a.gif", "gif", {}, 3), ("a.ivf", "libvpx", {}, 1), ("a.ogv", "libvpx", {}, 1),
            ("a.rm", "rv20", {}, 1), ("a.nut", "mpeg4", {}, 1), ("a.nut", "libx264", {}, 1), ("b.nut", "libx264", {"bf": "0"}, 1),
        ],
    )  # fmt: skip
    def test_recordings_glued_together(self, tmp_path: Path, name: str, codec: str, options: Any, played: float) -> None:
        """All are played, or the summary says that they were not."""
        path = handmade.write_video(
            tmp_path / name, 12, rate=25, codec=codec, options=options, pix_fmt="rgb8" if codec == "gif" else "yuv420p"
        )
        assert notes(path) == (12, [])
        path.write_bytes(path.read_bytes() * 3)
        frames, said = notes(path)
        assert frames == 12 * played
        assert ["glued behind" in note for note in said] == [True] * (played < 3)

    @pytest.mark.parametrize("codecs", [("libx264", "mpeg2video"), ("mpeg2video", "libx265"), ("libx265", "libx264")])
    def test_a_recording_of_another_codec_behind(self, tmp_path: Path, codecs: tuple[str, str]) -> None:
        """The decoder of the first one meets it as damage, or as nothing; it is told what it is, and nothing hangs."""
        quiet = {"libx265": {"x265-params": "log-level=none"}}
        parts = [handmade.write_video(tmp_path / f"{c}.ts", 12, rate=25, codec=c, options=quiet.get(c, {})) for c in codecs]
        (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
        assert all(notes(part) == (12, []) for part in parts)
        frames, said = notes(tmp_path / "a.ts")
        assert 9 <= frames <= 13 and [note for note in said if "glued together" in note]

    @pytest.mark.parametrize("width", [64, 96])
    def test_recordings_of_two_sizes_in_one_matroska(self, tmp_path: Path, width: int) -> None:
        """FFmpeg decodes all of them by what the first says of itself."""
        parts = [[np.zeros((48, each, 3), np.uint8)] * 12 for each in (64, width)]
        files = [handmade.write_video(tmp_path / f"{i}.mkv", part, rate=25, codec="libx264") for i, part in enumerate(parts)]
        (tmp_path / "a.mkv").write_bytes(b"".join(file.read_bytes() for file in files))
        frames, said = notes(tmp_path / "a.mkv")
        assert frames == 24 and ["played wrongly" in note for note in said] == [True] * (width != 64)

    @pytest.mark.parametrize("count", [1, 12])
    @pytest.mark.parametrize("name", ["a.y4m", "a.ivf", "a.mjpeg", "a.flv"])
    def test_one_recording_is_no_two(self, tmp_path: Path, name: str, count: int) -> None:
        codec = {"y4m": "rawvideo", "ivf": "libvpx", "mjpeg": "mjpeg", "flv": "flv1"}[name[2:]]
        pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        path = handmade.write_video(tmp_path / name, count, rate=25, codec=codec, pix_fmt=pix_fmt)
        frames, said = notes(path)
        assert frames == count and not any("glued" in note for note in said)

    @pytest.mark.parametrize(
        ("matrix", "curve", "said"),
        [(1, 1, None), (2, 2, None), (5, 6, None), (9, 14, None), (8, 1, "YCgCo.*BT.601"),
         (10, 14, "constant luminance.*BT.2020"), (9, 16, "HDR .PQ"), (9, 18, "HDR .HLG")],
    )  # fmt: skip
    def test_colors_that_are_approximated(self, tmp_path: Path, matrix: int, curve: int, said: str | None) -> None:
        path = tmp_path / "a.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.colorspace, stream.codec_context.color_trc = matrix, curve
            for _ in range(3):
                frame = av.VideoFrame.from_ndarray(handmade.picture(90), format="rgb24").reformat(format="yuv420p")
                frame.colorspace, frame.color_trc = matrix, curve
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        _, found = notes(path)
        assert len(found) == (said is not None)
        if said is not None:
            assert re.search(said, found[0])


def heif(path: Path, tiles: int) -> Path:
    """A picture as phones keep it: one coded item, or several that are tiles of a grid (ISO/IEC 23008-12)."""

    def box(kind: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I4s", len(body) + 8, kind) + body

    def full(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
        return box(kind, bytes([version, 0, 0, 0]), *parts)

    def numbers(form: str, *values: Any) -> bytes:
        return struct.pack(f">{form}", *values)

    tile, grid = io.BytesIO(), numbers("BBBBHH", 0, 0, 0, tiles - 1, 64 * tiles, 64)
    Image.fromarray(handmade.picture(200, 64, 64)).save(tile, "JPEG")
    items = [(b"jpeg", tile.getvalue(), 1)] * tiles + [(b"grid", grid, 2)] * (tiles > 1)  # kind, data, which of the sizes
    ids = range(1, len(items) + 1)
    sizes = [full(b"ispe", numbers("II", width, 64)) for width in (64, 64 * tiles)]
    kinds = [full(b"infe", numbers("HH4sB", i, 0, kind, 0), version=2) for i, (kind, *_) in zip(ids, items, strict=True)]
    owned = [numbers("HBB", i, 1, size) for i, (*_, size) in zip(ids, items, strict=True)]
    made_of = box(b"dimg", numbers("HH", len(items), tiles), *(numbers("H", i) for i in ids[:tiles]))
    parts = [
        full(b"hdlr", bytes(4), b"pict", bytes(13)), full(b"pitm", numbers("H", len(items))),
        full(b"iinf", numbers("H", len(items)), *kinds), full(b"iref", made_of) if tiles > 1 else b"",
        box(b"iprp", box(b"ipco", *sizes), full(b"ipma", numbers("I", len(items)), *owned)),
    ]  # fmt: skip
    head, where = box(b"ftyp", b"mif1", bytes(4), b"mif1"), 0
    for _ in range(2):  # places of the items depend on the size of what says them
        listed = []
        for i, (_, data, _) in zip(ids, items, strict=True):
            listed.append(numbers("HHHII", i, 0, 1, where, len(data)))
            where += len(data)
        meta = full(b"meta", *parts, full(b"iloc", b"\x44\x00", numbers("H", len(items)), *listed))
        where = len(head) + len(meta) + 8
    path.write_bytes(head + meta + box(b"mdat", *(data for _, data, _ in items)))
    return path


def test_a_picture_of_tiles_is_not_taken_for_one_of_them(tmp_path: Path) -> None:
    (frame,) = decode(resolve(heif(tmp_path / "one.heif", 1))[0])
    assert (frame.picture.width, frame.picture.height) == (64, 64)
    with pytest.raises(SourceError, match="kept in tiles"):
        list(decode(resolve(heif(tmp_path / "grid.HEIC", 3))[0]))
