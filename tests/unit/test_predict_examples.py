"""The examples run as their docstrings say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import handmade

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return handmade.brightness_step(tmp_path / "step.onnx")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return handmade.write_video(tmp_path / "v.mp4", 60, draw=lambda i: handmade.picture(230 if i >= 30 else 20))


def test_predict_file(model: Path, video: Path) -> None:
    done = run("predict_file.py", model, video)
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["dark", "bright"], done.stderr


def test_predict_file_says_what_is_wrong(model: Path) -> None:
    done = run("predict_file.py", model, "missing.mp4")
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no such video.")


def test_camera_loop(model: Path, video: Path) -> None:
    """It samples at the model's 10 fps by itself and says what `predict` says."""
    lines = [line.split() for line in run("camera_loop.py", model, video).stdout.splitlines()]
    assert [float(line[0]) for line in lines] == pytest.approx([i / 10 for i in range(3, 20)], abs=0.01)
    assert (lines[0][2], lines[-1][2]) == ("dark", "bright")


PROGRAMS = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("**/*.py") if "plugin" not in path.parts)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_say_how_they_are_called(name: str) -> None:
    if name.startswith("devices"):
        pytest.importorskip("torch")
    without, asked = run(name), run(name, "--help")
    assert (without.returncode, without.stderr[:6]) == (2, "usage:"), without.stderr
    assert asked.returncode == 0, asked.stderr
    assert f"python examples/{name}" in asked.stdout, "the docstring is the help"
