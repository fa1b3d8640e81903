"""What a model asks of a device: its nodes with shapes, complete attributes and constants. For any ONNX model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from everyframe.modelfile.without_weights import SMALL, without_weights

#: attributes that ONNX leaves out where they follow from others: how many numbers they have, and which
_IMPLIED = {"strides": 1, "dilations": 1, "pads": 0}
_WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")


@dataclass(frozen=True)
class Value:
    """A graph input or output. None for a size that is open. type: as numpy names it."""

    name: str
    shape: tuple[int | None, ...]
    type: str


@dataclass
class Node:
    """One operator with what is known about its tensors. inputs: '' where an optional one is not given."""

    proto: onnx.NodeProto
    name: str
    place: str  # "3 of 80"
    shapes: tuple[tuple[int, ...] | None, ...]  # of the inputs
    output_shape: tuple[int, ...] | None
    constants: dict[int, np.ndarray]  # input number -> value
    computed: tuple[int, ...]  # input numbers that depend on the graph's inputs
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def op(self) -> str:
        return self.proto.op_type

    @property
    def ranks(self) -> tuple[int, ...]:
        """Axes of the inputs that are computed, where known."""
        return tuple(len(shape) for i in self.computed if (shape := self.shapes[i]) is not None)

    def attribute(self, name: str) -> Any:
        """An attribute's value, or what ONNX says it is where it is not given; None if the operator has none of that name.

        Beyond ONNX: `groups` of a convolution: "one", "depthwise" (one input channel each) or "grouped".
        """
        if name == "groups" and self.op in ("Conv", "ConvTranspose"):
            group = self.attribute("group")
            channels = self.shapes[0][1] if self.shapes[0] else None
            return "one" if group == 1 else "depthwise" if group == channels else "grouped"
        if name in self.attrs:
            return self.attrs[name]
        if self.op in _WINDOWED and (spatial := self._spatial()):
            if name == "kernel_shape":
                weights = self.shapes[1] if self.op.startswith("Conv") else None
                return list(weights[2:]) if weights else None
            if name in _IMPLIED:
                return [_IMPLIED[name]] * (spatial * (2 if name == "pads" else 1))
        schema = onnx.defs.get_schema(self.op) if onnx.defs.has(self.op) else None
        declared = schema.attributes.get(name) if schema else None
        return helper.get_attribute_value(declared.default_value) if declared and declared.default_value.name else None

    @property
    def axes(self) -> tuple[int, ...] | None:
        """Axes of a reduction, counted from the front; None if they are not known before it runs."""
        rank = len(self.shapes[0] or ())
        found = self.attrs.get("axes")
        if found is None and len(self.proto.input) > 1 and self.proto.input[1]:
            if 1 not in self.constants:
                return None
            found = self.constants[1].tolist()
        if found is None or (not len(found) and not self.attrs.get("noop_with_empty_axes")):
            found = range(rank)
        return tuple(sorted(axis % rank for axis in found)) if rank else tuple(found)

    def _spatial(self) -> int:
        return len(self.shapes[0]) - 2 if self.shapes and self.shapes[0] else 0


@dataclass
class View:
    """nodes: without those that every compiler folds away because all their inputs are constants."""

    nodes: list[Node]
    inputs: list[Value]
    outputs: list[Value]
    opset: int
    ir: int
    domains: tuple[str, ...]


def view(model: onnx.ModelProto) -> View:
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer if prod(t.dims) <= SMALL}
    shapes = {t.name: tuple(t.dims) for t in graph.initializer} | _shapes(model)
    named = Counter(proto.name for proto in graph.node)
    fixed, nodes = {t.name for t in graph.initializer}, []
    for i, proto in enumerate(graph.node):
        attrs = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        given = [name for name in proto.input if name]
        if proto.op_type == "Constant" and "value" in attrs:
            constants[proto.output[0]] = numpy_helper.to_array(attrs["value"])
            shapes[proto.output[0]] = constants[proto.output[0]].shape
            fixed.add(proto.output[0])
            continue
        if fixed.issuperset(given) and not proto.op_type.startswith("Random"):
            fixed.update(proto.output)
            continue
        nodes.append(Node(
            proto, proto.name if proto.name and named[proto.name] == 1 else proto.output[0], f"{i + 1} of {len(graph.node)}",
            tuple(shapes.get(name) if name else () for name in proto.input), shapes.get(proto.output[0]),
            {k: constants[name] for k, name in enumerate(proto.input) if name in constants},
            tuple(k for k, name in enumerate(proto.input) if name and name not in fixed), attrs,
        ))  # fmt: skip
    weights = {t.name for t in graph.initializer}
    opsets = {o.domain: o.version for o in model.opset_import}
    domains = {node.domain for node in graph.node} - {"", "ai.onnx"}
    return View(
        nodes, [_value(v) for v in graph.input if v.name not in weights], [_value(v) for v in graph.output],
        opsets.get("", opsets.get("ai.onnx", 1)), model.ir_version, tuple(sorted(domains)),
    )  # fmt: skip


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes as far as inference gets; the rank is what matters, so an open size counts as 0."""
    try:
        inferred = shape_inference.infer_shapes(without_weights(model), data_prop=True)
    except Exception:  # onnx raises its own private types; a model that cannot be inferred is still checked by operator
        inferred = model
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    return {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values if v.type.tensor_type.HasField("shape")
    }


def _value(value: onnx.ValueInfoProto) -> Value:
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    known = kind.elem_type not in (TensorProto.UNDEFINED, TensorProto.STRING)
    return Value(value.name, shape, str(np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))) if known else "unknown")
