"""Files as few people have them, and those whom they reach: clocks that wrap, rates far off, matrices that scale, odd names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

import handmade
from everyframe.errors import SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.video import prepare, resolve, sample
from everyframe.video.decode import decode
from unit.test_video_clock import remuxed, seen, video
from unit.test_video_tags import CORNERS, close, first, with_matrix

HOURS_10 = 36_000


def later(seconds: Fraction | int, since: int = 0) -> Callable[[int, av.Packet], None]:
    """Times of packets, from one on, moved by seconds."""

    def change(number: int, packet: av.Packet) -> None:
        if number >= since:
            ticks = round(seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, (packet.dts or 0) + ticks

    return change


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("v.ts", Fraction((1 << 33) - 90_000, 90_000)), ("v.ts", HOURS_10), ("v.mkv", HOURS_10), ("v.mov", 7)],
    ids=["the 33 bits of a transport stream run over", "ten hours in", "ten hours in Matroska", "a late first frame"],
)
def test_where_a_clock_begins_changes_nothing(tmp_path: Path, name: str, seconds: Fraction | int) -> None:
    given = video(tmp_path / f"given{name[1:]}", 50, bf="0")
    numbers, times = seen(remuxed(given, tmp_path / name, later(seconds)))
    assert numbers == list(range(50))
    np.testing.assert_allclose(times, np.arange(50) / 25, atol=2e-3)


def test_a_second_frame_that_is_late_stays_late(tmp_path: Path) -> None:
    given = video(tmp_path / "given.ts", 40, bf="0")
    path = remuxed(given, tmp_path / "v.ts", later(3, since=1))
    numbers, times = seen(path)
    assert (len(numbers), round(times[1], 2), round(times[-1], 2)) == (40, 3.04, 4.56)
    assert len(list(sample(decode(resolve(path)[0]), fps=25))) == 115


def test_a_clock_set_back_by_a_minute_goes_on(tmp_path: Path) -> None:
    """The first recording began a minute after the second."""
    parts = [video(tmp_path / f"{i}.ts", 25, first=25 * i, bf="0") for i in range(2)]
    after = remuxed(parts[0], tmp_path / "later.ts", later(60))
    (tmp_path / "v.ts").write_bytes(after.read_bytes() + parts[1].read_bytes())
    numbers, times = seen(tmp_path / "v.ts")
    assert numbers == list(range(50))
    np.testing.assert_allclose(times, np.arange(50) / 25, atol=2e-3)


@pytest.mark.parametrize(("suffix", "codec"), [(".webm", "libvpx"), (".m2ts", "libx264"), (".mjpeg", "mjpeg")])
def test_recordings_of_other_kinds_glued_together(tmp_path: Path, suffix: str, codec: str) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    whole = b""
    for first_number in (0, 20):
        part = tmp_path / f"part{suffix}"
        pictures = [handmade.stamped(first_number + i) for i in range(20)]
        whole += handmade.write_video(part, pictures, rate=25, codec=codec, pix_fmt=pixels).read_bytes()
    (tmp_path / f"v{suffix}").write_bytes(whole)
    numbers, times = seen(tmp_path / f"v{suffix}")
    assert numbers == list(range(40))
    np.testing.assert_allclose(times, np.arange(40) / 25, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "rate", "codec"),
    [("v.mkv", Fraction(1000), "ffv1"), ("v.mp4", Fraction(1, 3), "libx264"), ("v.ts", Fraction(60_000, 1001), "libx264"),
     ("v.avi", Fraction(25, 2), "mjpeg"), ("v.mov", Fraction(24_000, 1001), "libx264"), ("v.mp4", Fraction(240), "libx265")],
)  # fmt: skip
def test_rates_far_off(tmp_path: Path, name: str, rate: Fraction, codec: str) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else None
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    handmade.write_video(tmp_path / name, 12, rate=rate, codec=codec, pix_fmt=pixels, options=quiet)
    numbers, times = seen(tmp_path / name)
    assert numbers == list(range(12))
    np.testing.assert_allclose(times, [float(i / rate) for i in range(12)], atol=1e-3)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".avif"])
def test_animated_pictures_keep_their_times(tmp_path: Path, suffix: str) -> None:
    milliseconds = [100, 50, 20, 200, 100]
    pictures = [Image.fromarray(handmade.stamped(i)) for i in range(5)]
    pictures[0].save(tmp_path / f"v{suffix}", save_all=True, append_images=pictures[1:], duration=milliseconds)
    numbers, times = seen(tmp_path / f"v{suffix}")
    assert numbers == list(range(5))
    np.testing.assert_allclose(times, np.cumsum([0, *milliseconds[:-1]]) / 1000, atol=2e-3)


def test_a_fragmented_mp4_that_was_cut_gives_what_there_is(tmp_path: Path) -> None:
    """As browsers and cameras write it: each second has an index of its own."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = handmade.write_video(tmp_path / "v.mp4", 50, rate=25, codec="libx264", options=options)
    assert seen(path)[0] == list(range(50))
    handmade.cut(path, 0.7)
    found: list[int] = []
    with pytest.raises(SourceError, match="cut short"):
        for frame in decode(resolve(path)[0]):
            found.append(handmade.number_of(frame.picture.to_ndarray(format="rgb24")))
    assert len(found) >= 20 and found == list(range(len(found)))


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [((0, 0, 0, 0), lambda p: p), ((1, 1, 1, 1), lambda p: p), ((2, 0, 0, 2), lambda p: p), ((-0.5, 0, 0, 0.5), np.fliplr),
     ((3, 0, 0, 1), lambda p: p.repeat(3, 1)), ((0, 0.5, 0.5, 0), lambda p: p.swapaxes(0, 1))],
    ids=["nothing", "a line", "twice as large", "mirrored, half", "drawn long", "transposed, half"],
)  # fmt: skip
def test_matrices_that_scale_or_show_nothing(tmp_path: Path, matrix: tuple[float, ...], shown: Callable) -> None:
    close(prepare(first(with_matrix(tmp_path / "v.mp4", matrix)), Preprocess()), shown(CORNERS))


