"""Every verb that takes videos on what people have: a phone's portrait video, a browser's WebM, a doorbell's stream, a folder."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import pytest

import everyframe
import handmade
import moving
from clips import clip_net
from everyframe import evaluate, serve, watch
from everyframe.cli import main
from everyframe.errors import EveryframeError
from everyframe.modelfile.file import load, save
from everyframe.runtime import auto


def level(i: int) -> np.ndarray:
    """60 frames, the first half dark, the second bright."""
    return handmade.picture(230 if i >= 30 else 20)


def phone(folder: Path) -> Path:
    """Portrait by a display matrix, at a variable rate."""
    times = [Fraction(i, 30) + Fraction(i % 3, 200) for i in range(60)]
    return handmade.turned(handmade.write_video(folder / "IMG 0001 (1).mp4", 60, codec="libx264", times=times, draw=level))


def browser(folder: Path) -> Path:
    """As MediaRecorder writes it: no duration, no index."""
    path = handmade.write_video(folder / "aufnahme-ü.webm", 60, codec="libvpx", draw=level, options={"live": "1"})
    with av.open(str(path)) as container:
        assert container.duration is None
    return path


def doorbell(folder: Path) -> Path:
    """Recordings whose clocks lie hours apart, beginning between two key frames."""
    path = folder / "2026-11-29T22:57:44.ts"
    data = b""
    for number in range(2):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg2video", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.options = {"g": "10"}
            for i in range(30):
                frame = av.VideoFrame.from_ndarray(level(i + 30 * number), format="rgb24")
                frame.pts, frame.time_base = i + 300_000 * number, Fraction(1, 30)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        data += path.read_bytes()
    path.write_bytes(data[188 * 5 :])
    return path


def array(folder: Path) -> Path:
    """As numpy keeps it: pictures with their times."""
    path = folder / "frames 1.npz"
    np.savez_compressed(path, frames=np.stack([level(i) for i in range(60)]), pts=np.arange(60) / 30)
    return path


def kept(folder: Path) -> Path:
    """With names as they come, what systems leave, a text and two files that cannot be read."""
    here = folder / "Neuer Ordner (2)"
    (here / "old").mkdir(parents=True)
    shutil.copy(phone(folder), here / "IMG_10.MP4")
    shutil.copy(browser(folder), here / "clip 2.webm")
    shutil.copy(doorbell(folder), here)
    for name in ("._IMG_10.MP4", ".hidden.mp4", "notes.txt", "Thumbs.db"):
        (here / name).write_text("no video")
    (here / "broken.mp4").write_bytes(b"no video")
    (here / "empty.mov").touch()
    return here


KINDS = {"phone": phone, "browser": browser, "doorbell": doorbell, "array": array, "folder": kept}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sources, and the same as clips of two classes."""
    found = {}
    for kind, write in KINDS.items():
        folder = tmp_path_factory.mktemp(kind)
        found[kind] = write(folder)
        for label in ("dark", "bright"):
            (folder / "classes").mkdir(exist_ok=True)
            target = folder / "classes" / label
            if found[kind].is_dir():
                shutil.copytree(found[kind], target)
            else:
                target.mkdir()
                shutil.copy(found[kind], target)
        found[f"{kind} classes"] = folder / "classes"
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.brightness_step(tmp_path_factory.mktemp("models") / "step.onnx")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = 0
    try:
        main.run([str(word) for word in words])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


