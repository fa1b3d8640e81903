"""ONNX -> `Network`: every node is evaluated on references instead of numbers (see `ir`).

A table maps each ONNX operator to a function that takes the tracer, the node and its input values and returns the output's
value. What is not in the table, or cannot be expressed with frames, raises UnsupportedOperator before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx.reference
from onnx import TensorProto, numpy_helper

from everyframe.errors import EveryframeError, ModelError, UnsupportedOperator
from everyframe.modelfile.graph import Node
from everyframe.modelfile.schema import StateSpec
from everyframe.native import ir
from everyframe.native.ir import Frame, Op, Planes, Scalars, Value

Lower = Callable[["Tracer", Node, list], Value]
LOWER: dict[str, Lower] = {}
#: operators that take pictures whose height and width are one axis
_TAKE_MERGED = ("Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Flatten")
#: int and bool states hold this many values at most
_SMALL = 64


def lowers(*ops: str) -> Callable[[Lower], Lower]:
    def add(function: Lower) -> Lower:
        for op in ops:
            if op in LOWER:
                raise ValueError(f"{op} is lowered twice")
            LOWER[op] = function
        return function

    return add


def unsupported(node: Node, what: str, *, got: object = None, hint: str | None = None) -> UnsupportedOperator:
    return UnsupportedOperator(
        what, where=f"node {node.place}, {node.op} {node.name!r}", got=got, hint=hint or "run this model with `--engine ort`"
    )


@contextmanager
def _following(node: Node) -> Iterator[None]:
    """What numpy and onnx raise about shapes that do not fit becomes an error of ours."""
    try:
        yield
    except EveryframeError:
        raise
    except Exception as error:
        got = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
        raise unsupported(node, f"This use of {node.op} cannot be followed.", got=got, hint="export the network again") from error


class Tracer:
    """Makes frames and operators; remembers which frame each makes."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.frames: dict[int, Frame] = {}
        self.made: dict[int, Frame] = {}
        self.tables: list[np.ndarray] = []
        self.levels: dict[str, ir.Levels] = {}  # tensors that are constants, dequantized
        self.exact: dict[str, np.ndarray] = {}  # the same of one axis, their values as float64
        self.node: Node | None = None
        self.order = 0
        self._known: dict[tuple, Frame] = {}

    def add(self, op: Op, shape: tuple[int, int, int], quant: ir.Quant | None = None) -> Frame:
        """The frame that `op` makes."""
        frame = Frame(len(self.frames), *shape, op, op.label, quant or ir.carried_quant(op))
        self.frames[frame.number] = frame
        self.ops.append(op)
        self.made[id(op)] = frame
        return frame

    def place(self) -> tuple[int, str]:
        """Order and label for a new operator."""
        return self.order, self.node.label if self.node else ""

    def once(self, key: tuple, make: Callable[[], Frame]) -> Frame:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def fill(self, value: float, shape: tuple[int, int, int]) -> Frame:
        return self.once(("fill", float(value), shape), lambda: self.add(ir.Fill(*self.place(), float(value)), shape))

    def constant(self, data: np.ndarray) -> Frame:
        data = np.ascontiguousarray(data, np.float32)
        key = ("constant", data.shape, data.tobytes())
        return self.once(key, lambda: self.add(ir.Constant(*self.place(), data), data.shape))

    def of(self, plane: int) -> Frame:
        return self.frames[ir.split_plane(plane)[0]]

    def plain(self, frame: Frame) -> Frame:
        """The same values as float32."""
        if frame.quant is None:
            return frame
        copy: list[ir.Step] = [("keep", (("in", 0),))]
        return self.once(("plain", frame.number), lambda: self.add(ir.Map(*self.place(), [frame], copy), frame.shape))

    def alike(self, frames: Sequence[Frame]) -> list[Frame]:
        """The frames, as float32 unless all are quantized alike."""
        fills = any(isinstance(frame.op, ir.Fill) for frame in frames)
        return list(frames) if ir.common_quant(frames) and not fills else [self.plain(frame) for frame in frames]

    def used(self, planes: np.ndarray) -> dict[int, Frame]:
        return {n: self.frames[n] for n in ir.frame_numbers(planes)}

    def frame(self, row: np.ndarray, space: tuple[int, int] | None) -> Frame:
        """The frame that holds exactly these planes, copied together if there is none yet. row: (C,) references."""
        first = self.of(row[0])
        if first.channels == len(row) and np.array_equal(first.planes(), row):
            return first
        shape = (len(row), *(space or (1, 1)))
        if all(isinstance(self.of(p).op, ir.Fill) for p in row):
            values = {self.of(p).op.value for p in row}  # type: ignore[attr-defined]
            if len(values) == 1:
                return self.fill(values.pop(), shape)
        used = list(self.used(row).values())
        planes = ir.retarget(row, {old.number: new for old, new in zip(used, self.alike(used), strict=True)})
        return self.once(
            ("gather", planes.tobytes()), lambda: self.add(ir.Gather(*self.place(), planes, self.used(planes)), shape)
        )

    def select(self, condition: str, yes: Frame, no: Frame) -> Frame:
        if not ir.common_quant((yes, no)):
            yes, no = self.plain(yes), self.plain(no)
        key = ("select", condition, yes.number, no.number)
        return self.once(key, lambda: self.add(ir.Select(*self.place(), condition, yes, no), yes.shape))

    def table(self, values: np.ndarray) -> int:
        """Number of a constant float table that expressions may index."""
        values = np.ascontiguousarray(values, np.float32)
        for i, known in enumerate(self.tables):
            if known.shape == values.shape and np.array_equal(known, values):
                return i
        self.tables.append(values)
        return len(self.tables) - 1


