"""States of float16 on every engine: rounded once and exactly, in rings and slots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import handmade
from engines.test_engines import ENGINES, NETS, job, run, video
from everyframe.conversion.half import MOST, halved
from everyframe.modelfile.file import attach, metadata_of, save
from everyframe.modelfile.file import load as load_file
from everyframe.modelfile.schema import Metadata, Preprocess, StateSpec
from everyframe.runtime import engine as engines
from helpers import relative

SIZE = (4, 64)


def half_of(model: onnx.ModelProto) -> onnx.ModelProto:
    told = metadata_of(model)
    assert told is not None
    return halved(model, told)[0]


def before(channels: int = 3) -> onnx.ModelProto:
    """Answers with the frame before, of `channels` pictures of SIZE."""
    shape, count = (1, channels, *SIZE), channels * SIZE[0] * SIZE[1]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["frames"], ["up"]),
            helper.make_node("Neg", ["frames"], ["negative"]),
            helper.make_node("Relu", ["negative"], ["down"]),
            helper.make_node("Sub", ["up", "down"], ["x.out"]),  # computed, and exact
            helper.make_node("Reshape", ["x.in", "row"], ["logits"]),
        ],
        "before",
        [value("frames", TensorProto.FLOAT, shape), value("x.in", TensorProto.FLOAT, shape)],
        [value("logits", TensorProto.FLOAT, (1, count)), value("x.out", TensorProto.FLOAT, shape)],
        [handmade.tensor("row", [1, count], np.int64)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    states = (StateSpec(input="x.in", output="x.out", shape=shape),)
    return attach(model, Metadata(kind="step", frames=2, hop=1, preprocess=Preprocess(resize=SIZE), states=states))


def numbers(count: int) -> np.ndarray:
    """Halves, what lies between them, ties, the largest and smallest, what is no half any more."""
    rng = np.random.default_rng(0)
    halves = rng.integers(0, 0x7C00, count // 4).astype(np.uint16).view(np.float16).astype(np.float32)
    ties = (halves.astype(np.float64) + np.spacing(np.abs(halves.astype(np.float16))).astype(np.float64) / 2).astype(np.float32)
    wide = (rng.choice([-1, 1], count // 4) * 10.0 ** rng.uniform(-9, 6, count // 4)).astype(np.float32)
    odd = np.float32([0, -0.0, MOST, 65519, 65520, 65536, 1e30, -1e30, 2**-24, 2**-25, 2**-25 * 1.01, 6.1e-5, 6.0e-5, 1e-30])
    made = np.concatenate([halves, -ties, wide, odd])
    return np.concatenate([made, rng.standard_normal(count - len(made)).astype(np.float32)])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_is_rounded_once_as_float16_is(engine: str, tmp_path: Path) -> None:
    half = half_of(before())
    onnx.checker.check_model(half, full_check=True)
    save(half, tmp_path / "half.onnx")
    stream = engines.load(engine, job(tmp_path / "half.onnx")).start()
    frames = numbers(3 * SIZE[0] * SIZE[1]).reshape(1, 3, *SIZE)
    stream.step(frames)
    answer = stream.step(np.zeros_like(frames))
    expected = np.clip(frames.ravel(), -MOST, MOST).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(answer.ravel(), expected)


@pytest.mark.parametrize("name", ["long ring", "long slots", "fill", "counter", "hop 2"])
@pytest.mark.parametrize("engine", ENGINES)
def test_rings_and_slots(engine: str, name: str, tmp_path: Path) -> None:
    net = handmade.conv_step(tmp_path / "net.onnx", **NETS[name])
    half = half_of(load_file(tmp_path / "net.onnx"))
    told = metadata_of(half)
    assert told is not None and {spec.dtype for spec in told.states} <= {"float16", "int64"}
    save(half, tmp_path / "half.onnx")
    frames = video(net, 20)
    stream = engines.load(engine, job(tmp_path / "half.onnx")).start()
    found = run(stream, frames, net["hop"])
    assert 0 < relative(found, handmade.conv_oracle(net, frames, NETS[name].get("fill", 0.0))) < 2e-3
    stream.reset()
    np.testing.assert_array_equal(run(stream, frames, net["hop"]), found)
