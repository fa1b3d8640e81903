"""Rewrites that make a model fit a device: each computes what was there before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import handmade
from device_graphs import graph, ops, outputs
from everyframe.devices import load_profile, plan
from everyframe.devices.nodes import view
from everyframe.devices.rewrites import activations, join, means, opset
from everyframe.devices.rewrites.edit import exchanged
from everyframe.modelfile.session import run


@settings(max_examples=25)
@given(st.data())
def test_means_in_every_form(data: Any) -> None:
    rank = data.draw(st.integers(3, 5))
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank)))
    at, keep = data.draw(st.sampled_from([11, 13, 18])), data.draw(st.booleans())
    axes = sorted(data.draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    spatial = list(range(2, rank))
    kind = data.draw(st.sampled_from(means.OPS))
    if kind != "ReduceMean":
        axes, keep = spatial, True
    result = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
    if kind == "ReduceMean" and at >= 18:
        model = graph(kind, [shape], result, at=at, weights=[("axes", np.array(axes))], keepdims=int(keep))
    else:
        attrs = {"ReduceMean": {"axes": axes, "keepdims": int(keep)}, "AveragePool": {"kernel_shape": list(shape[2:])}}
        model = graph(kind, [shape], result, at=at, **attrs.get(kind, {}))
    for variant in means.VARIANTS:
        made, new = exchanged(model, lambda name, variant=variant: variant)
        if variant is means.flat_pool and axes != spatial:
            assert not new
            continue
        onnx.checker.check_model(made, full_check=True)
        assert np.allclose(outputs(made), outputs(model), rtol=1e-5, atol=1e-6)


def test_a_pool_that_leaves_something_is_no_mean() -> None:
    model = graph("AveragePool", [(1, 2, 4, 4, 4)], (1, 2, 2, 1, 1), kernel_shape=[3, 4, 4])
    made = plan(model, load_profile("rdk-s100"))
    assert "means" not in [applied.rewrite for applied in made.applied]


@pytest.mark.parametrize(
    ("op", "variant"),
    [("HardSwish", activations.gated), ("HardSwish", activations.clipped), ("Swish", activations.gated),
     ("HardSigmoid", activations.clipped)],
)  # fmt: skip
def test_activations_written_out(op: str, variant: Callable) -> None:
    attrs = {"HardSigmoid": {"alpha": 0.3, "beta": 0.4}, "Swish": {"alpha": 1.5}}.get(op, {})
    model = graph(op, [(2, 3)], (2, 3), at=24 if op == "Swish" else 18, **attrs)
    made, _ = exchanged(model, lambda name: variant)
    assert op not in ops(made)
    x = 3 * np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    hard = np.clip(attrs.get("alpha", 1 / 6) * x + attrs.get("beta", 0.5), 0, 1)
    with np.errstate(over="ignore"):
        expected = {"HardSigmoid": hard, "HardSwish": x * hard, "Swish": x / (1 + np.exp(-1.5 * x))}[op]
    assert np.allclose(outputs(made), expected, atol=1e-6)


def test_joined_along_another_axis() -> None:
    model = graph("Concat", [(1, 3, 2, 2), (4, 3, 2, 2)], (5, 3, 2, 2), axis=0)
    made, _ = exchanged(model, lambda name: join.along_second)
    assert np.array_equal(outputs(made), outputs(model))
    assert [node.attribute("axis") for node in view(made).nodes if node.op == "Concat"] == [1]


AXES = ("axes", np.array([1, 2]))
ONE_NODE = {
    **{op: graph(op, [(2, 3, 4)], (2, 1, 1), weights=[AXES]) for op in opset.DOWN if op.startswith("Reduce")},
    "Squeeze": graph("Squeeze", [(2, 1, 1)], (2,), weights=[AXES]),
    "Unsqueeze": graph("Unsqueeze", [(2, 3)], (2, 1, 1, 3), weights=[AXES]),
    "Softmax": graph("Softmax", [(2, 3, 4)], (2, 3, 4), axis=-1),
    "LogSoftmax": graph("LogSoftmax", [(2, 3, 4)], (2, 3, 4), axis=2),
    "Hardmax": graph("Hardmax", [(2, 3, 4)], (2, 3, 4), axis=-1),
    "Pad": graph("Pad", [(2, 3)], (2, 6), inputs=["x0", "pads", "value", "axes"],
                 weights=[("pads", np.array([1, 2])), ("value", np.float32(7)), ("axes", np.array([1]))]),
    "Split": graph("Split", [(2, 5)], (2, 3), axis=1, num_outputs=2),
    "Clip": graph("Clip", [(2, 3)], (2, 3), weights=[("low", np.float32(0)), ("high", np.float32(1))]),
    "HardSwish": graph("HardSwish", [(2, 3)], (2, 3)),
    "Swish": graph("Swish", [(2, 3)], (2, 3), at=24),
    "Reshape": graph("Reshape", [(2, 3)], (3, 2), weights=[("shape", np.array([3, 2]))], allowzero=0),
    "AveragePool": graph("AveragePool", [(1, 2, 4, 4)], (1, 2, 3, 3), at=19, kernel_shape=[2, 2], dilations=[1, 1]),
    "BatchNormalization": graph("BatchNormalization", [(1, 2, 3)], (1, 2, 3), training_mode=0,
                                weights=[(n, np.array([0.5, 2], np.float32)) for n in ("scale", "bias", "mean", "var")]),
}  # fmt: skip
ONE_NODE["Split"].graph.node[0].output.append("z")
WHOLE_NUMBERS = ("Min", "Max", "GreaterOrEqual", "LessOrEqual")


def test_every_way_down_has_a_case() -> None:
    elsewhere = {"Resize"}  # test_devices_sound
    assert set(opset.DOWN) - elsewhere <= set(ONE_NODE) | set(WHOLE_NUMBERS)


@pytest.mark.parametrize("op", ONE_NODE)
@pytest.mark.parametrize("to", [10, 11, 13])
def test_an_operator_in_an_older_opset(op: str, to: int) -> None:
    model = ONE_NODE[op]
    lowered = opset.lower(model, to)
    assert not lowered.stuck
    onnx.checker.check_model(lowered.model, full_check=True)
    assert np.allclose(outputs(lowered.model), outputs(model), rtol=1e-6)


@pytest.mark.parametrize("op", WHOLE_NUMBERS)
def test_whole_numbers_in_an_older_opset(op: str) -> None:
    compares = op not in ("Min", "Max")
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node(op, ["a", "b"], ["y"], name=op)], "one", [info("a", TensorProto.INT64, [5])],
        [info("y", TensorProto.BOOL if compares else TensorProto.INT64, [5])], [handmade.tensor("b", [2], np.int64)],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    lowered = opset.lower(model, 11)
    assert lowered.changed == {op: 1}
    feeds = {"a": np.arange(5)}
    assert np.array_equal(run(lowered.model, feeds)["y"], run(model, feeds)["y"])


def test_what_has_no_older_form_is_named() -> None:
    """A softmax over an axis that is not the last flattened what is behind it."""
    for model in (graph("Softmax", [(2, 3, 4)], (2, 3, 4), axis=1), graph("Gelu", [(2, 3)], (2, 3), at=20)):
        made = plan(model, load_profile("rdk-x5"))
        assert made.verdict == "does not fit"
        assert any("no form in opset 11" in note for note in made.notes)
