"""ONNX -> `Graph`: every node is evaluated on references instead of numbers (see `ir`).

The table that the `lower_*` modules fill maps each ONNX operator to a function that takes the tracer, the node and its input
values and returns the output's value. What is not in the table, or cannot be expressed with frames, raises UnsupportedOperator
before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx.reference
from onnx import TensorProto, numpy_helper

from everyframe.errors import ModelError
from everyframe.modelfile.graph import Node
from everyframe.modelfile.schema import StateSpec
from everyframe.native import ir, lower_compute, lower_elementwise, lower_structure  # noqa: F401  (they fill the table)
from everyframe.native.ir import Frame, Planes, Scalars, Value
from everyframe.native.lower_quantized import check_integers, levels, quantized, state_quants
from everyframe.native.lower_structure import flattened
from everyframe.native.tracer import LOWER, Tracer, stack, unsupported

#: operators that take pictures whose height and width are one axis
_TAKE_MERGED = ("Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Flatten")
#: int and bool states hold this many values at most
_SMALL = 64


def operators() -> tuple[str, ...]:
    """ONNX operators that can be compiled."""
    return tuple(LOWER)


def trace(model: onnx.ModelProto, states: Sequence[StateSpec] = (), where: object = "model") -> ir.Graph:
    """`model` takes frames (N, C, H, W) and the states, or a clip (1, C, T, H, W); it must be folded.

    A state that is read only to be quantized is kept quantized: that is known after a first pass.
    Raises ModelError for open shapes, UnsupportedOperator for what has no form in frames.
    """
    graph = _traced(model, states, where, {})
    quants = state_quants(graph)
    return _traced(model, states, where, quants) if quants else graph


def _traced(model: onnx.ModelProto, states: Sequence[StateSpec], where: object, quants: dict[int, ir.Quant]) -> ir.Graph:
    """quants: of states, by their slot."""
    tracer = Tracer()
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = _nodes(model.graph, constants)
    _check_operators(nodes)
    check_integers(nodes)
    values: dict[str, Value] = dict(constants)
    inputs = {value.name: value for value in model.graph.input if value.name not in constants}
    slots: list[Frame] = []
    counters: list[str] = []
    for spec in states:
        name = spec.input
        if spec.dtype == "int64":
            if prod(spec.shape) > _SMALL:
                raise ModelError(
                    "An integer state is too large to compile.", where=name, expected=f"{_SMALL} values", got=spec.shape,
                    hint="run this model with `--engine ort`",
                )  # fmt: skip
            names = [f"n{len(counters) + i}" for i in range(prod(spec.shape))]
            counters += names
            values[name] = Scalars(np.array(names, object).reshape(spec.shape), "int")
            continue
        outer, space = _split_space(spec.shape)
        height, width = space or (1, 1)
        held = [
            tracer.add(ir.StateIn(-1, name, n, spec.fill), (prod(outer[1:]), height, width), quants.get(n))
            for n in range(len(slots), len(slots) + outer[0])
        ]
        values[name] = Planes(np.stack([frame.planes() for frame in held]).reshape(outer), space)
        slots += held
    (frames_name,) = [name for name in inputs if name not in {spec.input for spec in states}]
    shape = _static_shape(inputs[frames_name], where)
    clip = len(shape) == 5
    count, channels, height, width = (shape[2], shape[1], *shape[3:]) if clip else shape
    frame_shape = (channels, height, width)
    inputs_made = np.empty(count, object)
    for i in range(count):
        inputs_made[i] = tracer.add(ir.Input(-1, frames_name, i), frame_shape)
    taken = stack(inputs_made.reshape(1, count) if clip else inputs_made, (height, width))  # (1, C, T) or (N, C)
    values[frames_name] = taken
    for order, node in enumerate(nodes):
        tracer.node, tracer.order = node, order
        given = [values[name] if name else None for name in node.inputs]
        if all(value is None or isinstance(value, np.ndarray) for value in given):
            values[node.outputs[0]] = _constant(node, given, model)
            if node.op == "DequantizeLinear" and (found := levels(node, given)):
                tracer.levels[node.outputs[0]] = found
            elif node.op == "DequantizeLinear" and len(values[node.outputs[0]].shape) <= 1:
                tracer.exact[node.outputs[0]] = _wide(*given)
            continue
        if node.op not in _TAKE_MERGED and any(isinstance(value, Planes) and value.merged for value in given):
            raise unsupported(node, "Height and width are one axis here; only reshapes and transposes know that.")
        result = LOWER[node.op](tracer, node, given)
        for name, value in zip(node.outputs, result if isinstance(result, list) else [result], strict=False):
            values[name] = value
    tracer.node, tracer.order = None, len(nodes)
    graph = _finish(tracer, states, model, values, slots, counters, frame_shape, count, clip)
    graph.slot_next = [
        quantized(tracer, after, slot.quant) if slot.quant else tracer.plain(after)
        for slot, after in zip(slots, graph.slot_next, strict=True)
    ]
    return graph


def _finish(
    tracer: Tracer, states: Sequence[StateSpec], model: onnx.ModelProto, values: dict[str, Value], slots: list[Frame],
    counters: list[str], frame_shape: tuple[int, int, int], count: int, clip: bool,
) -> ir.Graph:  # fmt: skip
    slot_next: list[Frame] = []
    counter_next: list[str] = []
    for spec in states:
        value = values[spec.output] if spec.output in values else values[str(spec.copy_of)]
        if spec.dtype == "int64":
            if not isinstance(value, Scalars):
                raise ModelError("An integer state is not made of integers.", where=spec.output)
            counter_next += [str(text) for text in value.array.ravel()]
            continue
        if not isinstance(value, Planes) or value.merged or value.shape != spec.shape:
            raise ModelError("A state's new value has another shape.", where=spec.output, expected=spec.shape)
        slot_next += [tracer.frame(row.ravel(), value.space) for row in value.array]
    outputs = [o.name for o in model.graph.output if o.name not in {spec.output for spec in states}]
    name = "logits" if "logits" in outputs else outputs[0]
    logits = values[name]
    if not isinstance(logits, Planes):
        raise ModelError("The network's output is not made of frames.", where=name, got=type(logits).__name__)
    shape = logits.shape
    if logits.space not in (None, (1, 1)):  # an answer that is a picture
        logits = flattened(tracer, logits, (1, prod(shape)))
    made = [tracer.plain(tracer.frame(row, None)) for row in logits.array.reshape(-1, logits.array.shape[-1])]
    return ir.Graph(
        tracer.ops, tracer.made, tracer.frames, slots, slot_next, counters, counter_next, tracer.tables, made,
        frame_shape, count, clip, shape,
    )  # fmt: skip


def _nodes(graph: onnx.GraphProto, constants: dict[str, np.ndarray]) -> list[Node]:
    nodes = []
    for i, proto in enumerate(graph.node):
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        if proto.op_type == "Constant" and "value" in attrs:
            constants[proto.output[0]] = numpy_helper.to_array(attrs["value"])
            continue
        name = proto.name or f"{proto.op_type}_{i}"
        place, label = f"{i + 1} of {len(graph.node)}", proto.output[0] if proto.output else name
        nodes.append(Node(proto.op_type, name, tuple(proto.input), tuple(proto.output), attrs, place, label))
    return nodes


def _check_operators(nodes: Sequence[Node]) -> None:
    """All operators are known before the first is traced, so that one message names them all."""
    missing = [node for node in nodes if node.op not in LOWER]
    if missing:
        others = sorted({node.op for node in missing} - {missing[0].op})
        raise unsupported(
            missing[0], f"The operator {missing[0].op} cannot be compiled.", got=f"also {', '.join(others)}" if others else None
        )


def _constant(node: Node, given: list, model: onnx.ModelProto) -> np.ndarray:
    """A node without variable inputs, computed now."""
    proto = onnx.helper.make_node(node.op, node.inputs, node.outputs[:1], **node.attrs)
    opsets: Any = {o.domain: o.version for o in model.opset_import}
    evaluator = onnx.reference.ReferenceEvaluator(proto, opsets=opsets)
    results: Any = evaluator.run(None, {name: v for name, v in zip(node.inputs, given, strict=True) if name})
    return np.asarray(results[0])


def _wide(integers: Any, scale: Any, zero: Any = None) -> np.ndarray:
    """A dequantized vector: products of integers and float32 scales are exact in float64, or nearly so."""
    centered = np.asarray(integers, np.float64) - (0.0 if zero is None else np.asarray(zero, np.float64))
    return centered * np.asarray(scale, np.float64)


def _split_space(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, int] | None]:
    """(outer axes, (H, W)) of a tensor with four or more axes; all axes and None below that."""
    return (shape[:-2], (shape[-2], shape[-1])) if len(shape) >= 4 else (shape, None)


def _static_shape(value: onnx.ValueInfoProto, where: object) -> tuple[int, ...]:
    kind = value.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else (d.dim_param or "?") for d in kind.shape.dim]
    shown = "(" + ", ".join(map(str, dims)) + ")"
    if kind.elem_type != TensorProto.FLOAT:
        got = TensorProto.DataType.Name(kind.elem_type).lower()
        raise ModelError("Only float32 frames can be compiled.", where=f"{where}, input {value.name}", got=got,
                         hint="run this model with `--engine ort`")  # fmt: skip
    if any(isinstance(d, str) for d in dims):
        raise ModelError(
            "A model with open sizes cannot be compiled: the code is made for one size.",
            where=f"{where}, input {value.name}", expected="numbers only", got=shown,
            hint="export it with a fixed size, or run it with `--engine ort`",
        )  # fmt: skip
    if len(dims) not in (4, 5):
        raise ModelError("The model's input is not a sequence of pictures.", where=f"{where}, input {value.name}", got=shown)
    return tuple(int(d) for d in dims)
