"""The scripts in examples/devices, at a reduced size, and the table of threads that they print."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from types import ModuleType

import pytest

import handmade
from everyframe.benchmarking.parallel import parallel
from everyframe.errors import UsageError

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
    said = [line.split()[0] for line in lines]
    assert said[:4] == ["check", "fix", "fix", "quantize"]
    assert "GlobalAveragePool" in lines[0]
    assert said[-4:] == ["threads", "1", "2", "bundle"]
    assert (tmp_path / "out" / "board" / "compile.yaml").exists()


@pytest.mark.slow
def test_tsm_for_a_dpu(tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    script("tsm_fpga").main(str(video), None, tmp_path / "out", 32, 5, 20)
    out = capsys.readouterr().out
    assert "split     11 stages; parts and whole differ by 0.0e+00" in out
    assert "compare   pipeline and whole: 20 of 20 frames" in out
    assert "stage_10.onnx" in out


def test_threads_really_run_together() -> None:
    """Two threads that wait for each other end; each run is counted once."""
    meeting, calls, mine = threading.Barrier(2), [], threading.Lock()

    def make():
        def call() -> None:
            meeting.wait()
            with mine:
                calls.append(threading.get_ident())

        return call

    (row,) = parallel(make, [2], runs=6)
    assert (row.threads, row.runs, len(calls), len(set(calls))) == (2, 6, 8, 2)
    assert row.latency_ms == pytest.approx(row.total_ms / 6)
    assert row.fps > 0


def test_a_call_that_raises_ends_the_table() -> None:
    def make():
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        parallel(make, [1, 3])
    with pytest.raises(UsageError, match="counted"):
        parallel(lambda: lambda: None, [0])
