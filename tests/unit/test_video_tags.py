"""What files say beside their pixels: orientation, fields, colors; each against numpy."""

from __future__ import annotations

import gc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from PIL import Image

import handmade
from everyframe.data.clips import Clip
from everyframe.data.header import probe
from everyframe.modelfile.schema import Preprocess
from everyframe.video import prepare, resolve
from everyframe.video.decode import decode
from everyframe.video.preprocess import resized_size

CORNERS = np.zeros((48, 64, 3), np.uint8)
CORNERS[:24, :32], CORNERS[:24, 32:], CORNERS[24:, :32], CORNERS[24:, 32:] = (200, 30, 30), (30, 200, 30), (30, 30, 200), 220
#: EXIF orientation -> the stored picture as it is shown
SHOWN = {
    1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud, 5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1), 7: lambda p: np.rot90(p, 2).swapaxes(0, 1), 8: np.rot90,
}  # fmt: skip
#: the same as a display matrix: a, b, c, d of x' = a x + c y, y' = b x + d y
MATRICES = {
    1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1),
    5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0),
}  # fmt: skip


def first(path: Path) -> av.VideoFrame:
    return next(iter(decode(resolve(path)[0]))).picture


def with_matrix(path: Path, abcd: tuple[float, ...]) -> Path:
    """The matrix is written into the track header, which PyAV's writer leaves alone."""
    return turned(handmade.write_video(path, [CORNERS] * 3), abcd)


def turned(path: Path, abcd: tuple[float, ...]) -> Path:
    data = path.read_bytes()
    start = data.index(b"tkhd") + 44
    a, b, c, d = (round(value * 0x10000) for value in abcd)
    rows = b"".join(value.to_bytes(4, "big", signed=True) for value in (a, b, 0, c, d, 0, 0, 0, 0x40000000))
    path.write_bytes(data[:start] + rows + data[start + 36 :])
    return path


