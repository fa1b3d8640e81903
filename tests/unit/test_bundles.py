"""Bundles: what they hold is what prediction sees and says, and the program for the board runs, on a stand-in."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import everyframe
import handmade
from clips import clip_net
from command_line import problem
from everyframe import modelfile
from everyframe.bundles import TARGETS, bundle
from everyframe.bundles.targets import Target
from everyframe.cli import main
from everyframe.devices.check import check
from everyframe.devices.profile import load_profile
from everyframe.errors import OutputError, UsageError
from everyframe.modelfile.schema import EventRule, Preprocess
from everyframe.modelfile.session import session
from everyframe.modelfile.states import next_states
from everyframe.runtime.events import EventDetector

STANDINS = Path(__file__).resolve().parents[1] / "standins"
BUILTIN = Path(everyframe.__file__).parent / "assets" / "motions.onnx"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "v.mp4"
    return handmade.write_video(path, 60, draw=lambda i: handmade.picture(40 + 3 * i))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return clip_net(tmp_path / "clip.onnx", preprocess=Preprocess(resize=(12, 16), mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2)))


def run_main(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("STANDIN")}
    return subprocess.run(
        [sys.executable, "main.py", *args], cwd=folder, env=kept | {"PYTHONPATH": str(STANDINS)} | env, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def settings(folder: Path) -> dict[str, list[str]]:
    """The lists of compile.yaml."""
    text = (folder / "compile.yaml").read_text()
    return {key: value.split(";") for key, value in re.findall(r"^  (\w+): '([^']*)'", text, re.MULTILINE)}


def samples(folder: Path, model: onnx.ModelProto) -> list[dict[str, np.ndarray]]:
    """The calibration, a dictionary for each sample."""
    places = [folder / place for place in settings(folder)["cal_data_dir"]]
    names = settings(folder)["input_name"]
    files = [sorted(place.iterdir()) for place in places]
    assert len({tuple(file.name for file in row) for row in files}) == 1
    return [{n: np.load(f) for n, f in zip(names, row, strict=True)} for row in zip(*files, strict=True)]


@pytest.mark.parametrize("make", ["clip", "step"])
def test_calibration_is_what_prediction_sees(make: str, tmp_path: Path, video: Path, clip: Path) -> None:
    """The frozen order: sample k of a step model, run through the file, gives the states of a later sample."""
    path = clip if make == "clip" else handmade.brightness_step(tmp_path / "step.onnx")
    made = bundle(path, tmp_path / "s100", "rdk-s100", video, most=10_000)
    model = modelfile.load(tmp_path / "s100" / "model.onnx")
    metadata = modelfile.metadata_of(model)
    assert metadata is not None
    assert check(model, load_profile("rdk-s100")).fits and not made.findings
    found = samples(tmp_path / "s100", model)
    assert len(found) == made.samples
    runner = session(model)
    names = [o.name for o in runner.get_outputs()]
    logits = []
    for now, later in zip(found, [*found[1:], None], strict=True):
        answers = dict(zip(names, runner.run(names, now), strict=True))
        logits.append(answers["logits"].ravel())
        states = {spec.input: now[spec.input] for spec in metadata.states}
        for name, state in next_states(metadata.states, states, answers).items() if later else ():
            np.testing.assert_array_equal(later[name], state)
    with everyframe.open(path, engine="ort") as program:
        options: dict[str, Any] = {"stride": metadata.frames} if make == "clip" else {}
        said = [p.scores for p in program.predict(video, **options)][: len(logits)]
    wanted = [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in logits]
    late = metadata.feature_delay // metadata.hop if make == "step" else 0
    np.testing.assert_allclose(said[: len(wanted) - late], wanted[late:][: len(said)], atol=1e-4)


def test_samples_are_spread_over_all_videos(tmp_path: Path, video: Path) -> None:
    bundle(handmade.brightness_step(tmp_path / "step.onnx"), tmp_path / "b", "rdk-s100", [video, video], most=4)
    (first, *_) = settings(tmp_path / "b")["cal_data_dir"]
    numbers = [int(file.stem) for file in sorted((tmp_path / "b" / first).iterdir())]
    assert len(numbers) == 4
    assert numbers[0] == 0
    assert np.ptp(np.diff(numbers)) <= 1


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory, video: Path) -> dict[str, Path]:
    """The built-in model for each board."""
    made = {target: tmp_path_factory.mktemp("boards") / target for target in ("rdk-s100", "rdk-x5")}
    for target, folder in made.items():
        bundle(BUILTIN, folder, target, video, most=2)
    return made


@pytest.mark.parametrize("target", ["rdk-s100", "rdk-x5"])
def test_settings_name_every_input(target: str, boards: dict[str, Path]) -> None:
    folder = boards[target]
    model = onnx.load(str(folder / "model.onnx"))
    found = settings(folder)
    inputs = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    assert found["input_name"] == list(inputs)
    assert [[int(n) for n in shape.split("x")] for shape in found["input_shape"]] == list(inputs.values())
    for key in ("input_type_rt", "input_layout_rt", "input_type_train", "input_layout_train", "norm_type", "cal_data_type"):
        assert len(found[key]) == len(inputs)
    assert found["march"] == [{"rdk-s100": "nash-e", "rdk-x5": "bayes-e"}[target]]
    for place, shape, kind in zip(found["cal_data_dir"], inputs.values(), found["cal_data_type"], strict=True):
        (one, *_) = sorted((folder / place).iterdir())
        array = np.load(one) if target == "rdk-s100" else np.fromfile(one, kind).reshape(shape)
        assert (list(array.shape), array.dtype.name) == (shape, kind)


@pytest.mark.parametrize("env", [{}, {"STANDIN_RENAMED": "1"}, {"STANDIN_SCALE": "1e-6"}], ids=["plain", "renamed", "integers"])
@pytest.mark.parametrize("target", ["rdk-s100", "rdk-x5"])
def test_the_board_says_what_the_float_network_says(target: str, env: dict, boards: dict[str, Path]) -> None:
    """The X5's model hands no states on: the program on the board moves them."""
    folder = boards[target]
    compiled = folder / json.loads((folder / "model.json").read_text())["file"]
    compiled.unlink(missing_ok=True)
    done = run_main(folder, **env)
    assert done.returncode == 2
    assert "compile the model first" in done.stderr
    compiled.touch()
    done = run_main(folder, **env)
    wanted = re.search(r"```text\n(.*?)\n```", (folder / "README.md").read_text(), re.DOTALL)
    assert wanted
    assert done.stdout.splitlines() == wanted[1].splitlines(), done.stderr


