"""Videos that are broken by chance, always in the same ways, and a process that decodes many of them.

python mutants.py FOLDER FIRST LAST     decodes, and prints for each `NUMBER ok FRAMES`, or `NUMBER ERROR TEXT`
"""

from __future__ import annotations

import random
import signal
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from everyframe.errors import EveryframeError
from everyframe.video import Source
from everyframe.video.bounds import Bounds
from everyframe.video.decode import decode

#: container -> codec
BASES = {
    "a.mp4": "libx264", "b.mkv": "libx264", "c.ts": "libx264", "d.avi": "mpeg4", "e.webm": "libvpx", "f.mov": "mjpeg",
    "g.flv": "flv1", "h.mpg": "mpeg2video",
}  # fmt: skip
#: frames and seconds after which nothing new is learned of a mutant
FRAMES, SECONDS = 400, 20


def bases(folder: Path) -> None:
    import handmade

    for name, codec in BASES.items():
        full = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        handmade.write_video(folder / name, 12, rate=25, codec=codec, pix_fmt=full)


def mutant(folder: Path, number: int) -> Path:
    """Written beside its base, which every number chooses, as it does what is done to it."""
    rng = random.Random(number)
    base = rng.choice(sorted(BASES))
    data = bytearray((folder / base).read_bytes())
    for _ in range(rng.randint(1, 8)):
        rng.choice(WAYS)(data, rng)
    path = folder / f"{number}-{base}"
    path.write_bytes(data)
    return path


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _head(data: bytearray, rng: random.Random) -> None:
    """Where containers and codecs say what they are."""
    data[rng.randrange(min(512, len(data)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))


def _number(data: bytearray, rng: random.Random) -> None:
    """A size, a count or a time that is as large as can be, or nothing."""
    at, width = rng.randrange(len(data)), rng.choice((2, 4, 8))
    data[at : at + width] = rng.choice((b"\xff", b"\x00", b"\x7f")) * width


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[max(64, rng.randrange(len(data))) :]


def _lose(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : min(at + rng.randint(1, 200), len(data) - 64)]


def _twice(data: bytearray, rng: random.Random) -> None:
    at, size = rng.randrange(len(data)), rng.randint(1, 400)
    data[at:at] = data[at : at + size]


WAYS = (_flip, _flip, _head, _number, _cut, _lose, _twice)


def broken(data: bytes, number: int) -> bytes:
    """The same for bytes that are no file."""
    rng, made = random.Random(number), bytearray(data)
    for _ in range(rng.randint(1, 6)):
        rng.choice(WAYS)(made, rng)
    return bytes(made)


def source(path: Path) -> Source:
    return Source("file", path.name, (str(path),))


def main(folder: Path, first: int, last: int) -> None:
    import resource

    bounds = Bounds()
    resource.setrlimit(resource.RLIMIT_AS, (bounds.memory, bounds.memory))

    def too_long(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, too_long)
    for number in range(first, last):
        path = mutant(folder, number)
        print(number, end=" ", flush=True)
        signal.alarm(SECONDS)
        try:
            frames = 0
            for frame in islice(decode(source(path), threads=1, bounds=bounds), FRAMES):
                frames += bool(np.isfinite(float(frame.pts)))
            print("ok", frames, flush=True)
        except EveryframeError as error:
            print(type(error).__name__, error.what, flush=True)
        except MemoryError:
            print("memory", flush=True)
        finally:
            signal.alarm(0)
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
