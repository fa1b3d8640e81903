"""`predict --show`: a window where there can be one, else the page of the server."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import handmade
from everyframe.cli.show import marked
from everyframe.cli.show.window import NoWindow, Window
from everyframe.runtime.prediction import Prediction, Top
from running import started, until

NO_DISPLAY = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
PREDICT = (sys.executable, "-m", "everyframe", "predict", "step.onnx", "v.mp4", "--show", "--engine", "ort")


def test_the_last_seconds_are_drawn_below_the_newest_picture() -> None:
    marks = marked.Marks("", "none")
    for step in range(600):
        scores = np.array([0.1, 0.9], np.float32)
        marks.add(Prediction(step, step / 10, scores, scores, (Top("wave", 1, 0.9),)))
        drawn = marked.now(marks, np.full((90, 120, 3), 200, np.uint8)) if step % 100 == 99 else None
    assert drawn is not None and drawn.shape[1] == 240 and drawn.shape[0] > 180 and (drawn[:180] == 200).all()
    assert len(marks.times) <= 10 * marked.RECENT_S + 1, "what is older is forgotten"
    strip = drawn[-18:, 8:-8]
    assert (strip != strip[0, 0]).any(axis=2).any(axis=0).mean() > 0.9, "all of the last seconds have a score"


def test_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes pictures, and says when it is closed."""
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb (on Debian: apt install xvfb)")
    pytest.importorskip("tkinter", reason="needs tkinter (on Debian: apt install python3-tk)")
    with started("Xvfb", "-displayfd", "1", "-screen", "0", "320x240x24", "-nolisten", "tcp") as screen:
        assert screen.stdout is not None
        monkeypatch.setenv("DISPLAY", f":{screen.stdout.readline().strip()}")
        window = Window("test")
        picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        assert all(window.show(picture) for _ in range(5)) and not window.closed
        os.kill(window._process.pid, signal.SIGTERM)  # as a person closes it
        until(lambda: not window.show(picture))
        assert window.closed
        window.close()
        other = Window("test")
        other.close()
        assert other._process.poll() is not None


def test_without_a_display_the_page_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(NoWindow, match=r"display|tkinter"):
        Window("test")
    handmade.brightness_step(tmp_path / "step.onnx")
    handmade.write_video(tmp_path / "v.mp4", 30)
    with started(*PREDICT, "--json", cwd=tmp_path, env=NO_DISPLAY) as refused:
        said = refused.communicate()[1]
        assert refused.returncode == 2 and "no window: " in said and "leave --show out" in said
    with started(*PREDICT, cwd=tmp_path, env=NO_DISPLAY) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        address = lines[-1].split()[1]
        assert address.startswith("http://127.0.0.1:")
        connection = http.client.HTTPConnection(address.split("/")[2])
        connection.request("GET", "/v1/cameras")
        (camera,) = json.loads(connection.getresponse().read())["cameras"]
        connection.close()
        assert camera["name"] == "v.mp4" and camera["model"] == "step.onnx"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