@pytest.mark.parametrize("orientation", [2, 5, 6])
@pytest.mark.parametrize("suffix", [".tiff", ".avif"])
def test_orientations_of_other_pictures(tmp_path: Path, suffix: str, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(CORNERS).save(tmp_path / f"p{suffix}", exif=tags)
    shown = {2: np.fliplr(CORNERS), 5: CORNERS.swapaxes(0, 1), 6: np.rot90(CORNERS, -1)}[orientation]
    close(prepare(first(tmp_path / f"p{suffix}"), Preprocess()), shown)


@pytest.mark.parametrize(
    "name", ["%03d.mp4", "a|b.mp4", "new\nline.mp4", "[1].mp4", "{a,b}.mp4", "v#1.mp4", "v?x=1.mp4", "data:x.mp4",
             "subfile,,start,0,end,0,,:x.mp4", "fd:3.mp4", os.fsdecode(b"no text\xff.mp4"), "e\u0301.mp4", "~x.mp4",
             "-v.mp4", "--json"],
)  # fmt: skip
def test_names_that_mean_something_elsewhere(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(handmade.write_video(tmp_path / "made.mp4", 5).read_bytes())
    assert seen(Path(name))[0] == list(range(5))


def test_a_png_with_a_color_profile_crashes_nothing(tmp_path: Path) -> None:
    """PyAV frees the profile's name twice: in a process of its own, whose end tells."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    still, moving = tmp_path / "still.png", tmp_path / "moving.png"
    red, blue = (Image.new("RGB", (64, 48), color) for color in ("#c81e1e", "#1e1ec8"))
    red.save(still, icc_profile=profile)
    red.save(moving, icc_profile=profile, save_all=True, append_images=[blue], duration=500)
    code = """if True:
        import sys
        from everyframe.modelfile.schema import Preprocess
        from everyframe.video import prepare, resolve
        from everyframe.video.decode import decode
        how = Preprocess(color="rgb", mean=(0, 0, 0), std=(1, 1, 1), resize=(24, 32))
        for path in sys.argv[1:] * 5:
            for frame in list(decode(resolve(path)[0])):
                print(float(frame.pts), *prepare(frame.picture, how)[4, 4])
    """
    done = subprocess.run([sys.executable, "-c", code, str(still), str(moving)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["0.0 200 30 30", "0.0 200 30 30", "0.5 30 30 200"] * 5
