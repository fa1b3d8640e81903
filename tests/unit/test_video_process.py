"""The decode process: what it does when it crashes, falls silent, or is left alone."""

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
from everyframe.video import Reader, reader, resolve, worker
from running import gone, until
from unit.test_video_reader import has_open, numbers, read


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
        with (tmp_path / "v.mkv").open("rb+", buffering=0), pytest.raises(SourceError, match=r"sent nothing for 0\.5 s"):
            read(tmp_path / "v.mkv")

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
