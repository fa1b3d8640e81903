"""The scripts in examples/devices, at a reduced size."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import handmade

DEVICES = Path(__file__).resolve().parents[2] / "examples" / "devices"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return handmade.write_video(tmp_path / "v.mp4", 40, draw=lambda i: handmade.picture(60 + i))


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DEVICES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_r3d_18")
def test_r3d_18_for_the_rdk_s100(tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script("rdk_s100_r3d18").main(str(video), None, tmp_path / "out", 4, 32, [1, 2], 4)
    lines = capsys.readouterr().out.splitlines()
    said = [line.split()[0] for line in lines if line.strip()]
    assert said[:4] == ["check", "fix", "fix", "quantize"]
    assert "GlobalAveragePool" in lines[0]
    assert [word for word in said if word in ("threads", "1", "2", "bundle")] == ["threads", "1", "2", "bundle"]
    assert (tmp_path / "out" / "board" / "compile.yaml").exists()


@pytest.mark.slow
def test_tsm_for_a_dpu(tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    script("tsm_fpga").main(str(video), None, tmp_path / "out", 32, 5, 20)
    out = capsys.readouterr().out
    assert "split     11 stages; parts and whole differ by 0.0e+00" in out
    assert "compare   pipeline and whole: 20 of 20 frames" in out
    assert "stage_10.onnx" in out
