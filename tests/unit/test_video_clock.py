"""Times of frames where the container has them wrong: no presentation times, clocks that jump, recordings glued together."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import handmade
from everyframe.video import resolve, sample
from everyframe.video.decode import decode

B_FRAMES = {"bf": "2", "g": "12"}


def video(path: Path, frames: int = 40, codec: str = "libx264", first: int = 0, **options: str) -> Path:
    """Frames that show their number, 25 a second, with B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=B_FRAMES | options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(handmade.stamped(first + i), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def remuxed(source: Path, path: Path, change: Callable[[int, av.Packet], None]) -> Path:
    """The same packets in another file. change(number, packet): their times, in the source's ticks."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.size:
                change(number, packet)
                packet.stream = stream
                made.mux(packet)
    return path


def seen(path: Path) -> tuple[list[int], list[float]]:
    """Numbers and times, in seconds."""
    frames = list(decode(resolve(path)[0]))
    return [handmade.number_of(frame.picture.to_ndarray(format="rgb24")) for frame in frames], [float(f.pts) for f in frames]


def steady(path: Path, frames: int, first: int = 0) -> None:
    numbers, times = seen(path)
    assert numbers == list(range(first, first + frames))
    np.testing.assert_allclose(times, np.arange(frames) / 25, atol=2e-3)
    assert len(list(sample(decode(resolve(path)[0]), fps=25))) == frames


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("v.avi", "libx264"), ("v.avi", "mpeg4"), ("v.avi", "mpeg2video"), ("v.mkv", "mpeg4"), ("v.mp4", "mpeg4"),
        ("v.mp4", "libx264"), ("v.mp4", "libx265"), ("v.mov", "libx264"), ("v.ts", "mpeg2video"), ("v.mpg", "mpeg2video"),
        ("v.mpg", "mpeg1video"), ("v.vob", "mpeg2video"), ("v.flv", "libx264"), ("v.h264", "libx264"), ("v.h265", "libx265"),
        ("v.m2v", "mpeg2video"), ("v.asf", "mpeg4"), ("v.nut", "libx264"), ("v.mxf", "mpeg2video"), ("v.f4v", "libx264"),
    ],
)  # fmt: skip
def test_frames_out_of_order_come_at_their_times(tmp_path: Path, name: str, codec: str) -> None:
    quiet = {"x265-params": "log-level=none:bframes=2"} if codec == "libx265" else {}
    steady(video(tmp_path / name, codec=codec, **quiet), 40)


def test_matroska_made_from_avi_has_times_in_the_order_of_decoding(tmp_path: Path) -> None:
    source = video(tmp_path / "v.avi", codec="mpeg4")

    def decode_order(number: int, packet: av.Packet) -> None:
        packet.pts = packet.dts

    steady(remuxed(source, tmp_path / "v.mkv", decode_order), 40)


@pytest.mark.parametrize("names", ["ts", "mpg", "mkv", "avi", "h264"])
@pytest.mark.parametrize("bf", ["0", "2"])
def test_recordings_glued_together_are_one(tmp_path: Path, names: str, bf: str) -> None:
    codec = "mpeg2video" if names == "mpg" else "libx264"
    parts = [video(tmp_path / f"{i}.{names}", 25 * (i + 1), codec, 25 * i, bf=bf) for i in range(2)]
    glued = tmp_path / f"glued.{names}"
    glued.write_bytes(b"".join(part.read_bytes() for part in parts))
    steady(glued, 75)


@pytest.mark.parametrize("jump_s", [-5, -0.5, 30, 1000, 26 * 3600])
@pytest.mark.parametrize("bf", ["0", "2"])
def test_a_clock_that_jumps_goes_on(tmp_path: Path, jump_s: float, bf: str) -> None:
    parts = []
    for i in range(2):
        with av.open(str(video(tmp_path / f"{i}.ts", 20, first=20 * i, bf=bf))) as given:
            first = tmp_path / f"{i}.nut"

        def later(number: int, packet: av.Packet, by: float = 100 + i * (0.8 + jump_s)) -> None:
            packet.pts += round(by * 90_000)
            packet.dts += round(by * 90_000)

        remuxed(tmp_path / f"{i}.ts", first, later)
        with av.open(str(first)) as given, av.open(str(tmp_path / f"{i}b.ts"), "w", options={"copyts": "1"}) as made:
            stream = made.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    made.mux(packet)
        parts.append((tmp_path / f"{i}b.ts").read_bytes())
    (tmp_path / "jump.ts").write_bytes(b"".join(parts))
    steady(tmp_path / "jump.ts", 40)


@pytest.mark.parametrize(("name", "pause_s", "kept"), [("v.mkv", 30, True), ("v.mp4", 30, True), ("v.mkv", 3000, False)])
def test_a_pause_is_kept_up_to_a_bound(tmp_path: Path, name: str, pause_s: int, kept: bool) -> None:
    times = [Fraction(i, 25) + (pause_s if i >= 10 else 0) for i in range(20)]
    path = handmade.write_video(tmp_path / name, 20, rate=25, times=times, codec="libx264")
    numbers, got = seen(path)
    assert numbers == list(range(20))
    np.testing.assert_allclose(got, [float(t) for t in times] if kept else np.arange(20) / 25, atol=0.05)


def test_a_slow_source_keeps_its_time(tmp_path: Path) -> None:
    path = handmade.write_video(tmp_path / "v.mp4", 6, rate=Fraction(1, 90), codec="libx264")
    np.testing.assert_allclose(seen(path)[1], np.arange(6) * 90)


def test_packed_mpeg4_as_divx_wrote_it(tmp_path: Path) -> None:
    """Two pictures in one packet, then a packet that says `nothing new`."""
    with av.open(str(video(tmp_path / "v.avi", codec="mpeg4", bf="1"))) as given, av.open(str(tmp_path / "p.avi"), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        coded = [bytes(packet) for packet in given.demux(video=0) if packet.size]
        kinds = [data[data.index(b"\0\0\1\xb6") + 4] >> 6 for data in coded]  # 0 I, 1 P, 2 B
        start = coded[0].index(b"\0\0\1\xb6")
        coded[0] = coded[0][:start] + b"\0\0\1\xb2DivX503b1393p" + coded[0][start:]
        packed = [
            b"\0\0\1\xb6\x5f\x80" if kind == 2 else data + (coded[i + 1] if kinds[i + 1 : i + 2] == [2] else b"")
            for i, (data, kind) in enumerate(zip(coded, kinds, strict=True))
        ]
        assert 2 in kinds
        for number, data in enumerate(packed):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 25), stream
            made.mux(packet)
    steady(tmp_path / "p.avi", 40)