def close(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for what coding does at the borders of colors."""
    assert got.shape == expected.shape
    assert np.median(np.abs(got.astype(int) - expected)) <= 6
    assert np.abs(got.astype(int) - expected)[4:-4, 4:-4].mean() < 12


@pytest.mark.parametrize("orientation", SHOWN)
def test_every_orientation_of_a_video(tmp_path: Path, orientation: int) -> None:
    frame = first(with_matrix(tmp_path / "v.mp4", MATRICES[orientation]))
    shown = SHOWN[orientation](CORNERS)
    close(prepare(frame, Preprocess()), shown)
    close(prepare(frame, Preprocess(resize=24)), shown[::2, ::2])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_every_orientation_of_a_picture(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(CORNERS).save(path, exif=tags)
    close(prepare(first(path), Preprocess()), SHOWN[orientation](CORNERS))


@pytest.mark.parametrize(("degrees", "turns"), [(91, 1), (89, 1), (1, 0), (-1, 0), (179, 2), (181, 2), (-91, 3), (268, 3)])
def test_angles_go_to_the_nearest_quarter(tmp_path: Path, degrees: int, turns: int) -> None:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    close(prepare(first(with_matrix(tmp_path / "v.mp4", (cos, -sin, sin, cos))), Preprocess()), np.rot90(CORNERS, turns))


@pytest.mark.parametrize(("turns", "flip"), [(1, ""), (3, ""), (2, ""), (0, ":flip=horizontal")])
def test_what_a_stream_says_of_itself_holds_for_all_its_pictures(tmp_path: Path, turns: int, flip: str) -> None:
    """Display orientation in H.264 itself, as in transport streams; up to a recording behind it that says nothing."""
    plain = handmade.write_video(tmp_path / "plain.ts", [CORNERS] * 12, codec="libx264")
    with av.open(str(plain)) as read, av.open(str(tmp_path / "v.ts"), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        said = BitStreamFilterContext(
            f"h264_metadata=display_orientation=insert:rotate={turns * 90}{flip}", read.streams.video[0]
        )
        for packet in (each for given in read.demux(video=0) for each in said.filter(given if given.size else None)):
            packet.stream = stream
            written.mux(packet)
    (tmp_path / "v.ts").write_bytes((tmp_path / "v.ts").read_bytes() + plain.read_bytes())
    pictures = [prepare(frame.picture, Preprocess()) for frame in decode(resolve(tmp_path / "v.ts")[0])]
    assert len(pictures) == 24
    for number, picture in enumerate(pictures):
        close(picture, (np.fliplr(CORNERS) if flip else np.rot90(CORNERS, turns)) if number < 12 else CORNERS)


def anamorphic(path: Path, aspect: Fraction, codec: str = "mpeg4", picture: np.ndarray = CORNERS, count: int = 3) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


ASPECTS = {
    "4/3": (48, 86), "16/11": (48, 94), "12/11": (48, 70), "10/11": (52, 64), "3/4": (64, 64), "1": (48, 64),
    "2048/2047": (48, 64), "9": (48, 64),
}  # fmt: skip
#: MPEG-2 knows three shapes of the whole picture only
WITH_ASPECTS = [("v.mp4", "mpeg4", aspect) for aspect in ASPECTS]
WITH_ASPECTS += [
    ("v.mkv", "libx264", "16/11"),
    ("v.avi", "mpeg4", "3/4"),
    ("v.mpg", "mpeg2video", "4/3"),
    ("v.mpg", "mpeg2video", "1"),
]


@pytest.mark.parametrize(("name", "codec", "aspect"), WITH_ASPECTS)
def test_pixels_that_are_not_square(tmp_path: Path, name: str, codec: str, aspect: str) -> None:
    """Against Pillow."""
    size = ASPECTS[aspect]
    path = anamorphic(tmp_path / name, Fraction(aspect), codec)
    wanted = np.asarray(Image.fromarray(CORNERS).resize(size[::-1]))
    close(prepare(first(path), Preprocess()), wanted)
    close(prepare(first(path), Preprocess(resize=24)), np.asarray(Image.fromarray(wanted).resize(resized_size(*size, 24)[::-1])))
    read = probe(Clip(path, 0, path.name))
    assert (read.height, read.width) == size


def test_pixels_of_another_shape_in_mid_stream_are_followed(tmp_path: Path) -> None:
    larger = np.asarray(Image.fromarray(CORNERS).resize((80, 60)))
    parts = [(Fraction(16, 11), CORNERS), (Fraction(1), larger)]
    data = [anamorphic(tmp_path / f"{i}.ts", *part[:1], "libx264", part[1], 30).read_bytes() for i, part in enumerate(parts)]
    (tmp_path / "v.ts").write_bytes(b"".join(data))
    sizes = [prepare(frame.picture, Preprocess()).shape[:2] for frame in decode(resolve(tmp_path / "v.ts")[0])]
    assert (len(sizes), set(sizes[:25]), set(sizes[30:])) == (60, {(48, 94)}, {(60, 80)})  # a decoder may be some frames ahead


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff"])
def test_how_a_picture_is_printed_says_nothing_of_its_pixels(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(CORNERS).save(tmp_path / f"fax{suffix}", dpi=(200, 100))
    close(prepare(first(tmp_path / f"fax{suffix}"), Preprocess()), CORNERS)


@pytest.mark.parametrize("orientation", [2, 5, 6])
def test_pixels_that_are_not_square_are_turned_too(tmp_path: Path, orientation: int) -> None:
    path = turned(anamorphic(tmp_path / "v.mp4", Fraction(4, 3)), MATRICES[orientation])
    wanted = SHOWN[orientation](np.asarray(Image.fromarray(CORNERS).resize((86, 48))))
    close(prepare(first(path), Preprocess()), wanted)
    read = probe(Clip(path, 0, path.name))
    assert (read.height, read.width) == wanted.shape[:2]


@pytest.mark.parametrize("orientation", [1, 6])
def test_no_picture_outlives_its_preparation(tmp_path: Path, orientation: int) -> None:
    """In a camera's process garbage is collected seldom: what waits for that would pile up."""

    def alive() -> int:
        return sum(issubclass(type(each), av.VideoFrame) for each in gc.get_objects())

    frame = first(with_matrix(tmp_path / "v.mp4", MATRICES[orientation]))
    gc.collect()
    gc.disable()
    try:
        before = alive()
        for size in (None, 8, 24, 8, 24):
            prepare(frame, Preprocess(resize=size))
        assert alive() == before
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("codec", "pixels"),
    [
        ("mpeg2video", "yuv420p"),
        ("mpeg4", "yuv420p"),
        ("libx264", "yuv420p"),
        ("mpeg2video", "yuv422p"),
        ("prores_ks", "yuv422p10le"),
    ],
)
def test_fields_are_not_scaled_apart(tmp_path: Path, codec: str, pixels: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    frames = []
    for flags in ("", "+ildct+ilme"):
        options = {"x264-params": "interlaced=1:qp=1"} if codec == "libx264" and flags else {"b": "8M", "crf": "2"}
        options |= {"flags": flags} if flags else {}
        path = tmp_path / f"v{len(frames)}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
            for i in range(3):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        frames.append(first(path))
    assert [frame.interlaced_frame for frame in frames] == [False, True]
    for size in ((20, 30), (40, 60)):
        plain, woven = (prepare(frame, Preprocess(resize=size)).astype(int) for frame in frames)
        assert np.abs(plain - woven).mean() < 5


@pytest.mark.parametrize("matrix", [*range(15), 200])
@pytest.mark.parametrize("color_range", [0, 1, 2, 3])
def test_every_color_tag_gives_a_picture(matrix: int, color_range: int) -> None:
    frame = av.VideoFrame.from_ndarray(CORNERS, format="rgb24").reformat(format="yuv420p")
    frame.colorspace, frame.color_range = matrix, color_range
    frame.color_primaries = frame.color_trc = 3
    assert np.abs(prepare(frame, Preprocess()).astype(int) - CORNERS)[8:16, 8:16].max() < 60
