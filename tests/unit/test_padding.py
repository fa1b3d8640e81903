"""Padding that a network does not say: a dilated kernel is the same kernel with zeros between its taps."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from everyframe.modelfile.padding import written_out
from everyframe.modelfile.session import run

SIZE = (7, 6)


def network(weight: np.ndarray, **attrs: Any) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", (1, 2, *SIZE)), ("y", None))]
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attrs)
    graph = helper.make_graph([node], "net", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("how", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("kernel", [(3, 2), (2, 3)])
@pytest.mark.parametrize("dilations", [(2, 1), (2, 3)])
def test_of_dilated_windows(how: str, strides: tuple[int, int], kernel: tuple[int, int], dilations: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    weight, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 2, *kernel), (1, 2, *SIZE)))
    wide = np.zeros((3, 2, *((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))), np.float32)
    wide[:, :, :: dilations[0], :: dilations[1]] = weight
    expected = run(network(wide, auto_pad=how, strides=strides), {"x": x})["y"]
    dilated = network(weight, auto_pad=how, strides=strides, dilations=dilations)
    before = dilated.SerializeToString()
    np.testing.assert_allclose(run(dilated, {"x": x})["y"], expected, atol=1e-5)
    assert dilated.SerializeToString() == before  # it is the caller's


def test_what_onnxruntime_takes_is_not_copied() -> None:
    model = network(np.zeros((1, 2, 3, 3), np.float32), auto_pad="SAME_UPPER", dilations=[1, 1])
    assert written_out(model) is model
