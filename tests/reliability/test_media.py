"""Videos that are broken, or made to harm: whoever reads them gets frames or an error of ours, soon, and lives."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import handmade
import mutants
from everyframe.errors import EveryframeError, SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.video import Reader, Source
from everyframe.video.bounds import Bounds

Figure = Callable[[str], None]
SMALL = Preprocess(resize=(24, 32))


def read(source: Source, bounds: Bounds | None = None) -> str:
    """How it ended, as whoever reads it is told."""
    try:
        with Reader(source, SMALL, bounds=bounds) as frames:
            for number, _ in enumerate(frames):
                if number > mutants.FRAMES:
                    break
    except EveryframeError as error:
        return type(error).__name__
    return "ok"


def decoded(folder: Path, first: int, last: int) -> tuple[Counter[str], list[int]]:
    """How many ended how, and those that took their process with them."""
    found, fatal = Counter[str](), list[int]()
    while first < last:
        command = [sys.executable, mutants.__file__, str(folder), str(first), str(last)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
        found.update(how for _, how, *_ in lines if how)
        first = int(lines[-1][0]) + 1 if lines else last
        if done.returncode:
            assert lines, done.stderr
            assert done.returncode < 0, done.stderr  # a codec that crashed, rather than an exception of ours
            fatal.append(first - 1)
    return found, fatal


def survived(folder: Path, count: int, figure: Figure) -> None:
    mutants.bases(folder)
    begun = time.monotonic()
    found, fatal = decoded(folder, 0, count)
    assert set(found) <= {"ok", "SourceError", "memory"} and found["ok"] and found["SourceError"]
    assert found.total() + len(fatal) == count
    for number in fatal:
        assert read(mutants.source(mutants.mutant(folder, number))) == "SourceError"
    figure(f"{count} broken videos in {time.monotonic() - begun:.0f} s: {dict(found)}, {len(fatal)} ended their decoder")


def test_broken_videos_are_read_or_refused(tmp_path: Path, figure: Figure) -> None:
    survived(tmp_path, 80, figure)
    for number in range(3):  # as everybody reads them
        assert read(mutants.source(mutants.mutant(tmp_path, number))) in ("ok", "SourceError")


@pytest.mark.soak
def test_two_thousand_broken_videos(tmp_path: Path, figure: Figure) -> None:
    survived(tmp_path, 2000, figure)


# -- bombs ----------------------------------------------------------------------------------------------------------------------

HUGE = 65_500


def gif() -> bytes:
    """A screen of 4 gigapixels, and a picture as large that a few bytes describe."""
    size = struct.pack("<HH", HUGE, HUGE)
    picture = b"\x2c" + struct.pack("<HH", 0, 0) + size + b"\x00\x02\x02\x44\x01\x00"
    return b"GIF89a" + size + b"\x80\x00\x00\x00\x00\x00\xff\xff\xff" + picture + b"\x3b"


def y4m() -> bytes:
    return f"YUV4MPEG2 W{HUGE} H{HUGE} F25:1 C420jpeg\nFRAME\n".encode() + bytes(4096)


def avi(folder: Path) -> bytes:
    """MJPEG, whose pictures say that they are as large."""
    data = bytearray(handmade.write_video(folder / "m.avi", 3, codec="mjpeg", pix_fmt="yuvj420p").read_bytes())
    at = 0
    while (at := data.find(b"\xff\xc0\x00\x11\x08", at + 1)) > 0:
        data[at + 5 : at + 9] = struct.pack(">HH", HUGE, HUGE)
    return bytes(data)


def h264(folder: Path, name: str = "h.mp4") -> bytes:
    """A true one, gray, of 10 million pixels: a few kilobytes."""
    picture = np.full((2304, 4352, 3), 128, np.uint8)
    return handmade.write_video(folder / name, [picture], codec="libx264").read_bytes()


def h264_ts(folder: Path) -> bytes:
    """Whose container says nothing of its size."""
    return h264(folder, "h.ts")


BOMBS: dict[str, Callable[[Path], bytes]] = {
    "a.gif": lambda _: gif(),
    "b.y4m": lambda _: y4m(),
    "c.avi": avi,
    "d.mp4": h264,
    "e.ts": h264_ts,
}


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, figure: Figure) -> None:
    """As uploads are decoded: neither the time nor the memory that the pictures would take is taken."""
    paths = [handmade.write_video(tmp_path / "plain.mp4", 3)]
    for name, make in BOMBS.items():
        (path := tmp_path / name).write_bytes(make(tmp_path))
        paths.append(path)
    (usual, _, ended), *bombs = weighed(paths)
    assert ended == "ok"
    for path, (memory, took, ended) in zip(paths[1:], bombs, strict=True):
        figure(f"{path.suffix} of {path.stat().st_size} bytes: {ended} after {took:.0f} ms, {memory - usual:+.0f} MB")
        assert ended == "SourceError" and memory - usual < 64


_WEIGHED = """
import resource, sys, time
from pathlib import Path
import everyframe.video.decode
from everyframe.errors import EveryframeError
from everyframe.video import Source
from everyframe.video.bounds import Bounds
bounds = Bounds()
resource.setrlimit(resource.RLIMIT_AS, (bounds.memory, bounds.memory))
for path in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    begun, said = time.monotonic(), "ok"
    try:
        for _ in everyframe.video.decode.decode(Source("file", "v", (path,)), bounds=bounds, threads=1):
            pass
    except EveryframeError as error:
        said = type(error).__name__
    took = time.monotonic() - begun
    most = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(int(most) / 1e3, 1e3 * took, said)
"""


def weighed(paths: Sequence[Path]) -> list[tuple[float, float, str]]:
    """Of each: the most memory of a process that decodes it, MB; milliseconds until it was refused; how it ended."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _WEIGHED, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    lines = (line.split() for line in done.stdout.splitlines())
    return [(float(memory), float(took), said) for memory, took, said in lines]


def test_a_bomb_ends_no_reader(tmp_path: Path) -> None:
    """The process that decodes may take no more than its bounds, whatever is in the file."""
    (path := tmp_path / "a.gif").write_bytes(gif())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SourceError), Reader(Source("file", "a.gif", (str(path),)), SMALL, bounds=Bounds()) as frames:
        list(frames)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32_000
