"""The whole road in seconds, on a network written by hand: clip model, step model, predictions of a video. No torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import everyframe
import handmade
from command_line import environment
from everyframe.modelfile.file import attach, load, metadata_of, save
from everyframe.modelfile.schema import Metadata, Preprocess

T, SIZE, FPS = 8, 16, 10  # frames of a clip, height and width, sampled frames a second
LABELS = ("still", "wave", "clap")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clip.onnx and video.mp4."""
    folder = tmp_path_factory.mktemp("road")
    save(clip_network(), folder / "clip.onnx")
    rng = np.random.default_rng(1)
    frames = [np.full((48, 64, 3), 40 + 4 * t, np.uint8) for t in range(45)]
    for t, frame in enumerate(frames):
        frame[8 + t % 24 : 24 + t % 24, t : t + 16] = rng.integers(0, 255, 3)
    handmade.write_video(folder / "video.mp4", frames, rate=30)
    return folder


def clip_network() -> onnx.ModelProto:
    """(1, 3, T, H, W) -> 3x3x3 convolution, causal in time, stride 2 in space; ReLU; 3x1x1 convolution of each channel;
    mean over time and space; 3 classes. With causal padding a clip sees exactly what a stream has seen by its last frame.
    """
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(6, 3, 3, 3, 3)) / 9, "b1": rng.normal(size=6), "w2": rng.normal(size=(6, 1, 3, 1, 1)),
        "w3": rng.normal(size=(6, 3)), "b3": rng.normal(size=3),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["clip", "w1", "b1"], ["c1"], pads=[2, 1, 1, 0, 1, 1], strides=[1, 2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[2, 0, 0, 0, 0, 0], group=6),
        helper.make_node("GlobalAveragePool", ["c2"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["logits"]),
    ]
    f32 = TensorProto.FLOAT
    made = handmade.model(
        nodes,
        {"clip": (f32, (1, 3, T, SIZE, SIZE))},
        {"logits": (f32, (1, len(LABELS)))},
        [handmade.tensor(name, value) for name, value in weights.items()],
    )
    return attach(made, Metadata(kind="clip", frames=T, labels=LABELS, preprocess=Preprocess(resize=(SIZE, SIZE), fps=FPS)))


def test_clip_to_step_to_predictions(folder: Path, tmp_path: Path) -> None:
    step = tmp_path / "step.onnx"
    everyframe.convert(folder / "clip.onnx", step)

    metadata = metadata_of(load(step))
    assert metadata is not None
    assert (metadata.kind, metadata.hop, metadata.labels, metadata.window) == ("step", 1, LABELS, T)
    assert all(len(state.shape) <= 4 for state in metadata.states)

    with everyframe.open(step) as program:
        predictions = list(program.predict(folder / "video.mp4"))
    assert [p.frame for p in predictions] == list(range(len(predictions)))  # causal: from the first frame on
    assert len(predictions) == 15  # 1.5 s at 10 frames a second
    assert predictions[-1].pts_s == pytest.approx(1.4, abs=0.02)
    assert {top.label for top in predictions[0].top} == set(LABELS)
    np.testing.assert_allclose([p.scores.sum() for p in predictions], 1, rtol=1e-5)


def test_a_stream_says_what_the_clip_network_says(folder: Path, tmp_path: Path) -> None:
    """By the last frame of a first clip both have seen the same frames; onnxruntime alone runs the clip network."""
    everyframe.convert(folder / "clip.onnx", tmp_path / "step.onnx")
    video = np.random.default_rng(2).normal(size=(3 * T, 3, SIZE, SIZE)).astype(np.float32)
    clip = onnxruntime.InferenceSession(str(folder / "clip.onnx"), providers=["CPUExecutionProvider"])
    (expected,) = clip.run(None, {"clip": video[:T].transpose(1, 0, 2, 3)[None]})

    with everyframe.open(tmp_path / "step.onnx") as program:
        for stream in (program.stream(), program.stream()):  # the weights are shared, the state is not
            logits = [p.logits for frame in video[:T] if (p := stream.step(frame[None])) is not None]
            np.testing.assert_allclose(logits[-1], expected[0], rtol=1e-4, atol=1e-5)


COMMANDS = (
    ("--version",),
    ("info", "clip.onnx"),
    ("stream", "clip.onnx", "-o", "out.onnx"),
    ("info", "out.onnx", "--json"),
    ("predict", "out.onnx", "video.mp4", "--json", "--top-k", "1"),
    ("predict", "clip.onnx", "video.mp4", "--json"),
)


def test_the_command_line_without_torch_and_asserts(folder: Path) -> None:
    """The same road by its verbs, under `python -O`, in a process that cannot import torch."""
    code = f"""
import sys
sys.modules["torch"] = None
from everyframe.cli.main import run
for arguments in {COMMANDS!r}:
    print("$", *arguments, flush=True)
    try:
        run(list(arguments))
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{{arguments}} ended with {{ended.code}}")
"""
    command = [sys.executable, "-O", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version, _, _, info, predicted, by_clip = (part.partition("\n")[2] for part in done.stdout.split("$ ")[1:])
    assert version == f"everyframe {everyframe.__version__}\n"
    assert json.loads(info)
    lines = [json.loads(line) for line in predicted.splitlines()]
    assert [line["frame"] for line in lines] == list(range(15))
    assert all(set(line) >= {"frame", "pts_s", "top"} and len(line["top"]) == 1 for line in lines)
    assert json.loads(by_clip.splitlines()[0])["frame"] == T - 1