def test_the_board_sees_a_video_as_predict_does(tmp_path: Path, video: Path) -> None:
    """At the model's own frame rate; every prediction, each label in the same order."""
    folder = tmp_path / "b"
    model = handmade.brightness_step(tmp_path / "step.onnx")
    bundle(model, folder, "onnxruntime", video)
    done = run_main(folder, str(video), "--every", "--top", "1")
    said = [line.split()[1] for line in done.stdout.splitlines() if not line.startswith("frame")]
    with everyframe.open(model) as program:
        wanted = [p.top[0].label for p in program.predict(video)]
    assert said == wanted, done.stderr


@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_runtimes_that_are_here(target: str, tmp_path: Path, video: Path, clip: Path) -> None:
    pytest.importorskip(target)
    for path in (clip, handmade.brightness_step(tmp_path / "step.onnx")):
        made = bundle(path, tmp_path / path.stem, target, video)
        assert made.similarity == pytest.approx(1, abs=1e-3), made.notes
        assert not made.command


def test_a_converter_that_is_missing_or_wrong(tmp_path: Path, video: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    made = bundle(clip, tmp_path / "b", "ncnn", video)
    assert made.notes == ("pnnx is not installed here: run the command in the folder",)
    assert made.command == "pnnx clip.onnx inputshape='[1,3,8,12,16]f32'"
    assert not onnx.load(str(tmp_path / "b" / "clip.onnx")).metadata_props
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "bin" / "pnnx"
    broken.write_text("#!/bin/sh\necho 'cannot read this' >&2\nexit 3\n")
    broken.chmod(0o755)
    made = bundle(clip, tmp_path / "b", "ncnn", video)
    assert made.notes == ("pnnx could not convert the model: cannot read this",)


def test_stages_with_scripts(tmp_path: Path, video: Path) -> None:
    """The folder is a split model as well; each script reads what is there."""
    made = bundle(handmade.brightness_step(tmp_path / "step.onnx"), tmp_path / "dpu", "vitis-dpu", video, most=3)
    with everyframe.open(tmp_path / "dpu") as program, everyframe.open(tmp_path / "step.onnx") as whole:
        pairs = zip(program.predict(video), whole.predict(video), strict=True)
        assert all(one.top[0].label == other.top[0].label for one, other in pairs)
    stages = json.loads((tmp_path / "dpu" / "model.json").read_text())["stages"]
    code = "import calib_input; print({n: a.shape for n, a in calib_input.input_fn(0).items()})"
    for stage in stages:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path / "dpu", env=os.environ | {"CALIB_STAGE": stage}, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        model = onnx.load(str(tmp_path / "dpu" / f"{stage}.onnx"))
        assert all(value.name in done.stdout for value in model.graph.input)
    assert made.samples == 3


def test_all_or_nothing(tmp_path: Path, video: Path, clip: Path) -> None:
    folder = tmp_path / "b"
    bundle(clip, folder, "rdk-s100", video, most=1)
    bundle(clip, folder, "onnxruntime", video)  # in its place
    assert not (folder / "compile.yaml").exists()
    before = sorted(folder.iterdir())
    with pytest.raises(everyframe.EveryframeError):
        bundle(clip, folder, "rdk-s100", tmp_path / "missing.mp4")
    assert sorted(folder.iterdir()) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match="not empty"):
        bundle(clip, tmp_path / "mine", "rdk-s100", video)
    with pytest.raises(UsageError, match="There is no bundle") as refused:
        bundle(clip, folder, "tensorrt", video)
    assert "`everyframe check` and `quantize`" in str(refused.value)


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_r3d_18")
def test_export_for_a_device(tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["export", "r3d_18", "--frames", "4", "--size", "32", "--num-classes", "3", "--target", "rdk-s100"]
    with pytest.raises(SystemExit) as ended:
        main.run([*common, "-o", str(tmp_path / "b")])
    assert ended.value.code == 2
    assert "give both" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main.run([*common, "-o", str(tmp_path / "b"), "--calibrate", str(video), "--json"])
    assert ended.value.code in (0, None)
    made = json.loads(capsys.readouterr().out)
    assert (made["target"], made["rewrites"], made["findings"]) == ("rdk-s100", [], [])
    assert settings(tmp_path / "b")["input_shape"] == ["1x3x4x32x32"]
    assert np.load(tmp_path / "b" / "video0.npy").shape == (1, 3, 4, 32, 32)


@pytest.mark.parametrize("target", TARGETS)
def test_kits_name_what_exists(target: str) -> None:
    row: Target = TARGETS[target]
    templates = Path(everyframe.__file__).parent / "bundles" / "templates"
    if row.page:
        assert (templates / row.readme / "README.md").exists()
        return
    assert load_profile(target)
    assert (templates / f"README_{row.readme}.md").exists()
    assert row.stages or (templates / f"device_{row.device}.py").exists()


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory, boards: dict[str, Path], video: Path) -> dict[str, Path]:
    """The built-in model for targets of every kind of README."""
    made = {target: tmp_path_factory.mktemp("kits") / target for target in ("onnxruntime", "vitis-dpu")}
    for target, folder in made.items():
        bundle(BUILTIN, folder, target, video, most=2)
    return {**boards, **made}


