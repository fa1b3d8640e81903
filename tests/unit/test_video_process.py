"""The decode process: how it ends, what it gives late readers, and files that are broken or none at all."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import handmade
from everyframe.errors import SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.video import Reader, Source, ending, reader, resolve, worker
from running import gone, until
from unit.test_video_reader import has_open, numbers, read


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

    @pytest.mark.parametrize(
        ("name", "codec", "pixels"),
        [("v.gif", "gif", "rgb8"), ("v.mjpeg", "mjpeg", "yuvj420p"), ("v.y4m", "wrapped_avframe", "yuv420p")],
    )
    def test_what_does_not_say_how_long_it_is_has_an_end(self, tmp_path: Path, name: str, codec: str, pixels: str) -> None:
        whole = handmade.write_video(tmp_path / name, 30, codec=codec, pix_fmt=pixels)
        assert len(read(whole)) == 30
        with pytest.raises(SourceError, match="damaged or cut short"):
            read(handmade.cut(whole, 0.6))

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


class TestDecodeProcess:
    def test_a_crash_of_the_decoder_is_an_error(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mp4", 600)
        with Reader(resolve(path)[0], Preprocess(resize=(240, 320))) as frames:
            next(frames)
            os.kill(frames._process.pid, signal.SIGSEGV)
            with pytest.raises(SourceError, match=r"decoder crashed(.|\n)*SIGSEGV after \d+ frames"):
                for _ in frames:
                    pass

    def test_a_process_that_cannot_even_start_tells_why(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader, "_START", "raise RuntimeError('no codec today')")
        with pytest.raises(SourceError, match=r"exit code 1(.|\n)*no codec today"):
            read(handmade.write_video(tmp_path / "v.mp4", 3))

    @pytest.mark.parametrize("way", ["close", "raise", "forget"])
    def test_it_ends_with_its_reader(self, tmp_path: Path, way: str) -> None:
        path = handmade.write_video(tmp_path / "v.mp4", 300)
        frames = Reader(resolve(path)[0], Preprocess(resize=(240, 320)))
        pid = frames._process.pid
        next(frames)  # the others are more than a pipe holds: it does not end by itself
        if way == "close":
            frames.close()
            frames.close()
            assert list(frames) == []
        elif way == "raise":
            with pytest.raises(ZeroDivisionError), frames:
                next(frames)
                raise ZeroDivisionError
        else:
            del frames
            until(lambda: gc.collect() < 0 or not Path(f"/proc/{pid}").exists())  # it does nothing while another thread collects
        assert not Path(f"/proc/{pid}").exists()

    def test_it_ends_when_its_parent_is_killed(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mp4", 2000)
        script = (
            "import os, sys\n"
            "from everyframe.modelfile.schema import Preprocess\n"
            "from everyframe.video import Reader, resolve\n"
            "r = Reader(resolve(sys.argv[1])[0], Preprocess(resize=(240, 320))); next(r)\n"
            "print(r._process.pid, flush=True); os.kill(os.getpid(), 9)"
        )
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
        pid = int(done.stdout)
        try:
            until(lambda: gone(pid))
        finally:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)

    def test_a_source_that_falls_silent_is_given_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        os.mkfifo(tmp_path / "v.mkv")
        monkeypatch.setitem(reader.STALL_S, "file", 0.5)
        silent = Source("file", "v.mkv", (str(tmp_path / "v.mkv"),))  # as a share of a network may be
        with (tmp_path / "v.mkv").open("rb+", buffering=0), pytest.raises(SourceError, match=r"sent nothing for 0\.5 s"):
            list(Reader(silent, Preprocess()))

    def test_scripts_need_no_main_guard_and_the_working_folder_shadows_nothing(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mp4", 5)
        (tmp_path / "numpy.py").write_text("raise SystemExit('imported from the working folder')")
        (tmp_path / "json.py").write_text("raise SystemExit('imported from the working folder')")
        script = tmp_path / "scripts" / "run.py"
        script.parent.mkdir()
        script.write_text(
            "from everyframe.video import Reader, resolve\nfrom everyframe.modelfile.schema import Preprocess\n"
            f"print(len(list(Reader(resolve({str(path)!r})[0], Preprocess()))))\n"
        )
        done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("5\n", "")

    def test_it_imports_nothing_heavy(self) -> None:
        script = "import sys, everyframe.video.worker, everyframe.video.decode; print(*sorted(sys.modules))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        loaded = {name.split(".")[0] for name in done.stdout.split()}
        assert not loaded & {"torch", "onnx", "onnxruntime", "pydantic", "rich", "typer"}

    def test_the_latest_policy_drops_and_counts(self, tmp_path: Path) -> None:
        path = handmade.write_video(tmp_path / "v.mp4", 60, rate=300)
        with Reader(resolve(path)[0], Preprocess(), realtime=True, buffer=2) as frames:
            first = next(frames)
            until(lambda: not has_open(frames._process.pid, path))  # all is decoded, and most of it came too late
            got = numbers([first, *frames])
        assert frames.frames == len(got)
        assert 1 < len(got) < 60
        assert frames.dropped + len(got) == 60
        assert got == sorted(got)
        assert got[-1] == 59, "the newest frame is never the one that is lost"

    def test_realtime_gives_each_frame_at_its_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Clock:
            now = 0.0

            def monotonic(self) -> float:
                return self.now

            def sleep(self, seconds: float) -> None:
                self.now += seconds

        clock = Clock()
        with Reader(resolve(handmade.write_video(tmp_path / "v.mp4", 30))[0], Preprocess(), realtime=True) as frames:
            order = frames._order
        monkeypatch.setattr(worker, "time", clock)
        came = [(float(frame.pts), clock.now) for _, frame, _ in worker._messages(order, worker._Every(-1, order))]
        np.testing.assert_allclose(*np.transpose(came), atol=1e-9)
        assert len(came) == 30


def test_a_process_that_ends_late_is_no_zombie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "LAST_S", 0.0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        ending.end(process)
        until(lambda: not Path(f"/proc/{process.pid}").exists())
