"""A quantized model (QDQ) without its integers: the network that it stands for, for questions that rounding does not change."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def floats(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the pairs that round, constants as floats. What is fused into an operator, such as a ReLU into the limits of
    bytes, does not come back. The model itself where it has none.
    """
    if not any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    quantized = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    same: dict[str, str] = {}
    for node in list(graph.node):
        if node.op_type != "DequantizeLinear":
            continue
        source = node.input[0]
        if source in constants and all(name in constants for name in node.input if name):
            value = _value(node, [numpy_helper.to_array(constants[name]) for name in node.input if name])
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        elif source in quantized:
            same[node.output[0]] = quantized[source]
        else:
            continue
        graph.node.remove(node)

    def origin(name: str) -> str:
        while name in same:
            name = same[name]
        return name

    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = origin(name)
    outputs = {value.name for value in graph.output}
    graph.node.extend(helper.make_node("Identity", [origin(name)], [name], name) for name in outputs & set(same))
    _drop_unread(graph, outputs)
    return made


def _value(node: onnx.NodeProto, given: list[np.ndarray]) -> np.ndarray:
    integers, scale, zero = (*given, np.zeros((), given[0].dtype))[:3]
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [1] * integers.ndim
    if scale.size > 1:
        shape[axis] = -1
    if scale.ndim > 1:  # a scale for each block
        scale, zero = (np.repeat(x, integers.shape[axis] // x.shape[axis], axis) if x.ndim > 1 else x for x in (scale, zero))
        shape = list(scale.shape)
    wide = integers.astype(np.float64) - (zero.astype(np.float64).reshape(shape) if zero.size > 1 else float(zero.ravel()[0]))
    return (wide * scale.astype(np.float64).reshape(shape if scale.size > 1 else ())).astype(np.float32)


def _drop_unread(graph: onnx.GraphProto, outputs: set[str]) -> None:
    """Roundings that nobody reads any more, and constants of theirs."""
    while True:
        read = outputs | {name for node in graph.node for name in node.input}
        idle = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.output[0] not in read]
        if not idle:
            break
        for node in idle:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