@pytest.mark.parametrize("kind", KINDS)
class TestVerbs:
    def test_predict(self, kind: str, made, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, "predict", model, made[kind], "--json", "--engine", "ort")
        assert code == (2 if kind == "folder" else 0), err
        rows = [json.loads(line) for line in out.splitlines()]
        for source in {row.get("source") for row in rows}:
            of = [row for row in rows if row.get("source") == source]
            assert (of[0]["top"][0]["label"], of[-1]["top"][0]["label"]) == ("dark", "bright")
            assert 1.5 < of[-1]["pts_s"] < 2.1 and 12 <= len(of) <= 18  # 2 s at 10 fps, of which three steps see too little
        assert len({row.get("source") for row in rows}) == (3 if kind == "folder" else 1)

    def test_quantize(self, kind: str, made, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, _, err = run(
            capsys, "quantize", model, "--calibrate", made[kind], "-o", tmp_path / "q.onnx", "--frames", 20
        )  # fmt: skip
        assert (code, (tmp_path / "q.onnx").exists()) == (0, True), err

    def test_split(self, kind: str, made, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, "split", model, "-o", tmp_path / "s", "--dump", made[kind], "--samples", 4)
        assert code == 0, err
        assert ("broken.mp4: This is not a video" in out) == (kind == "folder")

    def test_bundle(self, kind: str, made, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("--calibrate", made[kind], "--samples", 4, "-o", tmp_path / "b")
        code, _, err = run(capsys, "bundle", model, "--target", "rdk-s100", *words)
        assert code == 0 and np.load(tmp_path / "b" / "video0.npy").size, err

    def test_evaluate(self, kind: str, made, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Every video ends bright, so that half of them are right: of as many as there are."""
        words = ("--data", made[f"{kind} classes"], "--workers", 1, "--json")
        code, out, err = run(capsys, "evaluate", model, *words)
        assert code == 0, err
        found = json.loads(out)
        videos, unreadable = (6, 4) if kind == "folder" else (2, 0)
        end = found["conditions"]["normal"]["streaming"]["end"]
        assert (found["videos"], found["unreadable"], end["count"], end["top1"]) == (videos, unreadable, videos, 0.5)

    def test_teach(self, kind: str, made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Two examples of each; what cannot be read is named and left out."""
        examples = tmp_path / "examples"
        for label in ("one", "other"):
            (examples / label).mkdir(parents=True)
            for path in sorted((made[f"{kind} classes"] / "dark").iterdir()):
                for number in (1, 2):
                    if path.is_file():  # a copy counts once, so each is another file to its last byte
                        (examples / label / f"{label} {number} {path.name}").write_bytes(path.read_bytes() + bytes(number))
        code, out, err = run(capsys, "teach", "builtin", "--examples", examples, "-o", tmp_path / "mine.onnx")
        assert (code, (tmp_path / "mine.onnx").exists()) == (0, True), err
        assert ("broken.mp4" in out + err) == (kind == "folder")

    def test_check_data(self, kind: str, made, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, "train", "--data", made[f"{kind} classes"], "--check-data")
        assert code == 0, err
        assert ("broken.mp4" in out + err) == (kind == "folder")
        sizes = {"phone": "48x64", "browser": "64x48", "doorbell": "64x48", "array": "64x48"}
        assert sizes.get(kind, "48x64") in out


#: what plays as files do; an array and a folder are no cameras
FILES = ("phone", "browser", "doorbell")


def test_serve(made, model: Path) -> None:
    """Each is posted, and answered as `predict` answers."""
    with serve(model, engine="ort", port=0, wait=False) as server:
        host, port = server.addresses[0].split("/")[2].rsplit(":", 1)
        for kind in FILES:
            with contextlib.closing(http.client.HTTPConnection(host, int(port))) as connection:
                connection.request("POST", "/v1/predict", made[kind].read_bytes())
                answer = connection.getresponse()
                *rows, end = map(json.loads, answer.read().splitlines())
            labels = [row["top"][0]["label"] for row in rows if row["type"] == "prediction"]
            assert (answer.status, end["type"], end["complete"]) == (200, "end", True), (kind, end)
            assert (labels[0], labels[-1], 12 <= len(labels) <= 18) == ("dark", "bright", True), kind


def test_watch(made, model: Path, tmp_path: Path) -> None:
    """Each is played as a camera, and its bright half is an event with a picture."""

    class Seen(Exception):
        pass

    def tell(event: Any) -> None:
        if event.end is not None:
            told[event.camera] = event
        if set(told) == set(FILES):
            raise Seen

    told: dict[str, Any] = {}
    alert = "labels=bright seconds=0.3 quiet=0"
    cameras = {kind: {"address": str(made[kind]), "alert": alert} for kind in FILES}
    with pytest.raises(Seen):
        watch({"model": str(model), "engine": "ort", "folder": str(tmp_path), "cameras": cameras}, tell, seconds=60)
    assert all(event.label == "bright" and Path(event.snapshot).is_file() for event in told.values())


@pytest.mark.parametrize("kind", FILES)
def test_benchmark(kind: str, made, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stage by stage."""
    code, out, err = run(
        capsys, "benchmark", model, "--video", made[kind], "--engine", "ort", "--frames", 3, "--json", "-"
    )  # fmt: skip
    assert code == 0 and json.loads(out)["stages"], err


@pytest.mark.parametrize("kind", FILES)
def test_teach_from_a_camera(kind: str, made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A video stands in for it; what was recorded is kept, and taught where it is not the same picture throughout."""
    words = ("--count", 2, "--seconds", 0.3, "--countdown", 0, "--pause", 0.3, "-o", tmp_path / "mine.onnx")
    _, _, err = run(capsys, "teach", "--camera", made[kind], "--gesture", "one", "--gesture", "other", *words)
    clips = sorted(path.parent.name for path in (tmp_path / "mine-examples").rglob("*.*"))
    assert clips.count("one") == clips.count("other") == 2 and "recorded 5 clips" in err, err


def without_numbers(folder: Path) -> Path:
    """A model whose answers are no numbers."""
    path = handmade.brightness_step(folder / "spoilt.onnx")
    spoilt = load(path)
    place = next(i for i, node in enumerate(spoilt.graph.node) if node.op_type == "Unsqueeze")
    spoilt.graph.node[place].input[0] = "logarithm"
    spoilt.graph.node.insert(place, onnx.helper.make_node("Log", ["flat"], ["logarithm"]))
    return save(spoilt, path)


@pytest.mark.parametrize(
    "words",
    ["split MODEL --dump VIDEO -o OUT", "bundle MODEL --target rdk-s100 --calibrate VIDEO -o OUT",
     "bundle MODEL --target vitis-dpu --calibrate VIDEO -o OUT", "quantize MODEL --calibrate VIDEO -o OUT",
     "predict MODEL VIDEO"],
)  # fmt: skip
def test_answers_that_are_no_numbers_are_said(words: str, made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is written."""
    places = {"MODEL": without_numbers(tmp_path), "VIDEO": made["phone"], "OUT": tmp_path / "out"}
    code, _, err = run(capsys, *(places.get(word, word) for word in words.split()))
    assert code == 2 and "output is not finite" in err and not (tmp_path / "out").exists()


def test_engines_that_agree_on_what_is_no_number_are_raced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "WORTH_MS", 0.0)
    with everyframe.open(without_numbers(tmp_path), threads=1) as program:
        assert "ms a step, " in program.engine_reason and "disagree" not in program.engine_reason


WRITING = (
    "predict STEP VIDEO --engine ort --csv OUT.csv", "predict STEP VIDEO --engine ort --save-timeline OUT.png",
    "stream CLIP -o OUT.onnx", "compile STEP -o OUT.so", "compile STEP --emit-c OUT",
    "check CLIP --target rdk-s100 --fix -o OUT.onnx", "quantize STEP --calibrate VIDEO --frames 20 -o OUT.onnx",
    "split STEP -o OUT", "split STEP --dump VIDEO --samples 3 -o OUT",
    "bundle STEP --target onnxruntime --calibrate VIDEO --samples 3 -o OUT", "evaluate STEP --data CLASSES --workers 1 -o OUT",
)  # fmt: skip


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk without room for a byte."""
    folder = tmp_path_factory.mktemp("full")
    if (
        not hasattr(os, "geteuid")
        or os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "x", folder]).returncode
    ):
        pytest.skip("needs a user who may mount a small disk")
    try:
        (folder / "fill").write_bytes(bytes(4096))
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def written(words: str, to: Path, made: dict[str, Path], model: Path, clip: Path) -> list[object]:
    places = {"STEP": model, "CLIP": clip, "VIDEO": made["phone"], "CLASSES": made["phone classes"]}
    return [places.get(word, word.replace("OUT", str(to))) for word in words.split()]


@pytest.mark.parametrize("words", WRITING)
def test_a_full_disk_is_said(
    words: str, full: Path, made, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing half-written is left."""
    given = written(words, full / "out", made, model, clip_net(tmp_path / "clip.onnx"))
    code, _, err = run(capsys, *given)
    assert code == 2 and "cannot be written" in err and "No space left" in err, err
    assert [path.name for path in full.iterdir()] == ["fill"]


def test_a_full_cache_is_named(
    full: Path, made, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(full / "cache"))
    code, _, err = run(capsys, "predict", model, made["phone"], "--engine", "native")
    shutil.rmtree(full / "cache", ignore_errors=True)
    assert code == 2 and "No space left" in err and "EVERYFRAME_CACHE" in err, err


def test_an_evaluation_that_fails_leaves_no_folder(model: Path, made, tmp_path: Path) -> None:
    with pytest.raises(EveryframeError):
        evaluate(model, made["phone classes"], tmp_path / "new" / "out", split="test")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("words", [words for words in WRITING if words.endswith(" OUT")])
def test_a_place_where_no_folder_can_be_made_is_said(
    words: str, made, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *written(words, Path("/proc/out"), made, model, clip_net(tmp_path / "clip.onnx")))
    assert code == 2 and "written" in err, err


def test_a_video_is_no_model_to_be_timed(made, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "benchmark", made["phone"])
    assert code == 2 and err.count("error:") == 1 and "a video or a picture" in err


def test_verbs_of_models_say_what_they_made(model: Path, made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """info, check and compile of the same model; what is compiled answers for a phone's video as the model does."""
    code, out, err = run(capsys, "info", model, "--json")
    assert code == 0 and json.loads(out), err
    code, out, err = run(capsys, "check", model, "--target", "native")
    assert code == 0 and "fits" in out, err
    code, _, err = run(capsys, "compile", model, "-o", tmp_path / "step.so")
    assert code == 0, err
    said = []
    for each in (model, tmp_path / "step.so"):
        code, out, err = run(capsys, "predict", each, made["phone"], "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        said.append([(row["frame"], row["pts_s"], row["top"][0]["label"]) for row in rows])
    assert said[0] == said[1]


def test_train(made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a folder as people keep it; what is trained answers for its clips, and is pruned on them."""
    pytest.importorskip("torch")
    clips = tmp_path / "clips"
    shutil.copytree(made["folder classes"], clips)
    for label in ("dark", "bright"):
        shutil.copy(made["doorbell"], clips / label / "AUFNAHME 1.TS")
    (tmp_path / "recipe.toml").write_text(moving.TEXT)
    words = ("--data", clips, "--set", "training.epochs=1", "--set", "preprocess.fps=10", "-o", tmp_path / "run")
    code, out, err = run(capsys, "train", tmp_path / "recipe.toml", *words)
    assert code == 0, err
    assert "broken.mp4" in out + err and "empty.mov" in out + err
    code, out, err = run(capsys, "predict", tmp_path / "run" / "step.onnx", made["phone"], "--json")
    labels = {top["label"] for line in out.splitlines() for top in json.loads(line)["top"]}
    assert (code, labels) == (0, {"bright", "dark"}), err
    code, _, err = run(capsys, "prune", tmp_path / "run", "-o", tmp_path / "pruned", "--rate", 1.2)
    assert (code, (tmp_path / "pruned" / "step.onnx").exists()) == (0, True), err


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own video, and nothing else."""
    code, out, err = run(capsys, "demo", "--output", tmp_path / "demo")
    assert code == 0 and "swipe_left" in out and (tmp_path / "demo" / "timeline.png").stat().st_size > 10_000, err


@pytest.mark.slow
def test_export(made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is exported takes every kind of video, as a clip and as a step model."""
    pytest.importorskip("torch")
    clip, step = tmp_path / "clip.onnx", tmp_path / "step.onnx"
    code, _, err = run(capsys, "export", "motionnet_0.25x", "-o", clip, "--size", 32, "--frames", 8)
    assert code == 0, err
    code, _, err = run(capsys, "stream", clip, "-o", step)
    assert code == 0, err
    for kind in KINDS:
        code, out, err = run(capsys, "predict", step, made[kind], "--json", "--engine", "ort")
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == (2 if kind == "folder" else 0) and rows, (kind, err)
        assert 1.5 < max(row["pts_s"] for row in rows) < 2.1, kind
    code, out, err = run(capsys, "evaluate", clip, "--data", made["phone classes"], "--workers", 1, "--json")
    assert code == 2 and "label" in err  # an untrained network has labels of its own
