"""Other ways to write the same, in the clip network itself, so that few rules serve many exporters.

    x[:, i], a Gather with a single index       a Gather with a list of one, squeezed
    a Gather with a table of indices            a Gather with a list, reshaped
    x[:, a:b] = y, a ScatterND                  what is before, y, what is behind: a Concat
    x - x, zeros made of a tensor               a constant
    auto_pad                                    the pads that it stands for
    edges repeated in front (Pad in mode edge)  the first part, once for each time it is repeated, and a Concat

The result is compared with the network as it was, like everything that folding and cutting change (`verify`).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from everyframe.modelfile.graph import static_shapes
from everyframe.modelfile.padding import same

_REDUCTIONS = frozenset(
    ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "AveragePool", "MaxPool")
)
_LARGEST = 2**24  # values of a constant that is made: 64 MB
_MOST_REPEATED = 64  # frames that an edge is repeated


def canonical(model: onnx.ModelProto) -> bool:
    """Rewrites a folded model in place. True if anything was changed (it may be worth folding again)."""
    if not any(node.op_type in _WAYS for node in model.graph.node):
        return False
    return _Writer(model).run()


def apart(model: onnx.ModelProto) -> None:
    """Gives reductions of different kinds wires of their own, so that each may be one of several heads (`verify`)."""
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.op_type in _REDUCTIONS:
            readers.setdefault(node.input[0], set()).add(node.op_type)
    if all(len(kinds) == 1 for kinds in readers.values()):
        return
    nodes = []
    for node in model.graph.node:
        if node.op_type in _REDUCTIONS and len(readers[node.input[0]]) > 1:
            nodes.append(
                helper.make_node("Identity", [node.input[0]], [f"{node.output[0]}.of"], f"{node.name or node.output[0]}/of")
            )
            node.input[0] = f"{node.output[0]}.of"
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


class _Writer:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.graph, self.count = model, model.graph, 0
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.shapes = static_shapes(model)
        self.nodes: list[onnx.NodeProto] = []

    def run(self) -> bool:
        changed = False
        for node in self.graph.node:
            way = _WAYS.get(node.op_type)
            if way is not None and way(self, node):
                changed = True
            else:
                self.nodes.append(node)
        if changed:
            kept = list(self.nodes)
            del self.graph.node[:], self.graph.value_info[:]
            self.graph.node.extend(kept)
        return changed

    def array(self, name: str) -> np.ndarray | None:
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def const(self, values: Any, dtype: Any = np.int64) -> str:
        self.count += 1
        name = f"canonical.{self.count}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        self.constants[name] = self.graph.initializer[-1]
        return name

    def emit(self, like: onnx.NodeProto, op: str, inputs: list[str], output: str = "", **attrs: Any) -> str:
        """Adds a node, named after the one that it stands for."""
        self.count += 1
        made = output or f"{like.output[0]}.canonical{self.count}"
        name = like.name if output else f"{like.name or like.output[0]}/{op.lower()}{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [made], name=name, **attrs))
        return made

    def slice(self, like: onnx.NodeProto, x: str, axis: int, start: int, end: int) -> str:
        if (array := self.array(x)) is not None:
            index = [slice(None)] * array.ndim
            index[axis] = slice(start, end)
            return self.const(array[tuple(index)], array.dtype)
        if self.opset < 10:
            return self.emit(like, "Slice", [x], starts=[start], ends=[end], axes=[axis])
        return self.emit(like, "Slice", [x, *(self.const([value]) for value in (start, end, axis))])


def _attrs(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _gather(writer: _Writer, node: onnx.NodeProto) -> bool:
    index, axis = writer.array(node.input[1]), int(_attrs(node).get("axis", 0))
    if index is None or index.ndim == 1 or node.input[0] in writer.constants:
        return False
    if index.ndim:
        if (shape := writer.shapes.get(node.output[0])) is None:
            return False
        picked = writer.emit(node, "Gather", [node.input[0], writer.const(index.reshape(-1))], axis=axis)
        writer.emit(node, "Reshape", [picked, writer.const(shape)], node.output[0])
        return True
    picked = writer.emit(node, "Gather", [node.input[0], writer.const(index.reshape(1))], axis=axis)
    if writer.opset < 13:
        writer.emit(node, "Squeeze", [picked], node.output[0], axes=[axis])
    else:
        writer.emit(node, "Squeeze", [picked, writer.const([axis])], node.output[0])
    return True


def _zeros(writer: _Writer, node: onnx.NodeProto) -> bool:
    """x - x, which says "zeros of this shape" in exported networks."""
    shape = writer.shapes.get(node.output[0])
    if node.input[0] != node.input[1] or shape is None or prod(shape) > _LARGEST:
        return False
    name = writer.const(np.zeros(shape), np.float32)
    writer.emit(node, "Identity", [name], node.output[0])
    return True


def _block(indices: np.ndarray, shape: tuple[int, ...]) -> list[tuple[int, int]] | None:
    """(start, end) on each of the first axes, if indices (..., k) name a block of neighbors in order; None if not."""
    k = indices.shape[-1]
    flat = np.where(indices < 0, indices + np.array(shape[:k]), indices).reshape(-1, k)
    ranges = [(int(flat[:, i].min()), int(flat[:, i].max()) + 1) for i in range(k)]
    if len(flat) != prod(end - start for start, end in ranges):
        return None
    wanted = np.array(list(product(*(range(start, end) for start, end in ranges))))
    return ranges if np.array_equal(flat, wanted) else None


def _scatter(writer: _Writer, node: onnx.NodeProto) -> bool:
    data, indices, updates = node.input
    found, shape = writer.array(indices), writer.shapes.get(data) or writer.shapes.get(node.output[0])
    if found is None or shape is None or not found.size or _attrs(node).get("reduction", b"none") != b"none":
        return False
    ranges = _block(found, shape)
    if ranges is None:
        return False
    block = [end - start for start, end in ranges] + list(shape[len(ranges) :])
    if writer.shapes.get(updates) != tuple(block):
        updates = writer.emit(node, "Reshape", [updates, writer.const(block)])
    made = _assigned(writer, node, data, list(enumerate(ranges)), updates, shape)
    writer.emit(node, "Identity", [made], node.output[0])
    return True


def _assigned(
    writer: _Writer,
    node: onnx.NodeProto,
    data: str,
    ranges: list[tuple[int, tuple[int, int]]],
    updates: str,
    shape: tuple[int, ...],
) -> str:
    """data with a block of it replaced, axis after axis."""
    rest = [(axis, (start, end)) for axis, (start, end) in ranges if (start, end) != (0, shape[axis])]
    if not rest:
        return updates
    (axis, (start, end)), inner = rest[0], rest[1:]
    middle = _assigned(writer, node, writer.slice(node, data, axis, start, end) if inner else "", inner, updates, shape)
    parts = [writer.slice(node, data, axis, 0, start)] if start else []
    parts += [middle, *([writer.slice(node, data, axis, end, shape[axis])] if end < shape[axis] else [])]
    return writer.emit(node, "Concat", parts, axis=axis)


def _padded(writer: _Writer, node: onnx.NodeProto) -> bool:
    """auto_pad of a convolution or pool as explicit pads."""
    attrs, before = _attrs(node), writer.shapes.get(node.input[0])
    how = attrs.get("auto_pad", b"NOTSET")
    if how not in (b"SAME_UPPER", b"SAME_LOWER", b"VALID") or before is None:
        return False
    dims = len(before) - 2
    kernel = attrs.get("kernel_shape") or writer.shapes.get(node.input[1]) or writer.constants[node.input[1]].dims
    kernel = list(kernel)[-dims:]
    strides, dilations = (attrs.get(key) or [1] * dims for key in ("strides", "dilations"))
    pads = [0] * 2 * dims if how == b"VALID" else same(how, before[2:], kernel, strides, dilations)
    made = onnx.NodeProto()
    made.CopyFrom(node)
    for attribute in [a for a in made.attribute if a.name in ("auto_pad", "pads")]:
        made.attribute.remove(attribute)
    made.attribute.append(helper.make_attribute("pads", pads))
    writer.nodes.append(made)
    return True


def _edges(writer: _Writer, node: onnx.NodeProto) -> bool:
    """A border of repeated values, on one axis in front; what else is padded stays a Pad."""
    attrs = _attrs(node)
    given = attrs.get("pads") if len(node.input) < 2 else writer.array(node.input[1])
    shape = writer.shapes.get(node.input[0])
    if attrs.get("mode") != b"edge" or given is None or shape is None or (len(node.input) > 3 and node.input[3]):
        return False
    pads = [int(n) for n in given]
    axes = [i for i in range(len(shape)) if pads[i] > 0 and shape[i] > 1]
    if len(axes) != 1 or pads[axes[0] + len(shape)] or any(pads[i] for i in range(2 * len(shape)) if i != axes[0]):
        return False
    axis, x = axes[0], node.input[0]
    if pads[axis] > _MOST_REPEATED:
        return False
    first = writer.slice(node, x, axis, 0, 1)
    writer.emit(node, "Concat", [first] * pads[axis] + [x], node.output[0], axis=axis)
    return True


_WAYS: dict[str, Callable[[_Writer, onnx.NodeProto], bool]] = {
    "Gather": _gather, "Sub": _zeros, "ScatterND": _scatter, "Pad": _edges,
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool"), _padded),
}  # fmt: skip
