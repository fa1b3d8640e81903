"""From rendered streets to boxes: training, its end and its going on; what is found, written and measured; what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import default_collate

import everyframe as ef
from command_line import everyframe
from everyframe import recipes
from everyframe.data.scans import kitti, objects
from everyframe.errors import ModelError, OutputError, RecipeError, SourceError, UsageError
from everyframe.recipes import DetectionRecipe
from everyframe.runtime.program import Program
from everyframe.tasks.detection import run
from everyframe.tasks.detection.decode import Cells
from everyframe.tasks.detection.objective import Detecting
from everyframe.tasks.detection.scenes import Scenes
from everyframe.training.loader import Batch
from trainings import goes_on_to_the_same_weights
from unusable import refused

RECIPE = """
name = "small"
task = "detect"
[model]
features = 6
widths = [8, 12]
depths = [0, 1]
strides = [2, 2]
neck = 8
head = 8
[model.grid]
low = [0, -16, -3]
high = [32, 16, 2]
cell = 1.0
slots = 900
[data]
train = "all"
holdout = 0.34
[optimizer]
kind = "adamw"
learning_rate = 5e-3
weight_decay = 0.0
[training]
epochs = 3
batch = 2
threads = 1
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ef.render("scenes", tmp_path_factory.mktemp("scenes") / "single", count=6, beams=24).folder


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ef.render("scenes", tmp_path_factory.mktemp("moving") / "some", count=1, minutes=0.5 / 60, fps=8, beams=16).folder


@pytest.fixture(scope="module")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    done = run.start(recipe(), path, data=scenes)
    assert done is not None and done.ended and done.quality is not None and not done.notes
    return path


def recipe(*changes: str) -> DetectionRecipe:
    made = recipes.parse(RECIPE, changes=changes)
    assert isinstance(made, DetectionRecipe)
    return made


def test_a_run_folder_has_all_of_it(trained: Path) -> None:
    there = {path.name for path in trained.iterdir()}
    assert {"step.onnx", "report.html", "curves.png", "metrics.json", "best.safetensors", "recipe.toml"} <= there
    told = json.loads((trained / "metrics.json").read_text())
    assert set(told["interval"]) <= {"ground", "space"}
    assert told["scans"] == 2 and {row["label"] for row in told["classes"]} == {"Car", "Pedestrian", "Cyclist"}
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3] and rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_a_training_that_was_interrupted_goes_on_to_the_same_weights(
    trained: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on_to_the_same_weights(Detecting, run, recipe(), scenes, tmp_path / "run", trained, monkeypatch)


def test_a_folder_gets_labels_pictures_and_lines(trained: Path, scenes: Path, tmp_path: Path) -> None:
    """A broken scan is said, and one with broken labels, of which nothing is left; the others go on."""
    data = tmp_path / "data" / "training"
    for kind in ("velodyne", "calib", "label_2"):
        (data / kind).mkdir(parents=True)
        for path in sorted((scenes / "training" / kind).iterdir())[:2]:
            (data / kind / path.name).write_bytes(path.read_bytes())
    (data / "velodyne" / "000007.bin").write_bytes(b"cut")
    (data / "velodyne" / "000008.bin").write_bytes((data / "velodyne" / "000000.bin").read_bytes())
    (data / "label_2" / "000008.txt").write_text("Car 0 0 1 2 3\n")
    out = tmp_path / "found"
    done = everyframe(
        "predict", str(trained), str(tmp_path / "data"), "-o", str(out), "--threshold", "0.02", "--json", "--engine", "ort"
    )
    assert done.returncode == 2 and "000007" in done.stderr and "cut short" in done.stderr
    assert "000008.txt, line 1" in done.stderr and not [*out.glob("000008*")]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["scan"] for line in lines] == ["000000", "000001"] and (out / "boxes.jsonl").read_text().count("\n") == 2
    for line in lines:
        labels = objects.parse((out / f"{line['scan']}.txt").read_text().splitlines(), "found")
        assert 0 < len(labels) <= len(line["boxes"]) and labels.scores is not None
        picture = np.asarray(Image.open(out / f"{line['scan']}.png"))
        assert picture.ndim == 3 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_arrays_files_and_a_sensor_find_the_same(trained: Path, scenes: Path) -> None:
    scan = kitti.find(scenes)[0]
    alone = ef.detect(trained, scan.points(), threshold=0.02, engine="ort")
    of_file = ef.detect(trained / "step.onnx", scan.scan, threshold=0.02, engine="ort")[0].boxes
    sensor = list(ef.detect(trained, iter([scan.points()] * 2), threshold=0.02, engine="ort"))
    assert len(alone) > 0 and (alone.scores >= 0.02).all()
    for other in (of_file, *sensor):
        assert (other.boxes == alone.boxes).all() and other.names == alone.names


