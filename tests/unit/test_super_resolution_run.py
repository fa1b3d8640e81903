"""From a folder of pictures to larger ones: training, its end and its going on; what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import everyframe as ef
from command_line import everyframe
from everyframe import recipes
from everyframe.errors import OutputError, SourceError, UsageError
from everyframe.recipes.super_resolution import SuperResolutionRecipe
from everyframe.tasks.super_resolution import run
from everyframe.tasks.super_resolution.apply import found
from everyframe.tasks.super_resolution.objective import Enlarging
from trainings import goes_on_to_the_same_weights
from unusable import refused

RECIPE = """
name = "small"
task = "enhance"
[model]
scale = 2
channels = 4
depth = 1
wide = 8
size = [16, 16]
[data]
crop = 8
crops = 16
[optimizer]
kind = "adamw"
learning_rate = 1e-3
weight_decay = 0.0
[training]
epochs = 3
batch = 4
threads = 1
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(5):
        noise = np.random.default_rng(seed).integers(0, 256, (14, 16, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((64, 56), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    done = run.start(recipe(), path, data=pictures)
    assert done is not None and done.ended and done.quality is not None
    assert done.notes == ("skipped: 1 of the pictures could not be read",)
    return path


def recipe(*changes: str) -> SuperResolutionRecipe:
    made = recipes.parse(RECIPE, changes=changes)
    assert isinstance(made, SuperResolutionRecipe)
    return made


def test_a_run_folder_has_all_of_it(trained: Path) -> None:
    there = {path.name for path in trained.iterdir()}
    assert {"step.onnx", "report.html", "curves.png", "metrics.json", "best.safetensors", "recipe.toml"} <= there
    told = json.loads((trained / "metrics.json").read_text())
    assert told["scale"] == 2 and len(told["pictures"]) == 1 and told["mean"]["psnr"] > 10
    assert [row["epoch"] for row in map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())] == [1, 2, 3]


def test_a_training_that_was_interrupted_goes_on_to_the_same_weights(
    trained: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on_to_the_same_weights(Enlarging, run, recipe(), pictures, tmp_path / "run", trained, monkeypatch)


def test_a_picture_is_written_as_it_is_enlarged_in_memory(trained: Path, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "larger.png"
    done = everyframe("predict", f"{trained}/step.onnx", f"{pictures}/1.png", "-o", str(output), "--engine", "ort")
    assert done.returncode == 0 and "64x56 -> 128x112" in done.stdout
    given = np.asarray(Image.open(pictures / "1.png"))
    made = ef.enlarge(trained, given, engine="ort").picture  # a run folder will do
    assert made is not None and (np.asarray(Image.open(output)) == made).all() and made.shape == (112, 128, 3)


def test_paths_that_cannot_be_used_are_named(
    trained: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model", "pictures", "output"):
        refused(ef.enlarge, name, {"model": trained, "pictures": pictures / "1.png", "output": "larger.png", "engine": "ort"})
    for name in ("model", "data", "output"):
        refused(ef.evaluate_pictures, name, {"model": trained, "data": pictures, "limit": 1})


def test_a_folder_goes_on_after_what_is_broken(trained: Path, pictures: Path, tmp_path: Path) -> None:
    done = everyframe("predict", f"{trained}/step.onnx", str(pictures), "-o", f"{tmp_path}/out", "--json", "--engine", "ort")
    assert done.returncode == 2 and "broken.png" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["width"] for row in rows] == [128] * 5
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n}.png" for n in range(5)]


def test_a_video_keeps_its_frames_times_and_sound(trained: Path, tmp_path: Path) -> None:
    source = tmp_path / "small.mp4"
    with av.open(str(source), "w") as file:
        video, sound = file.add_stream("libx264", rate=10), file.add_stream("aac", rate=8000)
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        for level in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 40 * level, np.uint8), "rgb24")
            file.mux(video.encode(frame))
        for n in range(5):
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            noise.sample_rate, noise.pts = 8000, 1024 * n
            file.mux(sound.encode(noise))
        file.mux(video.encode(None)), file.mux(sound.encode(None))
    made = ef.enlarge(trained / "step.onnx", source, tmp_path / "larger.mp4", engine="ort").files[0]
    assert (made.frames, made.size) == (6, (24, 32))
    with av.open(str(tmp_path / "larger.mp4")) as file:
        stream = file.streams.video[0]
        assert (stream.width, stream.height, len(file.streams.audio)) == (64, 48, 1)
        times = [float(frame.pts * frame.time_base) for frame in file.decode(stream)]
    assert times == pytest.approx([n / 10 for n in range(6)], abs=1e-3)


def test_a_folder_gives_its_pictures_and_its_videos(tmp_path: Path) -> None:
    for name in ("b.mp4", "a10.png", "a2.jpg", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    assert [source.name for source in found(tmp_path, tmp_path / "out")] == ["a2.jpg", "a10.png", "b.mp4"]
    (tmp_path / "b.mp4").unlink()
    assert [len(source.paths) for source in found(tmp_path, tmp_path / "out.mp4")] == [2]  # one video of two pictures


def test_figures_are_those_of_the_file(trained: Path, pictures: Path, tmp_path: Path) -> None:
    held = ef.evaluate_pictures(trained)  # what its training held out
    assert held.to_dict()["pictures"] == json.loads((trained / "metrics.json").read_text())["pictures"]
    done = everyframe("evaluate", f"{trained}/step.onnx", "--data", str(pictures), "--json", "-o", f"{tmp_path}/report")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and len(told["pictures"]) == 5 and len(told["skipped"]) == 1
    assert (tmp_path / "report" / "pictures.csv").is_file()


def test_what_cannot_be_written_is_said_before_any_work(trained: Path, pictures: Path, tmp_path: Path) -> None:
    model = trained / "step.onnx"
    one, copy = pictures / "1.png", tmp_path / "copy.png"
    copy.write_bytes(one.read_bytes())
    with pytest.raises(UsageError, match="have to be written"):
        ef.enlarge(model, one)
    with pytest.raises(OutputError, match="under this name"):
        ef.enlarge(model, one, tmp_path / "a.mp4")
    with pytest.raises(UsageError, match="cannot become one"):
        ef.enlarge(model, [one, copy], tmp_path / "a.png")
    with pytest.raises(OutputError, match="overwrite what is read"):
        ef.enlarge(model, copy, copy)
    with pytest.raises(OutputError, match="cannot be written"):
        ef.enlarge(model, one, tmp_path / "nowhere" / "a.png")
    with pytest.raises(UsageError, match="no picture"):
        ef.enlarge(model, np.zeros((4, 4), np.uint8))
    with pytest.raises(UsageError, match="lies in this folder already"):
        run.start(recipe(), trained, data=pictures)
    with pytest.raises(SourceError, match="no pictures in this folder"):
        run.start(recipe(), tmp_path / "run", data=tmp_path / "..")
    assert not (tmp_path / "run").exists()


def test_integers_lose_little(trained: Path, pictures: Path) -> None:
    """Calibrated on pictures, which are made to fit the size of the file; the copy enlarges any size."""
    small = ef.quantize(trained / "step.onnx", str(pictures / "*[0-9].png"), frames=4).model
    assert any(node.op_type == "QuantizeLinear" for node in small.graph.node)
    held = ef.evaluate_pictures(small, pictures, limit=2)
    assert all(abs(row.psnr - row.bicubic_psnr) < 3 for row in held.rows)


def test_options_of_the_other_kind_are_refused(trained: Path, pictures: Path, tmp_path: Path) -> None:
    done = everyframe("predict", f"{trained}/step.onnx", f"{pictures}/1.png", "-o", f"{tmp_path}/a.png", "--top-k", "3")
    assert done.returncode == 2 and "--top-k" in done.stderr and not (tmp_path / "a.png").exists()
    done = everyframe("predict", "builtin", f"{pictures}/1.png", "-o", f"{tmp_path}/a.png")
    assert done.returncode == 2 and "Only models that enlarge" in done.stderr
    with pytest.raises(ef.EveryframeError, match="programs of bundles"):
        ef.bundle(trained / "step.onnx", "onnxruntime", pictures)
    with ef.open(trained / "step.onnx", engine="ort") as program, pytest.raises(ef.EveryframeError, match="recognizes nothing"):
        program.stream()
