"""ONNX -> `Graph`: every node is evaluated on references instead of numbers (see `ir`).

What has no form in frames raises UnsupportedOperator before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from everyframe.errors import ModelError
from everyframe.modelfile.file import metadata_of
from everyframe.modelfile.graph import Node
from everyframe.modelfile.schema import StateSpec
from everyframe.native import evaluate, ir
from everyframe.native.cells import cells_of, gathered
from everyframe.native.ir import Frame, Planes, Scalars, Value
from everyframe.native.lower_quantized import quantized, state_quants
from everyframe.native.lower_structure import flattened
from everyframe.native.tracer import Tracer, stack

#: int and bool states hold this many values at most
_SMALL = 64


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
    tracer = Tracer(evaluate.step)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = _nodes(model.graph, constants)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    evaluate.check(nodes, {*constants}, opset)
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
        half = spec.dtype == "float16"
        kept = [
            tracer.add(ir.StateIn(-1, name, n, spec.fill), (prod(outer[1:]), height, width), quants.get(n), half)
            for n in range(len(slots), len(slots) + outer[0])
        ]
        planes = np.stack([frame.planes() for frame in kept]).reshape(outer)
        values[name] = Planes(planes, space, kind="half" if half else "float")
        slots += kept
    held = {spec.input for spec in states}
    given = [(name, _static_shape(inputs[name], where)) for name in inputs if name not in held]
    clip = not states and [len(shape) for _, shape in given] == [5]
    start = 0
    for name, shape in given:
        values[name] = _given(tracer, name, shape, start, clip)
        start += prod(shape)
    evaluate.run(tracer, nodes, values, opset)
    tracer.node, tracer.order = None, len(nodes)
    _as_kept(tracer, nodes, values, states)
    graph = _finish(tracer, states, model, values, slots, counters, given, clip)
    graph.slot_next = [
        quantized(tracer, after, slot.quant) if slot.quant else tracer.halved(after) if slot.half else tracer.plain(after)
        for slot, after in zip(slots, graph.slot_next, strict=True)
    ]
    for slot, after in zip(slots, graph.slot_next, strict=True):
        if slot.shape != after.shape and not isinstance(after.op, ir.Fill):  # it would be kept where nothing else looks for it
            raise ModelError(
                "A state's new value lies otherwise than the old one.", where=slot.op.label, hint="run it with `--engine ort`"
            )
    return graph


def _as_kept(tracer: Tracer, nodes: Sequence[Node], values: dict[str, Value], states: Sequence[StateSpec]) -> None:
    """New states as pictures where the old ones are, as vectors where those are: an operator may leave single values of one."""
    made_by = {name: node for node in nodes for name in node.outputs}
    for spec in states:
        name = spec.output if spec.output in values else str(spec.copy_of)
        value, space = values[name], _split_space(spec.shape)[1]
        if isinstance(value, Planes) and value.shape == spec.shape and (value.merged or value.space != space):
            values[name] = gathered(tracer, cells_of(made_by[name], value), pictures=space is not None)


def _given(tracer: Tracer, name: str, shape: tuple[int, ...], start: int, clip: bool) -> Planes:
    """An input: pictures (N, C, H, W), a clip (1, C, T, H, W), or arrays (N, ...). start: of its floats among all inputs'."""
    if clip:
        _, channels, count, height, width = shape
        frames = np.empty((1, count), object)
        for i in range(count):
            op = ir.Input(-1, name, start + i * height * width, count * height * width)
            frames[0, i] = tracer.add(op, (channels, height, width))
        return stack(frames, (height, width))
    outer, space = _split_space(shape)
    size = space or (1, 1)
    floats = prod(shape[1:])
    made = [tracer.add(ir.Input(-1, name, start + i * floats, prod(size)), (prod(outer[1:]), *size)) for i in range(outer[0])]
    return Planes(np.stack([frame.planes() for frame in made]).reshape(outer), space)


def _finish(
    tracer: Tracer, states: Sequence[StateSpec], model: onnx.ModelProto, values: dict[str, Value], slots: list[Frame],
    counters: list[str], given: list[tuple[str, tuple[int, ...]]], clip: bool,
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
    names = _answers(model, {spec.output for spec in states})
    found = [_answer(tracer, name, values.get(name)) for name in names]
    return ir.Graph(
        tracer.ops, tracer.made, tracer.frames, slots, slot_next, counters, counter_next, tracer.tables,
        [frame for frames, _ in found for frame in frames], tuple(given), clip,
        tuple((name, shape) for name, (_, shape) in zip(names, found, strict=True)),
    )  # fmt: skip


def _answers(model: onnx.ModelProto, states: set[str]) -> list[str]:
    """The main output, then those beside it that the metadata names."""
    told = metadata_of(model, "model")
    outputs = [o.name for o in model.graph.output if o.name not in states]
    others = [spec.name for spec in told.outputs] if told is not None else []
    main = "logits" if "logits" in outputs else _only([name for name in outputs if name not in others], "output", "model")
    return [main, *others]


def _answer(tracer: Tracer, name: str, value: Value | None) -> tuple[list[Frame], tuple[int, ...]]:
    """(frames that hold an output's values one after another, its shape)."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.size:  # it does not depend on the frames
        row = tracer.constant(value.reshape(-1, 1, 1))
        return [tracer.plain(row)], value.shape
    if not isinstance(value, Planes) or not prod(value.shape):
        got = getattr(value, "shape", "an output that is not computed")
        raise ModelError("The network's output is not made of frames.", where=name, got=got, hint="run it with `--engine ort`")
    shape = value.shape
    if value.space not in (None, (1, 1)):  # an answer that is a picture
        value = flattened(tracer, value, (1, prod(shape)))
    rows = value.array.reshape(-1, (1, *value.array.shape)[-1])
    return [tracer.plain(tracer.frame(row, None)) for row in rows], shape


def _only(names: list[str], what: str, where: object) -> str:
    if len(names) != 1:
        raise ModelError(
            f"A compiled model has one {what} beside its states.", where=where, got=", ".join(names) or "none",
            hint="run this model with `--engine ort`",
        )  # fmt: skip
    return names[0]


def _nodes(graph: onnx.GraphProto, constants: dict[str, np.ndarray]) -> list[Node]:
    nodes = []
    for i, proto in enumerate(graph.node):
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        if proto.op_type == "Constant" and "value" in attrs:
            constants[proto.output[0]] = numpy_helper.to_array(attrs["value"])
            continue
        name = proto.name or f"{proto.op_type}_{i}"
        place, label = f"{i + 1} of {len(graph.node)}", proto.output[0] if proto.output else name
        op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
        nodes.append(Node(op, name, tuple(proto.input), tuple(proto.output), attrs, place, label))
    return nodes


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
    if not dims or not all(isinstance(d, int) and d > 0 for d in dims) or (len(dims) == 5 and dims[0] != 1):
        raise ModelError("The model's input is not a sequence of frames.", where=f"{where}, input {value.name}", got=shown,
                         expected="(N, C, H, W), or (1, C, T, H, W) of a clip network")  # fmt: skip
    return tuple(int(d) for d in dims)