def test_a_scan_in_other_units_is_told(trained: Path, scenes: Path, tmp_path: Path) -> None:
    points = kitti.find(scenes)[0].points()
    for name, scan in (("mm", points * (1000, 1000, 1000, 1) + (50, 0, 0, 0)), ("well", points)):
        np.save(tmp_path / f"{name}.npy", scan)
    far, well = (ef.detect(trained, tmp_path / f"{name}.npy", engine="ort", threshold=0.9)[0].text() for name in ("mm", "well"))
    assert "no point lies" in far and "x 0 to 32 m" in far and "no point" not in well


def test_a_sequence_is_a_stream_and_a_video(trained: Path, sequence: Path, tmp_path: Path) -> None:
    done = everyframe("predict", str(trained), str(sequence), "-o", f"{tmp_path}/all.mp4", "--json", "--engine", "ort")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and [(line["sequence"], line["frame"]) for line in lines] == [("0000", n) for n in range(4)]
    with av.open(f"{tmp_path}/all.mp4") as file:
        assert sum(1 for _ in file.decode(video=0)) == 4


@pytest.mark.parametrize("name", ["one.txt", "one.json", "one.png", "one.jsonl"])
def test_one_scan_becomes_one_file(trained: Path, scenes: Path, tmp_path: Path, name: str) -> None:
    ef.detect(trained, kitti.find(scenes)[0].scan, tmp_path / name, engine="ort")
    assert (tmp_path / name).is_file()


