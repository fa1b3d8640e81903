"""Files, folders and broken files through the decode process: right frames, right times, clear errors, no hang, no
leftover.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import handmade
from everyframe.errors import SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.video import Frame, Reader, Source, resolve

NTSC = Fraction(30_000, 1001)


def read(path: Path | str, how: Preprocess | None = None, **options: object) -> list[Frame]:
    with Reader(resolve(path)[0], how or Preprocess(), **options) as frames:  # type: ignore[arg-type]
        return list(frames)


def numbers(frames: Sequence[Frame]) -> list[int]:
    return [handmade.number_of(frame.data) for frame in frames]


def has_open(pid: int, path: Path) -> bool:
    """Whether the process has the file open."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(descriptor.readlink())
    return path.resolve() in found


class TestFrames:
    @pytest.mark.parametrize(
        ("name", "codec"),
        [
            ("v.mp4", "mpeg4"),
            ("v.mp4", "libx264"),
            ("v.mkv", "libx264"),
            ("v.avi", "mpeg4"),
            ("v.ts", "libx264"),
            ("v.mov", "mjpeg"),
        ],
    )
    def test_every_frame_in_order_with_its_time(self, tmp_path: Path, name: str, codec: str) -> None:
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        frames = read(handmade.write_video(tmp_path / name, 40, codec=codec, pix_fmt=pixels))
        assert numbers(frames) == list(range(40))
        assert [f.index for f in frames] == list(range(40))
        if name != "v.avi" or codec != "libx264":
            np.testing.assert_allclose([f.pts_s for f in frames], np.arange(40) / 30, atol=1.1e-3)

    def test_ntsc_times_are_exact(self, tmp_path: Path) -> None:
        frames = read(handmade.write_video(tmp_path / "v.mp4", 100, rate=NTSC))
        np.testing.assert_allclose([f.pts_s for f in frames], [float(i / NTSC) for i in range(100)], rtol=1e-12)

    def test_sampling_at_the_models_rate(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mp4", 60)
        assert numbers(read(path, Preprocess(fps=10))) == list(range(0, 60, 3))
        assert numbers(read(path, Preprocess(fps=60)))[:6] == [0, 0, 1, 1, 2, 2]
        assert numbers(read(path, Preprocess(sample_every_n=7))) == list(range(0, 60, 7))

    def test_a_variable_frame_rate(self, tmp_path: Path) -> None:
        times = [Fraction(t, 100) for t in (0, 3, 6, 50, 53, 56, 120, 123)]
        path = handmade.write_video(tmp_path / "v.mkv", 8, times=times, codec="libx264")
        frames = read(path)
        np.testing.assert_allclose([f.pts_s for f in frames], [float(t) for t in times], atol=2e-3)
        picked = numbers(read(path, Preprocess(fps=10)))
        nearest = [min(range(8), key=lambda i: (abs(times[i] - Fraction(n, 10)), i)) for n in range(len(picked))]
        assert picked == nearest
        assert len(picked) == 13

    def test_a_file_that_does_not_begin_at_zero(self, tmp_path: Path) -> None:
        path = handmade.write_video(
            tmp_path / "v.mkv", 6, times=[Fraction(10) + Fraction(i, 10) for i in range(6)], codec="libx264"
        )
        np.testing.assert_allclose([f.pts_s for f in read(path)], np.arange(6) / 10, atol=2e-3)

    @pytest.mark.parametrize("size", [(48, 63), (47, 64), (33, 35)])
    def test_odd_sizes(self, tmp_path: Path, size: tuple[int, int]) -> None:
        frames = read(
            handmade.write_video(tmp_path / "v.mkv", [handmade.picture(90, *size)] * 3, codec="ffv1", pix_fmt="yuv444p")
        )
        assert {f.data.shape for f in frames} == {(*size, 3)}
        assert np.abs(frames[-1].data.astype(int) - 90).max() <= 1

    def test_sound_does_not_disturb(self, tmp_path: Path) -> None:
        assert numbers(read(handmade.write_video(tmp_path / "v.mkv", 10, audio=True))) == list(range(10))

    def test_big_frames_cross_whole(self, tmp_path: Path) -> None:
        """Larger than the pipe between the processes."""
        noise = [np.random.default_rng(i).integers(0, 256, (720, 1280, 3), dtype=np.uint8) for i in range(3)]
        path = handmade.write_video(tmp_path / "v.mkv", noise, codec="ffv1", pix_fmt="bgr0")
        for frame, expected in zip(read(path), noise, strict=True):
            np.testing.assert_array_equal(frame.data, expected)

    def test_thumbnails_come_beside_the_frames(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mp4", 60)
        with Reader(resolve(path)[0], Preprocess(resize=(8, 8)), thumbnails=24) as frames:
            count = sum(1 for _ in frames)
        assert count == 60
        assert [f.index for f in frames.thumbnails] == [0, 8, 16, 24, 32, 40, 48, 56]
        assert {f.data.shape for f in frames.thumbnails} == {(24, 32, 3)}

    def test_a_phone_held_upright(self, tmp_path: Path) -> None:
        """The track header says: turn by 90 degrees clockwise to show it (as phones write it, in 16.16 fixed point)."""
        arrow = np.zeros((48, 64, 3), np.uint8)
        arrow[:, 32:] = 255  # bright on the right; turned clockwise, bright at the bottom
        path = handmade.write_video(tmp_path / "v.mp4", [arrow] * 3)
        data = path.read_bytes()
        start = data.index(b"tkhd") + 44  # the matrix: version 0 header and 40 bytes of fields lie before it
        upright = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
        turned = (0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000)
        assert struct.unpack(">9i", data[start : start + 36]) == upright
        path.write_bytes(data[:start] + struct.pack(">9i", *turned) + data[start + 36 :])
        frame = read(path)[0].data
        assert frame.shape == (64, 48, 3)
        assert frame[:24].mean() < 20 < 230 < frame[40:].mean()

    def test_real_clips(self) -> None:
        shared = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"
        if not shared.is_dir():
            pytest.skip(f"no clips in {shared}")
        for path in [shared / "arm_wrestling.mp4", *sorted((shared / "asl").glob("*.mkv"))[:3]]:
            frames = read(path, Preprocess(resize=64, fps=12))
            assert len(frames) == pytest.approx(frames[-1].pts_s * 12 + 1, abs=1)
            assert {min(f.data.shape[:2]) for f in frames} == {64}


class TestSources:
    def test_a_folder_gives_its_videos_in_natural_order(self, tmp_path: Path) -> None:
        for name in ("v10.mp4", "v2.MKV", "v1.avi", "notes.txt", "cover.png"):
            (tmp_path / name).touch()
        assert [s.name for s in resolve(tmp_path)] == ["v1.avi", "v2.MKV", "v10.mp4"]
        assert [s.name for s in resolve(str(tmp_path / "v?.*"))] == ["v1.avi", "v2.MKV"]

    def test_a_folder_of_pictures_is_one_video(self, tmp_path: Path) -> None:
        for i in range(12):
            Image.fromarray(handmade.stamped(i)).save(tmp_path / f"frame_{i}.png")
        sources = resolve(tmp_path)
        assert [s.kind for s in sources] == ["pictures"]
        frames = read(tmp_path, Preprocess(fps=10))
        assert numbers(frames) == list(range(12))
        np.testing.assert_allclose([f.pts_s for f in frames], np.arange(12) / 10)
        assert numbers(read(tmp_path / "frame_1*.png", Preprocess(fps=10))) == [1, 10, 11]

    def test_a_damaged_picture_is_named(self, tmp_path: Path) -> None:
        Image.fromarray(handmade.stamped(0)).save(tmp_path / "a.png")
        (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
        with pytest.raises(SourceError, match=r"b\.png"):
            read(tmp_path)

    def test_standard_input(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mkv", 10)
        script = (
            "from everyframe.video import Reader, resolve; from everyframe.modelfile.schema import Preprocess\n"
            "print(sum(1 for _ in Reader(resolve('-')[0], Preprocess())))"
        )
        with path.open("rb") as stdin:
            done = subprocess.run([sys.executable, "-c", script], stdin=stdin, capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.stderr) == ("10", "")

    def test_a_number_is_a_camera_and_an_address_is_passed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "exists", lambda self: str(self) == "/dev/video3")
        assert resolve(3) == resolve("3") == resolve("/dev/video3") == [Source("camera", "/dev/video3", ("/dev/video3",))]
        assert resolve("3")[0].live
        assert resolve("rtsp://host/path") == [Source("address", "rtsp://host/path", ("rtsp://host/path",))]

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("missing.mp4", r"no such video(.|\n)*missing\.mp4(.|\n)*a file, a folder, a glob"),
            ("*.mp4", r"neither a video nor a picture in this pattern"),
            ("empty", r"neither a video nor a picture in this folder(.|\n)*0 other files, 0 folders"),
            ("nested", r"1 other files, 1 folders(.|\n)*pattern in quotes: .*/nested/\*\*/\*\.mp4"),
            ("97", r"no such camera(.|\n)*/dev/video97"),
            ("/dev/video98", r"no such camera(.|\n)*/dev/video98"),
        ],
    )
    def test_what_is_not_there(self, tmp_path: Path, source: str, message: str) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "nested" / "class").mkdir(parents=True)
        (tmp_path / "nested" / "clips.csv").touch()
        with pytest.raises(SourceError, match=message):
            resolve(source if source[0] in "9/" else tmp_path / source)


