"""`everyframe quantize`: the table, the verdict, JSON, files, exit codes; and real clips where they are."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

import handmade
from clips import clip_net
from everyframe.cli import main
from everyframe.modelfile.file import load, metadata_of
from everyframe.quantization import mixed
from helpers import shared_dir


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantize_cli")
    clip_net(folder / "clip.onnx", labels=tuple("abcd"))
    handmade.write_video(folder / "video.mp4", 40, rate=10)
    return folder


def test_what_is_said_and_written(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "int8.onnx", tmp_path / "report"
    arguments = ["quantize", str(folder / "clip.onnx"), "--calibrate", str(folder / "video.mp4"), "-o", str(out)]
    with pytest.raises(SystemExit) as ended:
        main.run([*arguments, "--report", str(report), "--frames", "40"])
    said, err = capsys.readouterr()
    assert ended.value.code == 0 and err == ""
    lines = said.rstrip().splitlines()
    assert lines[0] == "calibrated by minmax on 5 clips, 40 frames of 1 video"
    assert any(line.split()[:2] == ["stem", "Conv+Relu"] for line in lines)
    assert "warning: only 5 clips" in said
    (verdict,) = [line for line in lines if line.startswith("similarity ")]
    assert "holds 0.99" in verdict and "worst layer" in verdict and "top-1 agrees in" in verdict and "no states" in verdict
    found = json.loads((report / "quantized.json").read_text())
    assert found["verdict"] == verdict and found["answers"]["cosine"] > 0.99 and found["layers"][0]["op"] == "input"
    picture = Image.open(io.BytesIO((report / "quantized.png").read_bytes()))
    assert picture.size == (1280, 860) and len(set(picture.convert("L").tobytes())) > 20
    metadata = metadata_of(load(out))
    assert metadata is not None and metadata.labels == tuple("abcd")


def test_json(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["quantize", str(folder / "clip.onnx"), "--calibrate", str(folder / "video.mp4"), "-o", str(tmp_path / "a.onnx")]
    with pytest.raises(SystemExit) as ended:
        main.run([*arguments, "--target", "vitis-dpu", "--method", "entropy", "--frames", "16", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert (found["target"], found["power_of_two"], found["calibration"]["method"]) == ("vitis-dpu", True, "entropy")
    assert found["files"] == [str(tmp_path / "a.onnx")] and {"answers", "layers", "states", "put_back"} <= set(found)


def test_errors_end_with_two_and_leave_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.run(["quantize", str(folder / "clip.onnx"), "--calibrate", str(tmp_path), "-o", str(tmp_path / "a.onnx")])
    assert ended.value.code == 2
    assert "neither a video nor a picture" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_answers_that_miss_what_was_wanted_end_with_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no layer is left to put back; the file is there to be looked at."""
    monkeypatch.setattr(mixed, "candidates", lambda rows: [])
    out = tmp_path / "a.onnx"
    arguments = ["quantize", str(folder / "clip.onnx"), "--calibrate", str(folder / "video.mp4"), "-o", str(out)]
    with pytest.raises(SystemExit) as ended:
        main.run([*arguments, "--frames", "16", "--min-similarity", "1"])
    said, err = capsys.readouterr()
    assert (ended.value.code, out.exists()) == (1, True)
    assert "misses 1" in said and "a.onnx misses the similarity that was wanted" in err


@pytest.mark.slow
def test_the_built_in_model_on_real_gestures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = shared_dir() / "data" / "hand_gestures" / "train"
    if not clips.is_dir():
        pytest.skip("needs real clips of hand gestures")
    with pytest.raises(SystemExit) as ended:
        main.run(["quantize", "builtin", "--calibrate", f"{clips}/*/*.mp4", "--videos", "6", "--frames", "1000", "--json",
                  "-o", str(tmp_path / "int8.onnx")])  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert found["answers"]["cosine"] > 0.999 and found["answers"]["agreement"] > 0.97 and not found["grows"]
    assert min(layer["cosine"] for layer in found["layers"]) > 0.99
