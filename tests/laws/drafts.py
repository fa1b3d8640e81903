"""Clip networks written down node by node, for one idiom each."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

C, T, S = 2, 8, 4  # channels, frames, height and width of the clips here


class Draft:
    """A clip network written down node by node; the last tensor is its output."""

    def __init__(self, shape: tuple[int | str, ...] = (1, C, T, S, S), kind: int = TensorProto.FLOAT, opset: int = 18) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.opset, self.result = opset, TensorProto.FLOAT
        self.inputs = [helper.make_tensor_value_info("clip", kind, shape)]
        self.last = "clip"

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attrs: Any) -> str:
        """Adds a node (behind the last tensor, if no inputs are given) called '<operator>.<number>'."""
        name = f"{kind}.{len(self.nodes)}"
        made = [name + "'" * i for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs) or [self.last], made, name=name, **attrs))
        self.last = made[0]
        return self.last

    def const(self, values: Any, dtype: Any = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), f"constant{len(self.weights)}"))
        return self.weights[-1].name

    def random(self, *shape: int) -> str:
        return self.const(np.random.default_rng(len(self.weights)).standard_normal(shape))

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def conv(self, x: str = "clip", k: int = 3, **attrs: Any) -> str:
        return self.op("Conv", x, self.random(C, C, k, 1, 1), **({"pads": [k // 2, 0, 0, k // 2, 0, 0]} | attrs))

    def mean(self, x: str, *axes: int, keep: bool = True) -> str:
        return self.op("ReduceMean", x, self.ints(*axes), keepdims=int(keep))

    def model(self, *outputs: str) -> onnx.ModelProto:
        ends = [helper.make_tensor_value_info(name, self.result, None) for name in outputs or (self.last,)]
        graph = helper.make_graph(self.nodes, "draft", self.inputs, ends, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)
