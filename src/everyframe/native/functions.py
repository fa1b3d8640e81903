"""Operators that are made of others: ONNX's own definitions, and a few of ours, for what has no lowering of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from everyframe.modelfile.graph import Node
from everyframe.native.control import node_of
from everyframe.native.ir import Value

_TYPES = {"float": TensorProto.FLOAT, "bool": TensorProto.BOOL, "int": TensorProto.INT64}
_BIAS = "bias = DequantizeLinear <axis = 0> (b, bs)"
#: of operators that ONNX does not define by others
_OWN = {
    "InstanceNormalization": """
        <opset_import: ["" : 18], domain: "everyframe">
        InstanceNormalization <epsilon: float = 0.00001> (x, scale, shift) => (y) {
            shape = Shape (x)
            flat = Constant <value_ints = [0, 0, -1]> ()
            side = Constant <value_ints = [1, -1, 1]> ()
            last = Constant <value_ints = [2]> ()
            small = Constant <value_float: float = @epsilon> ()
            rows = Reshape (x, flat)
            mean = ReduceMean <keepdims = 1> (rows, last)
            centered = Sub (rows, mean)
            squares = Mul (centered, centered)
            variance = ReduceMean <keepdims = 1> (squares, last)
            raised = Add (variance, small)
            deviation = Sqrt (raised)
            normal = Div (centered, deviation)
            gain = Reshape (scale, side)
            offset = Reshape (shift, side)
            scaled = Mul (normal, gain)
            moved = Add (scaled, offset)
            y = Reshape (moved, shape)
        }""",
    "QLinearConv": """
        <opset_import: ["" : 13], domain: "everyframe">
        QLinearConv <auto_pad, dilations, group, kernel_shape, pads, strides> (x, xs, xz, w, ws, wz, ys, yz, b) => (y) {
            picture = DequantizeLinear (x, xs, xz)
            kernel = DequantizeLinear <axis = 0> (w, ws, wz)
            bs = Mul (xs, ws)
            bias = DequantizeLinear <axis = 0> (b, bs)
            sums = Conv <auto_pad: string = @auto_pad, dilations: ints = @dilations, group: int = @group,
                kernel_shape: ints = @kernel_shape, pads: ints = @pads, strides: ints = @strides> (picture, kernel, bias)
            y = QuantizeLinear (sums, ys, yz)
        }""",
    "QLinearMatMul": """
        <opset_import: ["" : 13], domain: "everyframe">
        QLinearMatMul (a, as, az, b, bs, bz, ys, yz) => (y) {
            rows = DequantizeLinear (a, as, az)
            columns = DequantizeLinear <axis = 1> (b, bs, bz)
            sums = MatMul (rows, columns)
            y = QuantizeLinear (sums, ys, yz)
        }""",
    "LpNormalization": """
        <opset_import: ["" : 18], domain: "everyframe">
        LpNormalization <axis: int = -1, p: int = 2> (x) => (y) {
            axes = Constant <value_ints = AXES> ()
            zero = Constant <value = float {0.0}> ()
            one = Constant <value = float {1.0}> ()
            size = ReduceL_ <keepdims = 1> (x, axes)
            nothing = Equal (size, zero)
            divisor = Where (nothing, one, size)
            y = Div (x, divisor)
        }""",
}


@dataclass(frozen=True)
class Body:
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int


def known(op: str, opset: int) -> bool:
    """Is the operator made of others?"""
    if op in _OWN:
        return True
    try:
        schema: Any = onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def body(node: Node, opset: int, given: Sequence[Value | None]) -> Body | None:
    """What the node is made of; None if nobody says so. opset: the node's."""
    schema = onnx.defs.get_schema(node.op, opset)
    found = _own(node) if node.op in _OWN else _defined(schema, node, opset, given)
    if found is None:
        return None
    prefix = f"{node.outputs[0]}/"
    defaults = {a.name: helper.get_attribute_value(a.default_value) for a in schema.attributes.values() if a.default_value.name}
    given_attrs = {**defaults, **node.attrs}

    def named(name: str) -> str:
        return prefix + name

    nodes = tuple(node_of(part, node, named, given_attrs) for part in found.node)
    version = next((o.version for o in found.opset_import if o.domain in ("", "ai.onnx")), opset)
    return Body(nodes, tuple(map(named, found.input)), tuple(map(named, found.output)), version)


def _defined(schema: Any, node: Node, opset: int, given: Sequence[Value | None]) -> onnx.FunctionProto | None:
    """ONNX's definition, in the operators of the node's opset or those of the next one that has it."""
    if versions := schema.function_opset_versions:
        return onnx.FunctionProto.FromString(schema.get_function_with_opset_version(_nearest(versions, opset)))
    if versions := schema.context_dependent_function_opset_versions:
        attributes = {name: value for name, value in node.attrs.items() if value is not None}
        proto = helper.make_node(node.op, node.inputs, node.outputs, **attributes)
        types = [b"" if value is None else _type(value).SerializeToString() for value in given]
        made = schema.get_context_dependent_function_with_opset_version(
            _nearest(versions, opset), proto.SerializeToString(), types
        )
        return onnx.FunctionProto.FromString(made) if made else None
    return None


def _nearest(versions: Sequence[int], opset: int) -> int:
    return max((v for v in versions if v <= opset), default=min(versions))


def _type(value: Value) -> onnx.TypeProto:
    if isinstance(value, np.ndarray):
        return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
    return helper.make_tensor_type_proto(_TYPES[value.kind], value.shape)


@cache
def _parsed(text: str) -> onnx.FunctionProto:
    return onnx.parser.parse_function(text)


def _own(node: Node) -> onnx.FunctionProto:
    """Of ours; what no attribute can refer to is put into its text."""
    text = _OWN[node.op].replace("AXES", f"[{node.attr('axis', -1)}]").replace("ReduceL_", f"ReduceL{node.attr('p', 2)}")
    return _parsed(text if len(node.inputs) > 8 and node.inputs[8] else text.replace(_BIAS, "").replace(", bias)", ")"))