def rows(planes: Planes, axis: int = 1) -> np.ndarray:
    """The references with axis `axis` (the channels) last: (..., C)."""
    return np.moveaxis(planes.array, axis, -1)


def stack(made: np.ndarray, space: tuple[int, int] | None, axis: int = 1) -> Planes:
    """Frames in an object array (...) -> their planes with the channels on `axis`."""
    flat = np.stack([frame.planes() for frame in made.ravel()])
    return Planes(np.moveaxis(flat.reshape(*made.shape, -1), -1, axis), space)


def trace(model: onnx.ModelProto, states: Sequence[StateSpec] = (), where: object = "model") -> ir.Network:
    """`model` takes frames (N, C, H, W) and the states, or a clip (1, C, T, H, W); it must be folded.

    A state that is read only to be quantized is kept quantized: that is known after a first pass.
    Raises ModelError for open shapes, UnsupportedOperator for what has no form in frames.
    """
    from everyframe.native.lower_quantized import state_quants

    network = _traced(model, states, where, {})
    quants = state_quants(network)
    return _traced(model, states, where, quants) if quants else network


def _traced(model: onnx.ModelProto, states: Sequence[StateSpec], where: object, quants: dict[int, ir.Quant]) -> ir.Network:
    """quants: of states, by their slot."""
    from everyframe.native import lower_compute, lower_elementwise, lower_structure  # noqa: F401  (they fill the table)
    from everyframe.native.lower_quantized import check_integers, levels, quantized

    graph, tracer = model.graph, Tracer()
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = _nodes(graph, constants)
    _check_operators(nodes)
    check_integers(nodes)
    values: dict[str, Value] = dict(constants)
    inputs = {value.name: value for value in graph.input if value.name not in constants}
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
            with _following(node):
                values[node.outputs[0]] = _constant(node, given, model)
            if node.op == "DequantizeLinear" and (found := levels(node, given)):
                tracer.levels[node.outputs[0]] = found
            elif node.op == "DequantizeLinear" and len(values[node.outputs[0]].shape) <= 1:
                tracer.exact[node.outputs[0]] = _wide(*given)
            continue
        if node.op not in _TAKE_MERGED and any(isinstance(value, Planes) and value.merged for value in given):
            raise unsupported(node, "Height and width are one axis here; only reshapes and transposes know that.")
        with _following(node):
            result = LOWER[node.op](tracer, node, given)
        for name, value in zip(node.outputs, result if isinstance(result, list) else [result], strict=False):
            values[name] = value
    tracer.node, tracer.order = None, len(nodes)
    network = _finish(tracer, states, graph, values, slots, counters, frame_shape, count, clip)
    network.slot_next = [
        quantized(tracer, after, slot.quant) if slot.quant else tracer.plain(after)
        for slot, after in zip(slots, network.slot_next, strict=True)
    ]
    return network


def _finish(
    tracer: Tracer, states: Sequence[StateSpec], graph: onnx.GraphProto, values: dict[str, Value], slots: list[Frame],
    counters: list[str], frame_shape: tuple[int, int, int], count: int, clip: bool,
) -> ir.Network:  # fmt: skip
    from everyframe.native.lower_structure import flattened

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
    outputs = [o.name for o in graph.output if o.name not in {spec.output for spec in states}]
    name = "logits" if "logits" in outputs else outputs[0]
    logits = values[name]
    if not isinstance(logits, Planes):
        raise ModelError("The network's output is not made of frames.", where=name, got=type(logits).__name__)
    shape = logits.shape
    if logits.space not in (None, (1, 1)):  # an answer that is a picture
        logits = flattened(tracer, logits, (1, prod(shape)))
    made = [tracer.plain(tracer.frame(row, None)) for row in logits.array.reshape(-1, logits.array.shape[-1])]
    return ir.Network(
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
