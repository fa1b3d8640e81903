"""States on as many axes as a target wants of its inputs: reshaped where they enter and leave the graph."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from everyframe import modelfile


def apply(model: onnx.ModelProto, inputs: Collection[str], ranks: tuple[int, ...]) -> onnx.ModelProto | None:
    """A copy in which the states of these inputs have ones in front; None if there are none that can have them."""
    metadata = modelfile.metadata_of(model)
    thin = [s for s in metadata.states if s.input in inputs and len(s.shape) < min(ranks)] if metadata else []
    if metadata is None or not thin:
        return None
    # what is copied from one of them has the same shape
    names = {spec.input for spec in thin} | {spec.input for spec in metadata.states if spec.copy_of in {s.input for s in thin}}
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    states = []
    for spec in metadata.states:
        if spec.input not in names:
            states.append(spec)
            continue
        wide = (1,) * (min(ranks) - len(spec.shape)) + spec.shape
        _entering(changed.graph, spec.input, spec.shape, wide)
        _leaving(changed.graph, spec.output, wide)
        states.append(spec.model_copy(update={"shape": wide}))
    del changed.graph.value_info[:]
    return modelfile.attach(changed, metadata.model_copy(update={"states": tuple(states)}))


def _reshape(graph: onnx.GraphProto, tensor: str, result: str, shape: tuple[int, ...]) -> onnx.NodeProto:
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{result}::shape"))
    return helper.make_node("Reshape", [tensor, f"{result}::shape"], [result], name=f"{result}::reshape")


def _set(values: object, name: str, shape: tuple[int, ...]) -> bool:
    for value in values:  # type: ignore[attr-defined]
        if value.name == name:
            value.CopyFrom(helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, list(shape)))
            return True
    return False


def _entering(graph: onnx.GraphProto, name: str, thin: tuple[int, ...], wide: tuple[int, ...]) -> None:
    _set(graph.input, name, wide)
    inner = f"{name}::state"
    for node in graph.node:
        node.input[:] = [inner if given == name else given for given in node.input]
    graph.node.insert(0, _reshape(graph, name, inner, thin))


def _leaving(graph: onnx.GraphProto, name: str, wide: tuple[int, ...]) -> None:
    if not _set(graph.output, name, wide):
        return
    inner = f"{name}::state"
    for node in graph.node:
        node.input[:] = [inner if given == name else given for given in node.input]
        node.output[:] = [inner if given == name else given for given in node.output]
    graph.node.append(_reshape(graph, inner, name, wide))
