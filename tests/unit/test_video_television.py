"""What television and its cameras left: DV, and films whose pictures stay for two fields or three (telecine)."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import handmade
from everyframe.modelfile.schema import Preprocess
from everyframe.video import prepare, resolve, sample
from everyframe.video.decode import decode
from unit.test_video_clock import seen

NTSC = Fraction(30_000, 1001)


def encoded(path: Path, pictures: list[np.ndarray], rate: Fraction | int, codec: str, pixels: str = "yuv420p") -> Path:
    """In two fields a frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"flags": "+ildct+ilme", "b": "8M"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = i, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("suffix", "height", "rate", "pixels"), [("dv", 576, Fraction(25), "yuv420p"), ("avi", 480, NTSC, "yuv411p")]
)
def test_dv(tmp_path: Path, suffix: str, height: int, rate: Fraction, pixels: str) -> None:
    """Two fields a frame, pixels that are not square: the picture as a television shows it, four thirds as wide as high."""
    blocks = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    picture = np.ascontiguousarray(blocks.repeat(64, 0)[:height].repeat(60, 1))
    path = encoded(tmp_path / f"v.{suffix}", [picture] * 3, rate, "dvvideo", pixels)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert (frame.interlaced_frame, frame.width, frame.height) == (True, 720, height)
    frames = list(decode(resolve(path)[0]))
    np.testing.assert_allclose([float(each.pts) for each in frames], np.arange(3) / float(rate), atol=1e-6)
    shown = prepare(frames[0].picture, Preprocess())
    assert shown.shape[1] / shown.shape[0] == pytest.approx(4 / 3, rel=0.03)  # 704 of the 720 columns are the picture
    middles = (np.arange(height // 64) * 64 + 32) * shown.shape[0] // height, (np.arange(12) * 60 + 30) * shown.shape[1] // 720
    assert np.abs(shown[np.ix_(*middles)].astype(int) - blocks[: height // 64]).mean() < 6


def pulled_down(path: Path) -> Path:
    """Says of every picture how many fields it stays, 3 2 3 2, as films on discs do: 24 pictures a second, 30 frames."""
    data = bytearray(path.read_bytes())
    for number, found in enumerate(re.finditer(rb"\x00\x00\x01\xb5(?=[\x80-\x8f])", bytes(data))):
        top_first, repeated = ((1, 1), (0, 0), (0, 1), (1, 0))[number % 4]
        at = found.end() + 3  # picture_coding_extension (ISO/IEC 13818-2, 6.2.3.1)
        data[at] = data[at] & ~0x82 | top_first << 7 | repeated << 1
        data[at + 1] |= 0x80  # a whole picture, not two fields
    path.write_bytes(data)
    return path


def test_pictures_that_stay_for_two_fields_or_three(tmp_path: Path) -> None:
    path = pulled_down(encoded(tmp_path / "v.m2v", [handmade.stamped(i) for i in range(24)], NTSC, "mpeg2video"))
    numbers, times = seen(path)
    assert numbers == list(range(24))
    fields = np.cumsum([0, *[3, 2] * 12])[:24]
    np.testing.assert_allclose(times[:-1], (fields * 1001 / 60_000)[:-1], atol=1e-6)  # the last is told by what follows it
    of_a_film = [handmade.number_of(f.picture.to_ndarray(format="rgb24")) for f in sample(decode(resolve(path)[0]), fps=23.976)]
    assert of_a_film == list(range(24))


def test_a_film_whose_fields_were_woven(tmp_path: Path) -> None:
    """Four pictures in five frames, of which two show two pictures, a line of each: scaled as one picture each."""
    films = [np.full((48, 64, 3), 40 + 20 * i, np.uint8) for i in range(8)]
    of = [(0, 0), (0, 1), (1, 2), (2, 2), (3, 3), (4, 4), (4, 5), (5, 6), (6, 6), (7, 7)]  # top, bottom
    frames = []
    for top, bottom in of:
        frames.append(films[top].copy())
        frames[-1][1::2] = films[bottom][1::2]
    path = encoded(tmp_path / "v.mpg", frames, NTSC, "mpeg2video")
    shown = [prepare(frame.picture, Preprocess(resize=(12, 16))) for frame in decode(resolve(path)[0])]
    means = [float(picture.mean()) for picture in shown]
    np.testing.assert_allclose(means, [40 + 10 * (top + bottom) for top, bottom in of], atol=3)
    assert all(np.ptp(picture) < 12 for picture in shown)
