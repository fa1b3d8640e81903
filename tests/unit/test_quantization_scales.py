"""Static INT8, its parts: scales, what states hold, one convolution against a direct computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import handmade
from everyframe.errors import ModelError
from everyframe.modelfile.file import attach, load
from everyframe.modelfile.schema import Metadata, Preprocess
from everyframe.quantization.calibrate import calibrate
from everyframe.quantization.compare import compare
from everyframe.quantization.conventions import TARGETS, convention
from everyframe.quantization.mixed import fewest
from everyframe.quantization.scales import power_of_two, scale_for, weight_scales
from everyframe.quantization.write import counterpart, write
from laws.layers import Poison
from laws.nets import Net, nets
from laws.streaming import NotComparable, convert_net
from quantizing import ExactWalk, given_model, noise

# -- scales ------------------------------------------------------------------------------------------------------------


@given(st.floats(-1e6, 0, width=32), st.floats(0, 1e6, width=32), st.sampled_from(list(TARGETS)), st.data())
def test_a_scale_holds_zero_and_reaches_its_range(low: float, high: float, target: str, data: st.DataObject) -> None:
    assume(high - low > 1e-6)
    to = convention(target, data.draw(st.sampled_from(TARGETS[target].allowed)))
    scale = scale_for(low, high, to)
    x = np.linspace(low, high, 1001, dtype=np.float32)
    error = np.abs(scale.rounded(x) - x)
    assert error.max() <= 0.5 * scale.scale * (1 + 1e-3) + 1e-6 * max(-low, high)
    assert scale.rounded(np.zeros(1, np.float32))[0] == 0
    assert scale.zero == 0 or not to.symmetric
    assert not to.power_of_two or np.log2(scale.scale) == np.rint(np.log2(scale.scale))
    far = np.array([-1e30, 1e30], np.float32)
    np.testing.assert_allclose(scale.rounded(far), scale.limits, rtol=1e-6)  # saturated, never wrapped


@given(st.floats(1e-30, 1e30))
def test_powers_of_two_are_the_next_ones(scale: float) -> None:
    found = power_of_two(scale)
    assert np.log2(found) == np.rint(np.log2(found)) and scale <= found < 2 * scale * (1 + 1e-12)


def test_a_large_bias_widens_the_weights_scale() -> None:
    """It is kept in int32 under input scale times weight scale, and has to fit."""
    weight, bias = np.full((2, 3), 1e-6, np.float32), np.array([0.1, 1e5], np.float32)
    found = weight_scales(weight, 0, bias, input_scale=1e-4)
    assert np.all(np.abs(bias) / 1e-4 / found <= 2**31 - 1) and np.all(127 * found >= 1e-6)


# -- states ------------------------------------------------------------------------------------------------------------


def scales_of(model: onnx.ModelProto) -> tuple[dict[str, Any], dict[str, Any]]:
    """(tensor -> numbers of the QuantizeLinear that reads it, tensor -> numbers of the DequantizeLinear behind it)."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    ours = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    numbers = {n.name: tuple(constants[x].item() for x in n.input[1:]) for n in ours if constants[n.input[1]].size == 1}
    made = {x: node for node in model.graph.node for x in node.output}
    read = {n.input[0]: numbers[n.name] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    written = {}
    for value in model.graph.output:
        node = made.get(value.name)
        while node is not None and node.op_type == "Identity":
            node = made.get(node.input[0])
        if node is not None and node.op_type == "DequantizeLinear":
            written[value.name] = numbers[node.name]
    return read, written


def one_scale_on_both_sides(model: onnx.ModelProto, metadata: Metadata) -> int:
    """How many states are held in integers. A state that repeats another holds what that one held."""
    read, written = scales_of(model)
    held = 0
    for spec in metadata.states:
        assert spec.dtype == "float32" or (spec.input not in read and spec.output not in written)
        if spec.copy_of is not None:
            copies = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Identity"}
            assert copies[spec.output] == spec.copy_of
            if spec.copy_of in read and spec.input in read:
                assert read[spec.copy_of] == read[spec.input]
        elif spec.input in read and spec.output in written:
            assert read[spec.input] == written[spec.output], spec.input
            held += 1
    return held


def test_random_networks_stay_near_and_both_sides_of_their_states_share_a_scale() -> None:
    counts = {"nets": 0, "held": 0}

    @settings(max_examples=40)
    @given(nets(), st.sampled_from(["cpu", "vitis-dpu", "rdk-s100"]))
    def run(net: Net, target: str) -> None:
        if any(isinstance(layer, Poison) for layer in net.layers):
            return  # divides by values that are rounded to 0
        try:
            made = convert_net(net)
            model, parts = given_model(attach(made.step, made.metadata))
        except (NotComparable, ModelError):
            return
        to = convention(target)
        found = calibrate(model, parts, noise(model))
        scales = {group: scale_for(*limits, to) for group, limits in found.ranges.items()}
        small = write(parts, model.metadata, scales, to, model.interface.logits)
        onnx.checker.check_model(small)
        counts["nets"] += 1
        counts["held"] += one_scale_on_both_sides(small, model.metadata)
        near = compare(model, small, noise(model), frames=20 * model.metadata.hop).answers.cosine
        assert near > (0.95 if to.power_of_two else 0.99)

    run()
    assert counts["nets"] > 20 and counts["held"] > counts["nets"] / 2


@pytest.mark.parametrize("form", ["ring", "slots"])
def test_what_a_state_holds_is_rounded_once(form: str, tmp_path: Path) -> None:
    """Whatever goes round in a state stays bit by bit what it was when it was written."""
    handmade.conv_step(tmp_path / "net.onnx", form=form, taps=6, preprocess=Preprocess(color="gray"), counter=True)
    loaded = load(tmp_path / "net.onnx")
    model, parts = given_model(loaded)
    found = calibrate(model, parts, noise(model))
    scales = {group: scale_for(*limits, convention("cpu")) for group, limits in found.ranges.items()}
    small = write(parts, model.metadata, scales, convention("cpu"), "logits")
    assert one_scale_on_both_sides(small, model.metadata) >= 1
    states = [spec for spec in model.metadata.states if spec.dtype == "float32"]
    walk = model.walk([counterpart(small)["frames"], *(s.output for s in states)], model=small)
    seen: list[np.ndarray] = []
    for frames in noise(model, steps=20, videos=1)[0]:
        out = walk.step(frames)
        seen.append(out[walk.watched[0]][0])  # (C, H, W), as rounded when it came
        newest = [out[s.output][k] for s in states for k in range(len(out[s.output]))]
        newest = newest if form == "slots" else newest[::-1]
        for past, wanted in zip(newest, seen[::-1], strict=False):
            assert np.array_equal(past, wanted)


# -- one network -------------------------------------------------------------------------------------------------------


def test_int8_is_within_the_scales_of_float(tmp_path: Path) -> None:
    """One convolution: |error| <= half a step of the output + what half a step of each input and weight can do."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(5, 3, 3, 3)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    net = handmade.model(
        [helper.make_node("Conv", ["frames", "w", "b"], ["y"], "conv", pads=[1] * 4),
         helper.make_node("Neg", ["y"], ["z"], "neg"),
         helper.make_node("ReduceSum", ["z", "axes"], ["logits"], "sum", keepdims=0)],
        {"frames": (TensorProto.FLOAT, (1, 3, 8, 9))}, {"logits": (TensorProto.FLOAT, (1, 5))},
        [handmade.tensor("w", weight), handmade.tensor("b", bias), handmade.tensor("axes", [2, 3], np.int64)],
    )  # fmt: skip
    model, parts = given_model(attach(net, Metadata(kind="step", frames=1)))
    for target in TARGETS:
        to = convention(target)
        found = calibrate(model, parts, noise(model, steps=30))
        scales = {group: scale_for(*limits, to) for group, limits in found.ranges.items()}
        small = write(parts, model.metadata, scales, to, "logits")
        y = counterpart(small)["y"]
        exact, runtime = ExactWalk(small, model.metadata, [y]), model.walk([y], model=small)
        plain = model.walk(["y"])
        x_scale, y_scale = scales[parts.share["frames"]].scale, scales[parts.share["y"]].scale
        w_scale = np.broadcast_to(weight_scales_of(small), 5)
        for frames in noise(model, steps=30)[0]:
            ones = np.abs(weight).reshape(5, -1).sum(1)
            reach = 27 * np.abs(frames).max()
            bound = y_scale / 2 + ones * x_scale / 2 + reach * w_scale / 2 + 27 * x_scale * w_scale / 4
            wanted = exact.step(frames)[y]
            error = np.abs(wanted - plain.step(frames)["y"])
            assert np.all(error.max(axis=(0, 2, 3)) <= bound * 1.01), target
            assert np.abs(runtime.step(frames)[y] - wanted).max() <= 1.01 * y_scale, "a value between two steps may be either"


def weight_scales_of(model: onnx.ModelProto) -> np.ndarray:
    """Of the one weight."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    (found,) = [
        constants[n.input[1]] for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] in constants and constants[n.input[0]].dtype == np.int8
    ]  # fmt: skip
    return found


@given(st.integers(1, 60), st.integers(1, 60))
def test_as_few_as_needed(of: int, needed: int) -> None:
    assume(needed <= of)
    tried: list[int] = []

    def holds(count: int) -> bool:
        tried.append(count)
        return count >= needed

    assert fewest(of, holds) == needed
    assert len(tried) <= 2 * np.log2(of) + 2
