"""What rewrites of nodes share: a copy of a model in which nodes are exchanged for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from everyframe.devices.nodes import Node, view


class Part:
    """The nodes that stand in for one: made here, named after it, the last one gives its output."""

    def __init__(self, node: Node, opset: int) -> None:
        self.node, self.opset = node, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def emit(self, op: str, *inputs: str, **attrs: Any) -> str:
        name = f"{self.node.name}::{op.lower()}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attrs))
        return name

    def constant(self, value: object, dtype: type = np.float32) -> str:
        name = f"{self.node.name}::constant.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, values: Sequence[int]) -> str:
        return self.constant(list(values), np.int64)

    def mean(self, tensor: str, axes: Sequence[int], keepdims: bool = True) -> str:
        """ReduceMean, whose axes are an input from opset 18 on."""
        if self.opset >= 18:
            return self.emit("ReduceMean", tensor, self.ints(axes), keepdims=int(keepdims))
        return self.emit("ReduceMean", tensor, axes=list(axes), keepdims=int(keepdims))


#: fills a Part; returns the tensor that is the node's new output, or None if it has no form for this node
Build = Callable[[Node, Part], str | None]


def exchanged(model: onnx.ModelProto, build: Callable[[str], Build | None]) -> tuple[onnx.ModelProto, set[str]]:
    """A copy in which every node that `build` has something for, by its name, is exchanged, and the names of the new nodes."""
    seen = view(model)
    parts: dict[str, tuple[Part, str]] = {}  # the old node's first output -> what is there instead
    for node in seen.nodes:
        maker, part = build(node.name), Part(node, seen.opset)
        if maker is not None and (made := maker(node, part)) is not None:
            parts[node.proto.output[0]] = part, made
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    for proto in model.graph.node:
        if proto.output[0] not in parts:
            changed.graph.node.append(proto)
            continue
        part, made = parts[proto.output[0]]
        for new in part.nodes:
            if made in new.output:
                new.output[:] = proto.output
            changed.graph.node.append(new)
        changed.graph.initializer.extend(part.constants)
    return without_leftovers(changed), {new.name for part, _ in parts.values() for new in part.nodes}


def without_leftovers(model: onnx.ModelProto) -> onnx.ModelProto:
    """In place: drops shapes that may no longer hold, and nodes and weights that nothing reads any more."""
    graph = model.graph
    del graph.value_info[:]
    wanted = {o.name for o in graph.output}
    for i in reversed(range(len(graph.node))):
        if wanted.isdisjoint(graph.node[i].output):
            del graph.node[i]
        else:
            wanted.update(graph.node[i].input)
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in wanted:
            del graph.initializer[i]
    return model
