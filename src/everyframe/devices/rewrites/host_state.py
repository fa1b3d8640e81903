"""The host moves states, the device only computes new ones.

A ring of several frames becomes one state a frame, and states that only repeat another are no outputs any more: their host
hands on the buffer (`copy_of` in the metadata says whose). What is left as outputs is what a step has computed.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe import modelfile
from everyframe.devices.check import handed_on, origin_of, passed_through, ring
from everyframe.devices.rewrites.edit import without_leftovers
from everyframe.modelfile.schema import StateSpec


def apply(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy that hands no state through; None if `model` does not."""
    metadata = modelfile.metadata_of(model)
    if metadata is None or not (any(passed_through(model)) or handed_on(model)):
        return None
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    states = tuple(part for spec in metadata.states for part in _split(changed, _repeated(changed, spec, metadata.states)))
    if states == metadata.states and not any(spec.copy_of for spec in states):
        return None  # an input of the frames is handed on: nobody else has it
    for name in [spec.output for spec in states if spec.copy_of is not None]:
        _exchange(changed.graph.output, name, (), ())
    provenance = metadata.provenance
    provenance = provenance.model_copy(update={"passes": (*provenance.passes, "host-state")})
    metadata = metadata.model_copy(update={"states": states, "provenance": provenance})
    return modelfile.attach(without_leftovers(changed), metadata)


def _repeated(model: onnx.ModelProto, spec: StateSpec, states: tuple[StateSpec, ...]) -> StateSpec:
    """The state, as a copy of another where the graph only hands that on."""
    origin = origin_of(spec.output, {name: node for node in model.graph.node for name in node.output})
    copied = spec.copy_of is None and origin in {other.input for other in states}
    return spec.model_copy(update={"copy_of": origin}) if copied else spec


def _split(model: onnx.ModelProto, spec: StateSpec) -> list[StateSpec]:
    """The state as it is, or in place of a ring one state for each of its frames, newest first."""
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    line = ring(spec.input, spec.output, made)
    fresh = _frames(model, line.input[1]) if line is not None and len(line.input) == 2 else None
    if line is None or fresh is None:
        return [spec]
    base, shape = spec.input.removesuffix(".in"), (1, *spec.shape[1:])
    parts = [
        spec.model_copy(update={
            "input": f"{base}.{k}.in", "output": f"{base}.{k}.out", "shape": shape, "frames": 1,
            "copy_of": f"{base}.{k - fresh}.in" if k >= fresh else None,
        })
        for k in range(spec.shape[0])
    ]  # fmt: skip
    new = line.input[1]
    line.input[:] = [*(part.input for part in reversed(parts)), new]
    for k, part in enumerate(parts[:fresh]):
        graph.node.extend(_cut(graph, new, fresh - 1 - k, part.output))
    if fresh == 1:
        _read_frames(model, line)
    _exchange(graph.input, spec.input, [part.input for part in parts], shape)
    _exchange(graph.output, spec.output, [part.output for part in parts], shape)
    return parts


def _read_frames(model: onnx.ModelProto, line: onnx.NodeProto) -> None:
    """Who cuts one frame from `line`, whose inputs are single frames, reads that frame itself."""
    graph = model.graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.data_type == TensorProto.INT64 and t.raw_data}
    instead: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Slice" and node.input[0] == line.output[0] and all(name in values for name in node.input[1:]):
            starts, ends, axes, *steps = (values[name].tolist() for name in node.input[1:])
            if axes == [0] and ends == [starts[0] + 1] and steps in ([], [[1]]):
                instead[node.output[0]] = line.input[starts[0]]
    given = {o.name for o in graph.output}
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in instead and name not in given:
                node.input[i] = instead[name]


def _cut(graph: onnx.GraphProto, tensor: str, at: int, name: str) -> Iterator[onnx.NodeProto]:
    """Frame `at` of a tensor."""
    ends = []
    for what, value in (("from", at), ("to", at + 1), ("axis", 0)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), f"{name}::{what}"))
        ends.append(f"{name}::{what}")
    yield helper.make_node("Slice", [tensor, *ends], [name], name=name)


def _frames(model: onnx.ModelProto, tensor: str) -> int | None:
    """Frames that a step adds to a ring: the first axis of what is appended."""
    inferred = onnx.shape_inference.infer_shapes(model)
    for value in (*inferred.graph.value_info, *inferred.graph.input):
        if value.name == tensor:
            return value.type.tensor_type.shape.dim[0].dim_value or None
    return None


def _exchange(values: MutableSequence, old: str, new: tuple[str, ...] | list[str], shape: tuple[int, ...]) -> None:
    """In place of one graph input or output, others; nothing happens where there is none of that name."""
    for position in [i for i, value in enumerate(values) if value.name == old]:
        del values[position]
        for name in reversed(new):
            values.insert(position, helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
