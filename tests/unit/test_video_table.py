"""Codecs, pixel formats, ranges, matrices, orientations and rates, each against arithmetic on the planes that were written.

Every value of a column meets every codec and format; the columns are not multiplied with one another.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import cycle
from pathlib import Path

import av
import numpy as np
import pytest

from everyframe.modelfile.schema import Preprocess
from everyframe.video import prepare, resolve, sample
from everyframe.video.decode import decode

BLOCK, ROWS, COLUMNS, FRAMES = 16, 3, 4, 12
#: AVCOL_SPC_*: Kr, Kb
MATRICES = {5: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 7: (0.212, 0.087), 2: (0.299, 0.114)}
RANGES = {1: "limited", 2: "full"}
ORIENTATIONS = {
    "as it is": ((1, 0, 0, 1), lambda p: p), "mirrored": ((-1, 0, 0, 1), np.fliplr),
    "turned": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)), "upside down": ((1, 0, 0, -1), np.flipud),
    "transposed": ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
    "right": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)), "transverse": ((0, -1, -1, 0), lambda p: np.rot90(p, 2).swapaxes(0, 1)),
    "left": ((0, -1, 1, 0), np.rot90),
}  # fmt: skip
RATES = [Fraction(25), Fraction(30_000, 1001), Fraction(12), Fraction(60)]
#: codec, container, pixel format, options, levels that coding may cost
CODECS = [
    ("libx264", "mp4", "yuv420p", {"qp": "0"}, 0), ("libx264", "mov", "yuv422p", {"qp": "0"}, 0),
    ("libx264", "mp4", "yuv444p", {"qp": "0"}, 0), ("libx264", "mp4", "yuv420p10le", {"qp": "0"}, 0),
    ("libx265", "mp4", "yuv420p", {"x265-params": "lossless=1:log-level=none"}, 0),
    ("ffv1", "mkv", "yuv420p", {}, 0), ("ffv1", "mkv", "yuv444p10le", {}, 0), ("ffv1", "mkv", "yuv410p", {}, 0),
    ("huffyuv", "avi", "yuv422p", {}, 0), ("rawvideo", "avi", "yuv420p", {}, 0),
    ("libvpx-vp9", "webm", "yuv420p", {"lossless": "1"}, 0),
    ("mpeg4", "mp4", "yuv420p", {"q": "1", "b": "20M"}, 4), ("mpeg2video", "ts", "yuv420p", {"b": "20M"}, 4),
    ("mjpeg", "mov", "yuvj420p", {"q": "1", "b": "20M"}, 4),
]  # fmt: skip
#: containers and codecs that carry a tag; elsewhere it is lost, and the picture is BT.601 of limited range
CARRIES = {"libx264", "libx265", "ffv1", "libvpx-vp9"}
TURNS = {"mp4", "mov"}


def planes(depth: int, full: bool, seed: int) -> np.ndarray:
    """(3, ROWS, COLUMNS): Y, Cb, Cr of blocks, inside what RGB can show."""
    rng = np.random.default_rng(seed)
    low, high = (20, 235) if full else (40, 220)
    y = rng.integers(low, high, (1, ROWS, COLUMNS))
    return np.concatenate([y, rng.integers(118, 139, (2, ROWS, COLUMNS))]) << (depth - 8)


def rgb(yuv: np.ndarray, depth: int, full: bool, matrix: int) -> np.ndarray:
    """(ROWS, COLUMNS, 3), by the standards' definition."""
    kr, kb = MATRICES[matrix]
    top = 2**depth - 1 if full else 1 << (depth - 8)
    y = yuv[0] / top if full else (yuv[0] / top - 16) / 219
    cb, cr = ((c - (128 << (depth - 8))) / (top if full else 224 * top) for c in yuv[1:])
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return np.stack([r, (y - kr * r - kb * b) / (1 - kr - kb), b], -1).clip(0, 1) * 255


def frame_of(yuv: np.ndarray, pixel_format: str) -> av.VideoFrame:
    frame = av.VideoFrame(COLUMNS * BLOCK, ROWS * BLOCK, pixel_format)
    for plane, values in zip(frame.planes, yuv, strict=True):
        kind = np.uint16 if "10le" in pixel_format else np.uint8
        whole = np.repeat(np.repeat(values, plane.height // ROWS, 0), plane.width // COLUMNS, 1).astype(kind)
        rows = np.frombuffer(plane, kind).reshape(plane.height, -1)  # type: ignore[call-overload]
        rows[:, : plane.width] = whole
    return frame


def write(path: Path, frames: list[av.VideoFrame], codec: str, options: dict[str, str], how: dict[str, object]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=how["rate"], options=options)  # type: ignore[call-overload]
        stream.width, stream.height, stream.pix_fmt = COLUMNS * BLOCK, ROWS * BLOCK, frames[0].format.name
        stream.codec_context.colorspace, stream.codec_context.color_range = how["matrix"], how["range"]
        for i, frame in enumerate(frames):
            frame.pts, frame.time_base = i, 1 / Fraction(how["rate"])  # type: ignore[call-overload]
            frame.colorspace, frame.color_range = how["matrix"], how["range"]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if path.suffix[1:] in TURNS:
        data = path.read_bytes()
        start = data.index(b"tkhd") + 44
        a, b, c, d = (value * 0x10000 for value in how["abcd"])  # type: ignore[attr-defined]
        rows = b"".join(value.to_bytes(4, "big", signed=True) for value in (a, b, 0, c, d, 0, 0, 0, 0x40000000))
        path.write_bytes(data[:start] + rows + data[start + 36 :])


@pytest.mark.parametrize("case", CODECS, ids=lambda case: "-".join(case[:3]))
def test_pictures_and_times_are_those_that_were_written(tmp_path: Path, case: tuple[str, str, str, dict[str, str], int]) -> None:
    codec, suffix, pixel_format, options, loss = case
    depth = 10 if "10le" in pixel_format else 8
    turns, rates = cycle(ORIENTATIONS.values()), cycle(RATES)
    for number, (matrix, color_range) in enumerate((m, r) for m in MATRICES for r in RANGES):
        carried = codec in CARRIES and suffix != "avi"
        full = pixel_format.startswith("yuvj") or (color_range == 2 and carried)
        (abcd, shown), rate = next(turns), next(rates)
        if number == len(ORIENTATIONS):  # the columns drift apart
            next(rates)
        told = {"matrix": matrix, "range": 2 if full else color_range, "rate": rate, "abcd": abcd}
        yuv = [planes(depth, full, number * FRAMES + i) for i in range(FRAMES)]
        path = tmp_path / f"{number}.{suffix}"
        write(path, [frame_of(each, pixel_format) for each in yuv], codec, options, told)
        got = list(decode(resolve(path)[0]))
        np.testing.assert_allclose([float(f.pts) for f in got], [float(i / rate) for i in range(FRAMES)], atol=1.1e-3)
        assert len(list(sample(got, fps=float(rate)))) == FRAMES
        for frame, each in zip(got, yuv, strict=True):
            expected = rgb(each, depth, full, matrix if carried else 5)
            expected = shown(expected) if suffix in TURNS else expected
            for scale in (1, 2):
                size = (expected.shape[0] * BLOCK // scale, expected.shape[1] * BLOCK // scale)
                made = prepare(frame.picture, Preprocess(resize=size)).astype(float)
                step = BLOCK // scale
                centers = made[step // 2 :: step, step // 2 :: step]
                assert np.abs(centers - expected).max() <= 2.5 + loss, (number, told, scale)
