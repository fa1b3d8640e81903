"""`stream --state fp16`: half the memory, how much it costs, and what it is refused for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import everyframe as ef
import handmade
from command_line import everyframe
from everyframe.errors import ConversionMismatch
from everyframe.modelfile.walk import Walk
from helpers import relative


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with strides, sums and a head over time."""
    path = tmp_path_factory.mktemp("half") / "clip.onnx"
    ef.export("motionnet_1.0x", path)
    return path


def test_a_network_of_the_zoo_over_a_long_stream(clip: Path) -> None:
    """Half the memory on engines that keep arrays and in generated code; the difference does not grow."""
    plain, half = (ef.convert(clip, state=kind) for kind in ("fp32", "fp16"))
    assert plain.state_difference is None
    assert half.state_difference is not None and 0 < half.state_difference < 2e-3
    floats = half.to_dict()["state_floats"]
    assert plain.to_dict()["state_bytes"] - 4 * floats == half.to_dict()["state_bytes"] - 2 * floats
    memory = [ef.info(made.model)["compiled"]["bytes"]["states"] for made in (plain, half)]
    assert memory[1] < 0.56 * memory[0]
    one, two = Walk(plain.model), Walk(half.model)
    rng, differences, most = np.random.default_rng(0), [], 0.0
    for _ in range(300):
        frames = rng.standard_normal((1, 1, 48, 64)).astype(np.float32)
        wanted, found = one.step(frames)["logits"], two.step(frames)["logits"]
        most = max(most, float(np.abs(wanted).max()))
        differences.append(float(np.abs(found - wanted).max()))
    assert max(differences[200:]) < 2 * max(differences[60:160]) + 1e-4 * most
    assert max(differences) < 5e-3 * most


def coarse(path: Path) -> Path:
    """Differences of frames that lie far from zero: what halves are too coarse for."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "far"], ["high"]),
            helper.make_node("Conv", ["high", "difference"], ["moved"], group=3),
            helper.make_node("Abs", ["moved"], ["much"]),
            helper.make_node("ReduceMean", ["much", "all"], ["logits"], keepdims=0),
        ],
        "differences",
        [value("x", TensorProto.FLOAT, (1, 3, 8, 8, 8))],
        [value("logits", TensorProto.FLOAT, (1, 3))],
        [
            handmade.tensor("far", [3000.0]), handmade.tensor("all", [2, 3, 4], np.int64),
            handmade.tensor("difference", np.tile(np.float32([-1, 1]).reshape(1, 1, 2, 1, 1), (3, 1, 1, 1, 1))),
        ],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_what_halves_are_too_coarse_for_is_not_written(tmp_path: Path) -> None:
    clip = coarse(tmp_path / "clip.onnx")
    ef.convert(clip)
    with pytest.raises(ConversionMismatch, match="too coarse"):
        ef.convert(clip, tmp_path / "step.onnx", state="fp16")
    assert not (tmp_path / "step.onnx").exists()


def test_the_command(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "half.onnx"
    told = everyframe("stream", str(clip), "-o", str(out), "--state", "fp16")
    assert told.returncode == 0 and "states are float16" in told.stdout
    found = json.loads(everyframe("info", str(out), "--json").stdout)
    assert {state["dtype"] for state in found["states"]} <= {"float16", "int64"}
    refused = everyframe("stream", str(clip), "-o", str(tmp_path / "no.onnx"), "--state", "fp8")
    assert refused.returncode == 2 and "fp32 or fp16" in refused.stderr
    refused = everyframe("quantize", str(out), "--calibrate", str(Path(ef.__file__).parent / "assets" / "sample.mp4"))
    assert refused.returncode == 2 and "without --state fp16" in refused.stderr
    ef.split(out, tmp_path / "parts", stages=2)
    whole, parts = (ef.open(model, engine="ort").stream() for model in (out, tmp_path / "parts"))
    for step in np.random.default_rng(0).standard_normal((40, 1, 1, 48, 64)).astype(np.float32):
        one, two = whole.step(step), parts.step(step)
    assert one is not None and two is not None and relative(two.logits, one.logits) < 1e-3