def test_figures_are_those_of_the_file(trained: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(
        Program, "__init__", lambda self, *given, _=Program.__init__, **named: opened.append(_(self, *given, **named))
    )
    held = ef.evaluate_scans(trained)  # what its training held out
    assert len(opened) == 1
    assert held.to_dict()["classes"] == json.loads((trained / "metrics.json").read_text())["classes"]
    done = everyframe("evaluate", str(trained), "--data", str(scenes), "--json", "-o", f"{tmp_path}/report", "--limit", "3")
    assert done.returncode == 0 and json.loads(done.stdout)["scans"] == 3
    assert (tmp_path / "report" / "classes.csv").is_file()


def test_what_it_is_is_said(trained: Path) -> None:
    done = everyframe("info", f"{trained}/step.onnx")
    assert "boxes of Car, Pedestrian, Cyclist in scans: 0 to 32 m ahead" in done.stdout and "clips" not in done.stdout
    assert ef.info(trained / "step.onnx")["grid"]["cell"] == 1.0
    with pytest.raises(ModelError, match="finds objects in scans"), ef.open(trained / "step.onnx", engine="ort") as program:
        program.stream()


def test_it_is_not_taken_for_a_model_of_videos(trained: Path, tmp_path: Path) -> None:
    """By any function that runs videos, before it looks for them; and a scan that is not there is called one."""
    model, no = trained / "step.onnx", tmp_path / "no.mp4"
    for run_videos in (
        lambda: ef.quantize(model, no), lambda: ef.split(model, tmp_path / "parts", dump=no),
        lambda: ef.bundle(model, "rdk-x5", no), lambda: ef.bundle(model, "rdk-x5"),
        lambda: ef.serve(model, engine="ort", port=0, wait=False), lambda: ef.evaluate(model, tmp_path),
    ):  # fmt: skip
        with pytest.raises(ModelError, match="finds objects in scans"):
            run_videos()
    with pytest.raises(SourceError, match="no such scan"):
        ef.detect(model, no)


def test_paths_that_cannot_be_used_are_named(
    trained: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model", "scans", "output"):
        refused(ef.detect, name, {"model": trained, "scans": scenes, "engine": "ort"})
    for name in ("model", "data", "output"):
        refused(ef.evaluate_scans, name, {"model": trained, "data": scenes, "limit": 1})


def test_what_does_not_fit_is_refused(trained: Path, scenes: Path, tmp_path: Path) -> None:
    model, scan = trained / "step.onnx", kitti.find(scenes)[0]
    with pytest.raises(SourceError, match="no numbers"):
        ef.detect(model, np.full((3, 4), np.nan))
    with pytest.raises(SourceError, match="no scan"):
        ef.detect(model, np.zeros((3, 2)))
    with pytest.raises(SourceError, match="empty"):
        ef.detect(model, np.zeros((0, 4)))
    with pytest.raises(UsageError, match="cannot become one file"):
        ef.detect(model, scenes, tmp_path / "a.txt")
    with pytest.raises(OutputError, match="under this name"):
        ef.detect(model, scan.scan, tmp_path / "a.pdf")
    with pytest.raises(OutputError, match="overwrite"):
        ef.detect(model, scan.scan, scan.labels)
    with pytest.raises(OutputError, match="overwrite"):
        ef.detect(model, scan.scan, scenes / "training" / "label_2")
    with pytest.raises(UsageError, match="probability"):
        ef.detect(model, scan.scan, threshold=0)
    with pytest.raises(UsageError, match="lies in this folder already"):
        run.start(recipe(), trained, data=scenes)
    with pytest.raises(SourceError, match="no scans here"):
        run.start(recipe(), tmp_path / "run", data=trained)
    assert not (tmp_path / "run").exists()
    for option in ("--seconds", "--top-k"):
        done = everyframe("predict", str(model), str(scan.scan), option, "3")
        assert done.returncode == 2 and option in done.stderr
    with pytest.raises(RecipeError, match="multiples of 4"):
        recipe("model.grid.cell=0.98")
    with pytest.raises(RecipeError, match="same stages"):
        recipe("model.widths=[8]")


def test_mixed_precision_leaves_cells_where_they_are(scenes: Path) -> None:
    """It makes numbers bfloat16 on their way into a network, which knows no 257."""
    told, seen = recipe(), []
    fabric, net = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), run.network(told)
    net.stages[0].register_forward_pre_hook(lambda module, given: seen.append(given[0].detach().float()))
    cells = Cells.of(told.model.grid, net.stride)
    frames, maps = Scenes(kitti.find(scenes)[:1], told, cells)((0, 0))  # type: ignore[misc]
    batch = Batch(torch.from_numpy(frames)[None], default_collate([maps]), (0,), 0, 1.0, True)
    Detecting(fabric, None, [], told, cells).loss(fabric.setup(net), batch, 0)  # type: ignore[arg-type]
    net(batch.frames)
    assert len(seen) == 2 and torch.equal(*seen) and seen[0].amax(1).count_nonzero() > 50


def test_weights_of_another_shape_are_refused(trained: Path, scenes: Path, tmp_path: Path) -> None:
    net = run.network(recipe(f"model.weights={trained}", 'data.classes=["Car"]'))  # all but the heat
    assert torch.equal(net.points.weight, load_file(trained / "best.safetensors")["points.weight"])
    with pytest.raises(ef.errors.WeightsError, match="another network"):
        run.network(recipe(f"model.weights={trained}", "model.features=7"))


def test_a_network_learns_from_what_a_trained_one_says(trained: Path, scenes: Path, tmp_path: Path) -> None:
    told = recipe("teacher.weights='earlier'", "teacher.heat=2", "training.epochs=1")
    assert told.teacher is not None
    taught = told.model_copy(update={"teacher": told.teacher.model_copy(update={"weights": str(trained)})})
    fabric, cells = Fabric(accelerator="cpu", devices=1), Cells.of(told.model.grid, told.model.strides[0])
    teacher = run.teacher(taught)
    frames, maps = Scenes(kitti.find(scenes)[:1], told, cells)((0, 0))  # type: ignore[misc]
    batch = Batch(torch.from_numpy(frames)[None], default_collate([maps]), (0,), 0, 1.0, True)
    of = lambda net, teacher: float(  # noqa: E731
        Detecting(fabric, None, [], taught, cells, teacher=teacher).loss(net, batch, 0).detach()  # type: ignore[arg-type]
    )
    other = run.network(recipe("training.seed=4")).eval()
    assert teacher is not None and of(teacher, teacher) == pytest.approx(of(teacher, None)), "of itself nothing is learned"
    assert of(other, teacher) > of(other, None)
    done = run.start(taught, tmp_path / "run", data=scenes)
    assert done is not None and done.ended
    for change, word in (("model.grid.slots=800", "another grid"), ("data.classes=['Car']", "another list of classes")):
        with pytest.raises(RecipeError, match=word):
            run.start(recipe(change, f"teacher.weights='{trained}'"), tmp_path / "other", data=scenes)
    with pytest.raises(UsageError, match="no run folder"):
        run.start(told, tmp_path / "other", data=scenes)
    assert not (tmp_path / "other").exists()


# -- rendered streets


def test_points_lie_where_boxes_are(scenes: Path) -> None:
    """Of each labeled object some points are in its box, and the noise takes few out of those of its own."""
    for scan in kitti.find(scenes):
        labels, points = scan.objects(), scan.points()[:, :3]
        known = labels.only(np.array([name != "DontCare" for name in labels.names], bool))
        for x, y, z, length, width, height, yaw in scan.calibration().boxes(known):
            moved = points - (x, y, z)
            cos, sin = np.cos(yaw), np.sin(yaw)
            local = np.stack([moved[:, 0] * cos + moved[:, 1] * sin, moved[:, 1] * cos - moved[:, 0] * sin, moved[:, 2]], 1)
            assert (np.abs(local) <= np.array([length, width, height]) / 2 + 0.08).all(1).sum() >= 3


def test_a_street_goes_on_where_it_was_interrupted(scenes: Path, tmp_path: Path) -> None:
    made = ef.render("scenes", tmp_path / "again", count=2, beams=24)
    (made.folder / "training" / "velodyne" / "000001.bin").unlink()
    assert ef.render("scenes", tmp_path / "again", count=3, beams=24).made == 2
    for path in sorted((made.folder / "training").rglob("*.*")):
        assert path.read_bytes() == (scenes / path.relative_to(made.folder)).read_bytes()
    with pytest.raises(OutputError, match="other settings"):
        ef.render("scenes", tmp_path / "again", count=3, beams=16)
    with pytest.raises(UsageError, match="cannot be rendered"):
        ef.render("scenes", tmp_path / "none", beams=2)


def test_who_stands_still_stays_where_the_ground_is(sequence: Path) -> None:
    """Poses put each track that does not move to one place, and others where they drive."""
    poses = np.loadtxt(sequence / "training" / "poses" / "0000.txt").reshape(-1, 3, 4)
    tracks: dict[str, list[np.ndarray]] = {}
    for scan in kitti.find(sequence):
        lines = (sequence / "training" / "label_02" / "0000.txt").read_text().splitlines()
        own = [line.split() for line in lines if line.split()[0] == str(scan.frame)]
        boxes = scan.calibration().boxes(scan.objects())
        for words, box in zip(own, boxes, strict=True):
            if words[2] in ("Car", "Van", "Truck") and words[1] != "-1":
                tracks.setdefault(words[1], []).append(poses[scan.frame] @ np.array([*box[:3], 1]))
    spans = [np.ptp(np.stack(places), 0)[:2].max() for places in tracks.values() if len(places) == 4]
    assert spans and all(span < 0.06 or span > 0.1 for span in spans) and min(spans) < 0.06
