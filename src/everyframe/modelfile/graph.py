"""A reading view of a clip ONNX model: nodes with decoded attributes, constants as arrays, static shapes.

Nothing here knows about time. `Graph` is made from a folded model (see fold.py) and never changes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from everyframe.errors import ModelError
from everyframe.modelfile.without_weights import without_weights


@dataclass(frozen=True)
class Node:
    """One operator. `inputs` keeps empty strings for optional inputs that are not given."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any]
    place: str  # "3 of 80", for messages
    label: str = ""  # the layer's name: from the names of weights where they have any, else the node's own

    def attr(self, key: str, default: Any = None) -> Any:
        return self.attrs.get(key, default)

    def input(self, i: int) -> str:
        """Name of input i, '' if it is not given."""
        return self.inputs[i] if i < len(self.inputs) else ""


#: operators that leave one value of many frames, perhaps
_AVERAGES = frozenset(["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])


@dataclass
class Graph:
    model: onnx.ModelProto
    nodes: list[Node]
    constants: dict[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    types: dict[str, int] = field(default_factory=dict)  # ONNX element types of tensors that are not float32
    consumers: dict[str, list[Node]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Graph:
        proto = model.graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.initializer}
        nodes: list[Node] = []
        path: dict[str, tuple[int, str]] = {}  # tensor -> (position, label) of the last layer with weights before it
        for i, node in enumerate(proto.node):
            attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant" and "value" in attrs:
                constants[node.output[0]] = numpy_helper.to_array(attrs["value"])
                continue
            name = node.name or f"{node.op_type}_{i}"
            label = _label(node, constants)
            # a layer without weights is named after the module of the last weights before it: 'blocks.2.conv_c' -> 'blocks.2.add'
            path[node.output[0]] = (
                max((path[x] for x in node.input if x in path), default=(0, "")) if not label else (i + 1, label)
            )
            if not label and (module := path[node.output[0]][1].rpartition(".")[0]):
                label = f"{module}.{node.op_type.lower()}"
            nodes.append(
                Node(
                    node.op_type,
                    name,
                    tuple(node.input),
                    tuple(node.output),
                    attrs,
                    f"{i + 1} of {len(proto.node)}",
                    label or name,
                )
            )
        inputs = tuple(value.name for value in proto.input if value.name not in constants)
        if not inputs:
            raise ModelError("The network takes nothing.", where="graph inputs", expected="a clip, (1, C, T, H, W)", got="none")
        graph = cls(
            model,
            nodes,
            constants,
            static_shapes(model),
            inputs,
            tuple(o.name for o in proto.output),
            next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
            _types(nodes, constants),
        )
        for node in nodes:
            for name in dict.fromkeys(filter(None, node.inputs)):
                graph.consumers.setdefault(name, []).append(node)
        for name, array in constants.items():
            graph.shapes.setdefault(name, array.shape)
        return graph

    def constant(self, name: str) -> np.ndarray | None:
        return self.constants.get(name)

    def averages_last(self) -> list[Node]:
        """The nodes in an order of computation in which an average comes as late as possible: whether it is a head, a gate
        or a pool is told by what its result meets.
        """
        left = {node.name: len({x for x in node.inputs if x in self._made_by}) for node in self.nodes}
        first, order = [n for n in self.nodes if not left[n.name]], []
        ready, late = [n for n in first if not self._averages(n)], [n for n in first if self._averages(n)]
        while ready or late:
            node = ready.pop(0) if ready else late.pop(0)
            order.append(node)
            for reader in {n.name: n for x in node.outputs for n in self.consumers.get(x, ())}.values():
                left[reader.name] -= len({x for x in reader.inputs if x in node.outputs})
                if not left[reader.name]:
                    (late if self._averages(reader) else ready).append(reader)
        return order

    def _averages(self, node: Node) -> bool:
        """A max pool is as good as an average where it leaves one value a channel."""
        return node.op in _AVERAGES or (node.op == "MaxPool" and prod(self.shapes.get(node.outputs[0], (1, 1, 2))[2:]) == 1)

    def made_by(self, name: str) -> Node | None:
        """The node that makes a tensor; None for inputs and constants."""
        return self._made_by.get(name)

    @cached_property
    def _made_by(self) -> dict[str, Node]:
        return {name: node for node in self.nodes for name in node.outputs if name}

    def downstream(self, name: str) -> Iterator[Node]:
        """Every node that depends on tensor `name`, each once, in breadth-first order."""
        seen: set[str] = set()
        queue = [name]
        while queue:
            for node in self.consumers.get(queue.pop(0), ()):
                if node.outputs[0] not in seen:
                    seen.add(node.outputs[0])
                    queue += node.outputs
                    yield node


_TRUTHS = frozenset(["Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf"])
_INDICES = frozenset({"ArgMax", "ArgMin", "NonZero", "Shape", "Size"})


def _types(nodes: list[Node], constants: dict[str, np.ndarray]) -> dict[str, int]:
    """Element types of tensors that are not float32."""
    types = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in constants.items()}
    for node in nodes:
        first = node.inputs[1 if node.op == "Where" else 0] if node.inputs else ""
        kind = (
            TensorProto.BOOL
            if node.op in _TRUTHS
            else TensorProto.INT64
            if node.op in _INDICES
            else node.attr("to")
            if node.op == "Cast"
            else types.get(first, TensorProto.FLOAT)
        )
        types |= dict.fromkeys(node.outputs, kind)
        if node.op == "TopK" and len(node.outputs) > 1:
            types[node.outputs[1]] = TensorProto.INT64
    return {name: kind for name, kind in types.items() if kind != TensorProto.FLOAT}


def _label(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> str:
    """The module path that a weight's name carries ('blocks.2.conv_b.weight' -> 'blocks.2.conv_b'); '' if there is none."""
    for name in node.input[1:2]:
        if name in constants and constants[name].ndim >= 2 and "." in name:
            return name.split(".weight")[0].replace("/", ".").strip(".")
    return ""


def static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Static shape of every tensor. Shape inference is one frame off for some `ceil_mode` pools, so models that have any
    are run once and the real shapes taken."""
    ceil = any(a.name == "ceil_mode" and a.i for node in model.graph.node for a in node.attribute)
    inferred = shape_inference.infer_shapes(without_weights(model), data_prop=True)
    shapes: dict[str, tuple[int, ...]] = {}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    missing = [name for node in model.graph.node for name in node.output if name and name not in shapes]
    for value in model.graph.input:
        if value.name not in shapes:
            raise ModelError(
                "The clip network's input has a dynamic shape.",
                where=f"input {value.name!r}",
                expected="static (1, C, T, H, W)",
                got="(" + ", ".join(d.dim_param or str(d.dim_value) for d in value.type.tensor_type.shape.dim) + ")",
                hint="export it with the clip length it was trained on; that length is part of what was learned",
            )
    return _measured_shapes(model, shapes) if ceil or missing else shapes


def _measured_shapes(model: onnx.ModelProto, known: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    from everyframe.modelfile.session import run_all

    feeds = {v.name: np.zeros(known[v.name], np.float32) for v in model.graph.input}
    return known | {name: value.shape for name, value in run_all(model, feeds).items() if hasattr(value, "shape")}  # no sequences