def commands(folder: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("target", ["rdk-s100", "rdk-x5", "onnxruntime", "vitis-dpu"])
def test_commands_of_a_readme_can_be_pasted(target: str, kits: dict[str, Path]) -> None:
    """Every line is whole: nothing to fill in, each of our own has all that it needs, and files are there or made before."""
    folder = kits[target]
    found = commands(folder)
    assert found
    made = {"estimate.onnx", "video.mp4", ".", "deploy_model.pb", "arch.json", "stage_01.pb"}
    for line in found:
        assert not re.search(r"…|<|\b[A-Z]{3,}\b(?!=)|/path/", line.replace("CALIB_STAGE", "").replace("DPUCZDX8G", "")), line
        for word in re.findall(r"(?<![-/\w])[\w./]+\.(?:py|sh|onnx|yaml|txt)\b", line):
            assert (folder / word).exists() or word in made, f"{line}: {word}"
        if line.startswith("everyframe "):
            assert problem(line) is None, line


def test_the_estimate_of_a_readme_runs(
    kits: dict[str, Path], tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = [line for line in commands(kits["rdk-s100"]) if line.startswith("everyframe quantize")]
    shutil.copy(kits["rdk-s100"] / "model.onnx", tmp_path)
    shutil.copy(video, tmp_path / "video.mp4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main.run(line.split()[1:])
    assert not ended.value.code
    assert (tmp_path / "estimate.onnx").exists()


def moving(path: Path) -> Path:
    """The built-in sample's first 12 s, with B-frames in a container that has no presentation times (AVI), or mirrored by a
    display matrix, or cut into two transport streams whose clocks do not fit.
    """
    with av.open(str(BUILTIN.with_name("sample.mp4"))) as video:
        frames = [frame.reformat(format="yuv420p") for frame in itertools.islice(video.decode(video=0), 300)]
    parts = [frames[:150], frames[150:]] if path.suffix == ".ts" else [frames]
    data = b""
    for number, part in enumerate(parts):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"bf": "3", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = part[0].width, part[0].height, "yuv420p"
            for i, frame in enumerate(part):
                frame.pts, frame.time_base = i + 25_000 * number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        data += path.read_bytes()
    if path.suffix == ".mp4":
        start = data.index(b"tkhd") + 44
        row = b"".join(value.to_bytes(4, "big", signed=True) for value in (-0x10000, 0, 0, 0, 0x10000))
        data = data[:start] + row + data[start + 20 :]
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["sample.mp4", "b_frames.avi", "mirrored.mp4", "two_clocks.ts"])
def test_the_board_says_the_events_of_predict(name: str, kits: dict[str, Path], tmp_path: Path) -> None:
    video = BUILTIN.with_name(name) if name == "sample.mp4" else moving(tmp_path / name)
    done = run_main(kits["onnxruntime"], str(video))
    with everyframe.open("builtin", engine="ort") as program:
        wanted = [(p.event.label, f"{p.event.pts_s:.2f}") for p in program.predict(video) if p.event]
    said = re.findall(r"^ *([\d.]+) s  \*\* (\w+) \*\*$", done.stdout, re.MULTILINE)
    assert wanted
    assert [(label, seconds) for seconds, label in said] == wanted, done.stderr


def test_a_video_that_is_cut_short_is_said_on_the_board(kits: dict[str, Path], tmp_path: Path) -> None:
    path = handmade.cut(handmade.write_video(tmp_path / "cut.mkv", 90, codec="libx264"), 0.6)
    done = run_main(kits["onnxruntime"], str(path))
    assert done.returncode == 2 and "none" in done.stdout and "damaged or cut short" in done.stderr


def test_the_code_that_goes_along_needs_nothing_else(kits: dict[str, Path]) -> None:
    """And runs on the Python of the boards, 3.10."""
    for path in (kits["rdk-s100"] / "video").glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 10))
        typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"]
        unseen = {id(node) for block in typing for node in ast.walk(block)}
        names = {getattr(n, "module", None) or n.names[0].name for n in ast.walk(tree)
                 if isinstance(n, ast.Import | ast.ImportFrom) and id(n) not in unseen}  # fmt: skip
        others = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
        assert others <= {"av", "numpy", "video"}, path


@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 8), st.sampled_from([0.03, 0.1, 0.4])), max_size=60),
    st.floats(0.3, 0.9), st.integers(1, 4), st.floats(0, 1.5), st.floats(0, 1),
)  # fmt: skip
def test_the_rule_on_the_board_is_the_rule(
    steps: list[tuple[int, float, float]], threshold: float, hold: int, rest: float, rearm: float
) -> None:
    rule = EventRule(background="none", threshold=threshold, hold_steps=hold, refractory_s=rest, rearm=rearm)
    labels = ("none", "a", "b")
    ours = EventDetector(rule, labels)
    templates = Path(everyframe.__file__).parent / "bundles" / "templates"
    board = runpy.run_path(str(templates / "events.py"))["Events"](rule.model_dump(), labels)
    now = 0.0
    for leader, logit, later in steps:
        now += later
        scores = np.exp(logit * np.eye(3)[leader])
        scores /= scores.sum()
        event = ours.update(scores, now)
        assert board(scores, now) == (event and event.index)