class TestLive:
    @contextlib.contextmanager
    def serve(self, data: bytes) -> Iterator[tuple[Source, threading.Event]]:
        """A network camera: sends MPEG-TS to whoever connects, then hangs up. The event: the other side has hung up too, when it
        had decoded everything.
        """
        over = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as server:

            def run() -> None:
                with contextlib.suppress(OSError), server.accept()[0] as client:
                    client.sendall(data)
                    client.shutdown(socket.SHUT_WR)
                    client.recv(1)
                over.set()

            thread = threading.Thread(target=run)
            thread.start()
            try:
                yield resolve(f"tcp://127.0.0.1:{server.getsockname()[1]}")[0], over
            finally:
                server.shutdown(socket.SHUT_RDWR)  # nobody need have come
                thread.join()

    def test_a_network_stream_that_ends_is_an_error_after_its_frames(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.ts", 40, codec="libx264")
        with self.serve(path.read_bytes()) as (source, _), Reader(source, Preprocess(), buffer=100) as frames:
            got = []
            with pytest.raises(SourceError, match=r"live source has ended(.|\n)*tcp://(.|\n)*40 frames"):
                for frame in frames:
                    got.append(handmade.number_of(frame.data))
        assert got == list(range(40))

    def test_a_slow_reader_gets_the_newest_frames(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.ts", 40, codec="libx264")
        with self.serve(path.read_bytes()) as (source, over), Reader(source, Preprocess(), buffer=3) as frames:
            over.wait()
            got = []
            with pytest.raises(SourceError, match="has ended"):
                for frame in frames:
                    got.append(handmade.number_of(frame.data))
        assert got[-3:] == [37, 38, 39]
        assert len(got) < 40
        assert len(got) + frames.dropped == 40

    def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(SourceError, match=r"cannot be opened(.|\n)*Connection refused"):
            read(f"tcp://127.0.0.1:{port}")


class TestBrokenFiles:
    @pytest.mark.parametrize(
        ("name", "codec", "options"),
        [
            ("v.mkv", "libx264", {}),
            ("v.mp4", "libx264", {"movflags": "faststart"}),
            ("v.avi", "mpeg4", {}),
            ("v.mov", "mpeg4", {"movflags": "faststart"}),
        ],
    )
    @pytest.mark.parametrize("share", [0.6, 0.83])
    def test_cut_short_gives_what_there_is_and_then_says_so(
        self, tmp_path: Path, name: str, codec: str, options: dict[str, str], share: float
    ) -> None:
        def busy(i: int) -> np.ndarray:
            return np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8)

        path = handmade.cut(handmade.write_video(tmp_path / name, 90, codec=codec, options=options, draw=busy), share)
        found = []
        with Reader(resolve(path)[0], Preprocess()) as frames, pytest.raises(SourceError) as caught:
            for frame in frames:
                found.append(frame)
        assert 90 * share - 12 < len(found) < 90 * share + 2
        assert "damaged or cut short" in str(caught.value)
        assert f"after {len(found)} frames, {found[-1].pts_s:.2f} s" in str(caught.value)

    def test_an_mp4_without_its_index_cannot_be_opened(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"not a video, or its beginning is missing(.|\n)*cut short"):
            read(handmade.cut(handmade.write_video(tmp_path / "v.mp4", 30), 0.6))

    @pytest.mark.parametrize(
        ("name", "content"),
        [("v.mp4", b""), ("v.txt", b"hello\n" * 50), ("v", bytes(range(256)) * 40), ("v.mp4", b"hello\n" * 50)],
    )
    def test_not_a_video(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match="not a video"):
            read(tmp_path / name)

    def test_sound_only(self, tmp_path: Path) -> None:
        import av

        with av.open(str(tmp_path / "v.mkv"), "w") as container:
            handmade.add_audio(container)
        with pytest.raises(SourceError, match=r"no video stream(.|\n)*only audio"):
            read(tmp_path / "v.mkv")

    def test_a_video_stream_without_frames(self, tmp_path: Path) -> None:
        import av

        with av.open(str(tmp_path / "v.mkv"), "w") as container:
            stream = container.add_stream("mpeg4", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            container.start_encoding()
        with pytest.raises(SourceError, match="has no frames"):
            read(tmp_path / "v.mkv")

    def test_noise_where_the_pictures_should_be(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mp4", 30, codec="libx264", options={"movflags": "faststart"})
        data = path.read_bytes()
        start = data.index(b"mdat") + 4
        path.write_bytes(data[:start] + b"\xa5" * (len(data) - start))
        with pytest.raises(SourceError, match=r"damaged or cut short(.|\n)*30 frames(.|\n)*Invalid data"):
            read(path)

    def test_no_permission(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mp4", 3)
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(SourceError, match=r"cannot be opened(.|\n)*Permission denied"):
            read(path)

    def test_a_crop_that_does_not_fit_is_said_across_the_process_border(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="smaller than the model's crop"):
            read(handmade.write_video(tmp_path / "v.mp4", 3), Preprocess(crop=(112, 112)))
