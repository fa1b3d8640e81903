"""What no runtime takes fits no device, and what is written for an older opset is valid there and says the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import handmade
from everyframe import modelfile
from everyframe.devices import load_profile, plan, targets
from everyframe.devices.check import handed_on
from everyframe.devices.repair import mend
from everyframe.devices.rewrites import opset
from everyframe.devices.sound import faults
from everyframe.errors import ModelError
from everyframe.modelfile.session import run

F32 = TensorProto.FLOAT


def clip_model(weight: Any = None, shape: tuple[int, ...] = (1, 3, 8, 16, 16), **attrs: Any) -> onnx.ModelProto:
    kernel = np.ones((4, 3, 3, 3, 3), np.float32) if weight is None else weight
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", **{"pads": [1] * 6, **attrs}),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("ReduceMean", ["b"], ["y"], name="mean", axes=[2, 3, 4], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes, "clip", [helper.make_tensor_value_info("x", F32, shape)], [helper.make_tensor_value_info("y", F32, (1, 4))],
        [numpy_helper.from_array(kernel, "w")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def circular() -> onnx.ModelProto:
    model = clip_model()
    model.graph.node[0].input[0] = "b"
    return model


IMPOSSIBLE: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "NaN weights": (lambda: clip_model(np.full((4, 3, 3, 3, 3), np.nan, np.float32)), "324 of 324 weights"),
    "stride 0": (lambda: clip_model(strides=[0, 1, 1]), "strides 0x1x1"),
    "kernel far too large": (lambda: clip_model(dilations=[10**9, 1, 1]), "a negative size"),
    "padding far too large": (lambda: clip_model(pads=[10**8] * 6), "more than any runtime takes"),
    "negative size": (lambda: clip_model(shape=(1, 3, -8, 16, 16)), "a negative size"),
    "giant input": (lambda: clip_model(shape=(1, 3, 16, 10**5, 10**5)), "more than any runtime takes"),
    "circle": (circular, "made behind it"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_nothing_runs_fits_nothing(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said at once: no rewrite and no conversion is tried on such a model."""
    make, why = IMPOSSIBLE[case]
    model = make()
    assert any(why in finding.why for finding in faults(model))
    monkeypatch.setattr("everyframe.devices.repair.convert", lambda *_: pytest.fail("a conversion is tried"))
    for name in targets():
        made = plan(model, load_profile(name))
        assert (made.verdict, {finding.kind for finding in made.after.findings}) == ("does not fit", {"model"})
    with pytest.raises(ModelError, match="Nothing can run this model"):
        mend(model, load_profile("rdk-x5"))


def test_what_runs_has_no_faults(tmp_path: Path) -> None:
    handmade.conv_step(tmp_path / "step.onnx", form="slots", fill=-np.inf)
    assert not faults(modelfile.load(tmp_path / "step.onnx"))
    assert not faults(clip_model())


#: (operator, opset, shapes, constants that follow, attributes) and the older opset; "stuck" where there is no such form there
DOWN: tuple[tuple[str, int, list[tuple[int, ...]], dict[str, Any], dict[str, Any], int, str], ...] = (
    ("ReduceSum", 18, [(2, 3, 4)], {"axes": np.array([], np.int64)}, {"noop_with_empty_axes": 1}, 11, ""),
    ("ReduceMean", 18, [(2, 3, 4)], {"axes": np.array([-1])}, {"keepdims": 0}, 10, ""),
    ("Unsqueeze", 13, [(2, 3)], {"axes": np.array([-1])}, {}, 10, ""),
    ("Squeeze", 13, [(2, 3, 1)], {"axes": np.array([-1])}, {}, 10, ""),
    ("Concat", 13, [(2, 3), (2, 4)], {}, {"axis": -1}, 10, ""),
    ("Flatten", 13, [(2, 3, 4)], {}, {"axis": -1}, 9, ""),
    ("AveragePool", 19, [(1, 2, 7, 7)], {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 10, ""),
    ("AveragePool", 19, [(1, 2, 7, 7)], {}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 9, "stuck"),
    ("AveragePool", 19, [(1, 2, 7, 7)], {}, {"kernel_shape": [2, 2], "ceil_mode": 0, "dilations": [1, 1]}, 9, ""),
    ("Resize", 13, [(1, 2, 3, 4)], {"": None, "scales": np.array([1, 1, 2, 2], np.float32)}, {"mode": "nearest"}, 11, ""),
    ("Resize", 19, [(1, 2, 3, 4)], {"": None, " ": None, "sizes": np.array([1, 2, 6, 8])}, {"mode": "linear"}, 11, ""),
    ("Resize", 19, [(1, 2, 6, 8)], {"": None, "scales": np.array([1, 1, 0.5, 0.5], np.float32)},
     {"mode": "linear", "antialias": 1}, 11, "stuck"),
    ("Resize", 13, [(1, 2, 3, 4)], {"": None, "scales": np.array([1, 1, 2, 2], np.float32)}, {"mode": "nearest"}, 10, "stuck"),
    ("Reshape", 14, [(2, 6)], {"shape": np.array([3, 4])}, {"allowzero": 0}, 10, ""),
    ("Softmax", 13, [(2, 6)], {}, {"axis": -1}, 10, ""),
    ("Gemm", 13, [(2, 3), (3, 4)], {}, {}, 9, "stuck"),
    ("Dropout", 13, [(2, 3)], {"ratio": np.array(0.5, np.float32)}, {}, 11, "stuck"),
)  # fmt: skip


@pytest.mark.parametrize("case", DOWN, ids=lambda case: f"{case[0]}-{case[1]}-{case[5]}-{case[4]}")
def test_an_older_opset_is_valid_and_says_the_same(case: tuple) -> None:
    op, newer, shapes, constants, attrs, older, verdict = case
    names = [f"x{i}" for i in range(len(shapes))]
    given = [name.strip() for name in constants]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items() if value is not None]
    graph = helper.make_graph(
        [helper.make_node(op, [*names, *given], ["y"], name=op, **attrs)], "one",
        [helper.make_tensor_value_info(name, F32, shape) for name, shape in zip(names, shapes, strict=True)],
        [helper.make_tensor_value_info("y", F32, None)], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", newer)], ir_version=7)
    model.graph.output[0].CopyFrom(onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output[0])
    lowered = opset.lower(model, older)
    if verdict == "stuck":
        assert lowered.stuck == {op: 1}
        return
    assert not lowered.stuck
    assert opset.invalid(lowered.model) is None
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(shape, np.float32) for name, shape in zip(names, shapes, strict=True)}
    np.testing.assert_allclose(run(lowered.model, feeds)["y"], run(model, feeds)["y"], rtol=1e-5, atol=1e-6)


def test_pnnx_gets_no_input_as_an_output(tmp_path: Path) -> None:
    """It ends in a segmentation fault there: slots hand on the frames, and each other."""
    handmade.conv_step(tmp_path / "step.onnx", form="slots")
    model, profile = modelfile.load(tmp_path / "step.onnx"), load_profile("ncnn")
    assert handed_on(model)
    made, proofs = mend(model, profile)
    assert not handed_on(made.model)
    assert not [finding for finding in made.after.findings if finding.kind == "states"]
    assert max(proof.difference for proof in proofs) < 1e-6
