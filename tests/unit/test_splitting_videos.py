"""Split models on videos: what `predict` says, what each stage is given, where the time goes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import handmade
from everyframe import modelfile
from everyframe.benchmarking.stages import stages
from everyframe.cli import main
from everyframe.modelfile import manifest
from everyframe.modelfile.session import run_all
from everyframe.runtime import Program
from everyframe.splitting import cut, label
from everyframe.splitting.dump import dump
from everyframe.video import Reader, normalize, resolve


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A step model, its parts and a video that grows brighter, hop 2."""
    model = handmade.brightness_step(tmp_path / "step.onnx", window=3, hop=2)
    flow = cut.open_step(model)
    cut.write(cut.cut(flow, label.behind(flow, ["all"])), tmp_path / "split")
    for n, name in enumerate("ab"):
        handmade.write_video(tmp_path / f"{name}.mp4", 20, rate=10, draw=lambda i, n=n: handmade.picture(10 * i + 30 * n))
    return tmp_path


def said(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main.run(list(arguments))
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("options", [["*.mp4"], ["a.mp4", "--max-frames", "7"]], ids=" ".join)
def test_predict_says_the_same(
    options: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The step model, its parts, its parts at the same time; several videos, each from a fresh state, to its last frame."""
    monkeypatch.chdir(folder)
    answers = [
        [{k: v for k, v in json.loads(line).items() if k != "engine"} for line in said(
            "predict", *model, *options, "--json", "--engine", "ort", capsys=capsys
        ).splitlines()]
        for model in (["step.onnx"], ["split"], ["split", "--overlap"])
    ]  # fmt: skip
    assert answers[0]
    assert answers[0] == answers[1] == answers[2]


def test_overlapping_streams_say_whose_frame_it_was(folder: Path) -> None:
    with Program(folder / "split") as one, Program(folder / "split", overlap=True) as other:
        pairs = zip(one.predict(folder / "a.mp4"), other.predict(folder / "a.mp4"), strict=True)
        for wanted, got in pairs:
            assert (got.frame, got.pts_s, got.source_frame) == (wanted.frame, wanted.pts_s, wanted.source_frame)
            np.testing.assert_array_equal(got.logits, wanted.logits)


def test_samples_are_what_the_whole_model_computes(folder: Path) -> None:
    """Step by step through the states, which are empty at the beginning of each video."""
    sources = resolve(str(folder / "*.mp4"))
    assert dump(folder / "split", sources, 1000) == 20
    model = modelfile.load(folder / "step.onnx")
    metadata = modelfile.metadata_of(model)
    assert metadata is not None
    wanted = []
    for source in sources:
        held = {spec.input: np.full(spec.shape, spec.fill, spec.dtype) for spec in metadata.states}
        pictures = [frame.data for frame in Reader(source, metadata.preprocess)]
        for n in range(0, len(pictures), 2):
            tensor = normalize(np.stack(pictures[n : n + 2]), metadata.preprocess)
            tensors = run_all(model, {"frames": tensor, **held})
            held = {spec.input: tensors[spec.output] for spec in metadata.states}
            wanted.append(tensors["all"])
    kept = folder / "split" / "calibration" / "stage_01"
    lines = (kept / "files.txt").read_text().splitlines()
    np.testing.assert_allclose([np.load(kept / line) for line in lines], wanted, rtol=1e-6)
    info = "--input_nodes all\n--input_shapes 6,1,12,16\n--output_nodes logits\n"
    assert (kept / "quantize_info.txt").read_text() == info


def test_samples_are_spread_evenly(folder: Path) -> None:
    assert dump(folder / "split", resolve(str(folder / "*.mp4")), 5) == 5
    kept = folder / "split" / "calibration" / "stage_00"
    assert sorted(file.stem for file in (kept / "0_frames").iterdir()) == ["000000", "000005", "000010", "000014", "000019"]
    assert len((kept / "files.txt").read_text().splitlines()) == 5


def test_samples_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["split", str(folder / "step.onnx"), "-o", str(folder / "new"), "--dump", str(folder / "*.mp4"), "--samples", "4"]
    assert json.loads(said(*line, "--json", capsys=capsys))["samples"] == 4
    with pytest.raises(SystemExit) as ended:
        main.run(["split", str(folder / "step.onnx"), "-o", str(folder / "other"), "--dump", "missing.mp4"])
    assert ended.value.code == 2
    assert not (folder / "other").exists(), "asked for before the long work"


def test_where_the_time_goes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part has its row."""
    (source,) = resolve(str(folder / "a.mp4"))
    with Program(folder / "split") as program:
        found = stages(program, source)
    assert list(found.networks) == [part.file for part in manifest.read(folder / "split").parts]
    assert all(taken > 0 for taken in found.networks.values())
    shown = said("predict", str(folder / "split"), str(folder / "a.mp4"), "--profile", capsys=capsys)
    assert "stage_01.onnx" in shown
    whole = json.loads(said("predict", str(folder / "step.onnx"), str(folder / "a.mp4"), "--profile", "--json", capsys=capsys))
    assert list(whole["networks"]) == ["network"]
    assert whole["serial_fps"] == pytest.approx(1e3 / (whole["preprocess"] + whole["step"]))


@pytest.mark.parametrize(("arguments", "words"), [
    (["predict", "step.onnx", "a.mp4", "--overlap"], "Only the stages of a split model"),
    (["predict", "split", "a.mp4", "--engine", "native"], "runs on ONNX Runtime"),
    (["predict", "split", "a.mp4", "--profile", "--overlap"], "one by one"),
    (["predict", "split", "a.mp4", "--profile", "--max-frames", "4"], "too short"),
    (["split", "step.onnx", "-o", "x", "--stages", "2", "--at", "all"], "not both"),
    (["split", "split", "-o", "x"], "folder"),
])  # fmt: skip
def test_what_does_not_go_together(
    arguments: list[str], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        main.run(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
