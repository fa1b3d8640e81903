"""Sums of convolutions over frames become one convolution: the same floats, one rounding instead of one for each tap and sum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import handmade
from everyframe.modelfile.file import attach, save
from everyframe.modelfile.schema import Metadata, Preprocess, StateSpec
from everyframe.quantization.calibrate import calibrate
from everyframe.quantization.conventions import TARGETS
from everyframe.quantization.quantize import quantize
from everyframe.quantization.scales import scale_for
from everyframe.quantization.structure import structure
from everyframe.quantization.sums import as_one
from everyframe.quantization.write import counterpart, write
from quantizing import ExactWalk, Given, given_model, noise

CHANNELS, TAPS = 3, 3


def step(
    *,
    channels: int = CHANNELS,
    groups: int = CHANNELS,
    cut: str = "Relu",
    strides: int = 1,
    seen: str = "",
    other: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """A step network with a kernel over three frames, as conversion writes it. seen: a tensor that is an answer, too. other:
    attributes of its first tap.
    """  # fmt: skip
    f32, size, rng = TensorProto.FLOAT, (1, channels, 8, 9), np.random.default_rng(0)
    slots = [f"state.x.slot{i}" for i in range(TAPS - 1)]
    frames = [f"{slots[1]}.in", f"{slots[0]}.in", "frames"]
    weights = {f"w{i}": rng.normal(size=(channels, channels // groups, 3, 3)) / 3 for i in range(TAPS)}
    weights |= {"b": rng.normal(size=channels) / 4, "v": rng.normal(size=(channels, 4))}
    usual = {"pads": [1] * 4, "group": groups, "strides": [strides] * 2}
    nodes = []
    for i, x in enumerate(frames):
        given = [x, f"w{i}", *["b"] * (i == TAPS - 1)]
        nodes.append(helper.make_node("Conv", given, [f"tap{i}"], f"look::tap{i}", **(usual | (other or {} if i == 0 else {}))))
        if i:
            made = f"sum{i - 1}" if i > 1 else "tap0"
            nodes.append(helper.make_node("Add", [f"tap{i}", made], [f"sum{i}"], f"look::add{i}"))
    nodes.append(helper.make_node(cut, [f"sum{TAPS - 1}"], ["y"], "cut"))
    nodes += [
        helper.make_node("GlobalAveragePool", ["y"], ["mean"], "mean"), helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
        helper.make_node("MatMul", ["flat", "v"], ["logits"], "head"),
        helper.make_node("Identity", ["frames"], [f"{slots[0]}.out"], "keep"),
        helper.make_node("Identity", [f"{slots[0]}.in"], [f"{slots[1]}.out"], "shift"),
    ]  # fmt: skip
    shapes = {"frames": (f32, size)} | {f"{slot}.in": (f32, size) for slot in slots}
    answers = {"logits": (f32, (1, 4))} | {f"{slot}.out": (f32, size) for slot in slots} | {x: (f32, size) for x in [seen] if x}
    made = handmade.model(nodes, shapes, answers, [handmade.tensor(name, value) for name, value in weights.items()])  # type: ignore[assignment]
    states = (
        StateSpec(input=f"{slots[0]}.in", output=f"{slots[0]}.out", shape=size),
        StateSpec(input=f"{slots[1]}.in", output=f"{slots[1]}.out", shape=size, copy_of=f"{slots[0]}.in"),
    )
    return attach(made, Metadata(kind="step", frames=4, states=states, preprocess=Preprocess(resize=(8, 9))))  # type: ignore[arg-type]


def summed(model: onnx.ModelProto, keep_float: tuple[str, ...] = ()) -> tuple[Given, Given]:
    """The model as it is and with sums as one."""
    before, _ = given_model(model)
    parts = structure(before.model, before.metadata, "frames", keep_float)
    return before, Given(as_one(parts, "net"), before.metadata, before.interface, "net")


def convolutions(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type == "Conv"]


def quantized(model: Given) -> onnx.ModelProto:
    to = TARGETS["cpu"]
    parts = structure(model.model, model.metadata, "frames")
    ranges = calibrate(model, parts, noise(model)).ranges
    return write(parts, model.metadata, {group: scale_for(*limits, to) for group, limits in ranges.items()}, to, "logits")


@pytest.mark.parametrize("groups", [CHANNELS, 1])
@pytest.mark.parametrize(("cut", "strides"), [("Relu", 1), ("Tanh", 2)])
def test_the_float_network_stays_what_it_was(groups: int, cut: str, strides: int) -> None:
    before, after = summed(step(groups=groups, cut=cut, strides=strides))
    assert convolutions(after.model) == ["look::add2"] and not [n for n in after.model.graph.node if n.op_type == "Add"]
    walks = [ExactWalk(each.model, each.metadata) for each in (before, after)]
    for frames in noise(before, steps=6, videos=1)[0]:
        wanted, got = (walk.step(frames)["logits"] for walk in walks)
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


def test_one_rounding_is_nearer_to_the_float_network() -> None:
    before, after = summed(step(channels=24, groups=24))
    errors = []
    for model in (before, after):
        small = quantized(model)
        rounded = counterpart(small)["y"]
        walks = ExactWalk(model.model, model.metadata, ["y"]), ExactWalk(small, model.metadata, [rounded])
        found = [(walks[0].step(frames)["y"], walks[1].step(frames)[rounded]) for frames in noise(model, videos=1, seed=1)[0]]
        errors.append(sum(float(((got - wanted) ** 2).sum()) for wanted, got in found))
    assert errors[1] < 0.7 * errors[0]


def test_what_is_added_is_rounded_once_and_states_stay_bytes() -> None:
    made = quantized(summed(step())[1])
    rounded = {node.input[0] for node in made.graph.node if node.op_type == "QuantizeLinear"}
    assert not {name.split("::")[0] for name in rounded} & {"tap0", "tap1", "tap2", "sum1"} and "y::volume" in rounded
    numbers = {
        tensor.name: float(numpy_helper.to_array(tensor))
        for tensor in made.graph.initializer
        if "_scale" in tensor.name and not tensor.dims
    }
    scales = {
        numbers[node.input[1]] for node in made.graph.node if node.op_type == "QuantizeLinear" and ".x.slot" in node.input[0]
    }
    assert len(scales) == 1


@pytest.mark.parametrize(
    ("given", "keep_float", "left"),
    [
        ({"other": {"dilations": [2, 2], "pads": [2] * 4}}, (), ["look::tap0", "look::tap1", "look::tap2"]),
        ({"seen": "tap0"}, (), ["look::tap0", "look::tap1", "look::tap2"]),
        ({"seen": "sum1"}, (), ["look::add1", "look::tap2"]),
        ({}, ("look::tap2",), ["look::add1", "look::tap2"]),
        ({}, ("look::*",), ["look::tap0", "look::tap1", "look::tap2"]),
    ],
    ids=["another kernel", "a tap is read", "a sum is read", "a tap stays float", "all stay float"],
)
def test_what_is_no_sum_of_equals_stays(given: dict[str, Any], keep_float: tuple[str, ...], left: list[str]) -> None:
    assert convolutions(summed(step(**given), keep_float)[1].model) == left


@pytest.mark.parametrize(("target", "left"), [("cpu", ["look::add2"]), ("rdk-s100", ["look::tap0", "look::tap1", "look::tap2"])])
def test_quantize_leaves_boards_their_taps(target: str, left: list[str], tmp_path: Path) -> None:
    """Which may have no convolutions on three axes."""
    save(step(), tmp_path / "step.onnx")
    pictures = list(np.random.default_rng(0).integers(0, 256, (12, 16, 18, 3), np.uint8))
    handmade.write_video(tmp_path / "video.mp4", pictures, rate=10)
    found = quantize(tmp_path / "step.onnx", tmp_path / "video.mp4", target=target, frames=20, min_similarity=0, engines=())
    assert sorted(convolutions(found.model)) == left
    assert not found.put_back and found.comparison.answers.cosine > 0.99
