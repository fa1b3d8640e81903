"""Branches and loops whose course is known: the branch that is taken, and Loop and Scan written out turn by turn.

What a turn computes of constants alone is computed once, before the first. LSTM, GRU and RNN are the loops that ONNX defines them
as, over frames that are there all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from everyframe.conversion import cells
from everyframe.modelfile.graph import Node
from everyframe.native.ir import Value
from everyframe.native.tracer import Tracer, lowers, unsupported

# T turns of a loop or frames of a sequence, B positions of a batch, I inputs, H hidden values

#: more turns than that are not written out
_TURNS = 4096
Step = Callable[[Tracer, Node, dict[str, Value], int], None]
Course = Callable[["Tracer", Node, dict[str, Value], int, Step], list[Value]]
COURSES: dict[str, Course] = {}


def course(op: str) -> Callable[[Course], Course]:
    """Enters an operator with graphs of its own, which read what is around it."""

    def add(function: Course) -> Course:
        COURSES[op] = function
        return function

    return add


class _Part:
    """A graph of a node's, and what it computes of constants alone."""

    def __init__(
        self, tracer: Tracer, node: Node, graph: onnx.GraphProto, around: dict[str, Value], opset: int, step: Step
    ) -> None:
        self.tracer, self.node, self.opset, self.step, self.runs = tracer, node, opset, step, 0
        prefix = f"{node.outputs[0]}/{graph.name}/"
        self.fixed: dict[str, Value] = {**around}
        self.names = {tensor.name: prefix + tensor.name for tensor in graph.initializer}
        self.fixed |= {prefix + tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input]
        self.outputs = [value.name for value in graph.output]
        self.left: list[onnx.NodeProto] = []
        for proto in graph.node:
            known = all(self._known(name) for name in proto.input) and proto.op_type not in COURSES
            if known:
                self.names |= {name: prefix + name for name in proto.output if name}
                step(tracer, node_of(proto, node, self._name, {}), self.fixed, opset)
            else:
                self.left.append(proto)

    def _known(self, name: str) -> bool:
        if not name or name in self.names:
            return True
        inner = name in self.inputs or any(name in proto.output for proto in self.left)
        return not inner and isinstance(self.fixed.get(name), np.ndarray)

    def _name(self, name: str) -> str:
        return self.names.get(name, name)

    def __call__(self, *given: Value) -> list[Value]:
        """What one turn gives."""
        self.runs += 1
        prefix = f"{self.node.outputs[0]}/{self.runs}/"
        own = {name for proto in self.left for name in proto.output if name} | {*self.inputs}
        names = {**self.names, **{name: prefix + name for name in own}}
        values = {**self.fixed, **{names[name]: value for name, value in zip(self.inputs, given, strict=True)}}
        for proto in self.left:
            self.step(self.tracer, node_of(proto, self.node, lambda name: names.get(name, name), {}), values, self.opset)
        return [values[names.get(name, name)] for name in self.outputs]


def node_of(proto: onnx.NodeProto, like: Node, named: Callable[[str], str], given: dict[str, Any]) -> Node:
    """A node inside another one. named: what its tensors are called here; given: attributes that it may refer to."""
    attributes = {}
    for attribute in proto.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name in given:
                attributes[attribute.name] = given[attribute.ref_attr_name]
        elif attribute.type == onnx.AttributeProto.GRAPH:
            attributes[attribute.name] = renamed(attribute.g, named, given)
        else:
            attributes[attribute.name] = helper.get_attribute_value(attribute)
    inputs, outputs = (tuple(named(name) if name else "" for name in names) for names in (proto.input, proto.output))
    op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    return Node(op, f"{like.name}/{proto.output[0]}", inputs, outputs, attributes, like.place, like.label)


def renamed(graph: onnx.GraphProto, named: Callable[[str], str], given: dict[str, Any]) -> onnx.GraphProto:
    """A graph inside one whose tensors are called otherwise here."""
    made = onnx.GraphProto()
    made.CopyFrom(graph)
    own = {value.name for value in (*made.input, *made.initializer)} | {name for node in made.node for name in node.output}

    def inside(name: str) -> str:
        return name if name in own else named(name)

    for node in made.node:
        node.input[:] = [inside(name) if name else "" for name in node.input]
        for attribute in [a for a in node.attribute if a.ref_attr_name]:
            node.attribute.remove(attribute)
            if attribute.ref_attr_name in given:
                node.attribute.append(helper.make_attribute(attribute.name, given[attribute.ref_attr_name]))
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                attribute.g.CopyFrom(renamed(attribute.g, inside, given))
    return made


def _constant(node: Node, value: Value | None, what: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise unsupported(node, f"{what} is known only at run time.", hint="export the network with a constant in its place")
    return value


@course("If")
def branch(tracer: Tracer, node: Node, values: dict[str, Value], opset: int, step: Step) -> list[Value]:
    taken = _constant(node, values.get(node.inputs[0]), "Which branch is taken")
    graph = node.attrs["then_branch" if taken.all() else "else_branch"]
    return _Part(tracer, node, graph, values, opset, step)()


@course("Loop")
def loop(tracer: Tracer, node: Node, values: dict[str, Value], opset: int, step: Step) -> list[Value]:
    part = _Part(tracer, node, node.attrs["body"], values, opset, step)
    trips = values.get(node.input(0))
    going: Value = values[node.input(1)] if node.input(1) else np.array(True)
    carried: list[Value] = [values[name] for name in node.inputs[2:]]
    most = _TURNS + 1 if trips is None else int(_constant(node, trips, "How often it runs").ravel()[0])
    turns: list[list[Value]] = []
    while len(turns) < most and _constant(node, going, "Whether it goes on").all():
        _count(node, len(turns) + 1)
        going, *made = part(np.array(len(turns), np.int64), going, *carried)
        carried = made[: len(carried)]
        turns.append(made[len(carried) :])
    return [*carried, *(_together(tracer, node, each, 0) for each in zip(*turns, strict=True))]


@course("Scan")
def scan(tracer: Tracer, node: Node, values: dict[str, Value], opset: int, step: Step) -> list[Value]:
    if opset < 9:
        raise unsupported(node, "Before opset 9 it goes over a batch of sequences.", hint="export the network with a newer opset")
    part = _Part(tracer, node, node.attrs["body"], values, opset, step)
    count = node.attrs["num_scan_inputs"]
    given: list[Value] = [values[name] for name in node.inputs]
    carried, scanned = given[:-count], given[-count:]
    axes = list(node.attr("scan_input_axes") or [0] * count)
    backward = list(node.attr("scan_input_directions") or [0] * count)
    length = scanned[0].shape[axes[0]]
    _count(node, length)
    turns: list[list[Value]] = []
    for t in range(length):
        picked = [
            tracer.emit("Gather", value, np.array(length - 1 - t if turned else t), axis=axis)
            for value, axis, turned in zip(scanned, axes, backward, strict=True)
        ]
        made = part(*carried, *picked)
        carried = made[: len(carried)]
        turns.append(made[len(carried) :])
    sequences = [list(each) for each in zip(*turns, strict=True)]
    axes = list(node.attr("scan_output_axes") or [0] * len(sequences))
    backward = list(node.attr("scan_output_directions") or [0] * len(sequences))
    return [
        *carried,
        *(_together(tracer, node, each[::-1] if turned else each, axis)
          for each, axis, turned in zip(sequences, axes, backward, strict=True)),
    ]  # fmt: skip


def _count(node: Node, turns: int) -> None:
    if turns > _TURNS:
        raise unsupported(node, "A loop of so many turns is not written out.", expected=f"at most {_TURNS}", got=turns)


def _together(tracer: Tracer, node: Node, parts: Iterable[Value], axis: int) -> Value:
    """The values of all turns on a new axis."""
    parts = list(parts)
    axis %= len(parts[0].shape) + 1
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.stack(parts, axis)  # type: ignore[arg-type]
    return tracer.emit("Concat", *(tracer.emit("Unsqueeze", part, np.array([axis])) for part in parts), axis=axis)


# -- recurrent layers -------------------------------------------------------------------------------------------------------

_READS = "activation_alpha activation_beta activations clip direction hidden_size layout"


@lowers("LSTM", reads=f"{_READS} input_forget")
@lowers("GRU", reads=f"{_READS} linear_before_reset")
@lowers("RNN", reads=_READS)
def recurrent(tracer: Tracer, node: Node, values: list) -> Value:
    """Each direction as a Scan over the frames; the second one goes backward, within each position's length."""
    inputs: list[Any] = [*values, *[None] * (8 - len(values))]
    x, w, r, b, lengths, *first = inputs
    states = cells.STATES[node.op]
    peep, first = (first[2] if node.op == "LSTM" else None), first[: len(states)]
    if not all(each is None or isinstance(each, np.ndarray) for each in (w, r, b, peep, lengths)):
        raise unsupported(node, "Its weights or lengths are known only at run time.")
    activations = cells.activations(node.op, {**node.attrs, "activations": node.attr("activations") or []})
    by_batch, direction = node.attr("layout", 0), node.attr("direction", b"forward").decode()
    if by_batch:
        x = tracer.emit("Transpose", x, perm=[1, 0, 2])
        first = [None if one is None else tracer.emit("Transpose", one, perm=[1, 0, 2]) for one in first]
    frames, positions, width = x.shape
    hidden = r.shape[-1]
    whole = np.full(positions, frames) if lengths is None else np.asarray(lengths)
    if activations is None or whole.max(initial=0) > frames:
        raise unsupported(node, "One of its activations is not known, or a length is beyond the sequence.",
                          got=node.attr("activations"))  # fmt: skip
    made = []
    for d, backward in enumerate([direction == "reverse"] if direction != "bidirectional" else [False, True]):
        arrays = [None if array is None else array[d] for array in (w, r, b, peep)]
        start = [
            np.zeros((positions, hidden), np.float32) if one is None else tracer.emit("Gather", one, np.array(d), axis=0)
            for one in first
        ]
        attrs = _of_direction(node, d, len(w))
        body = cells.cell(node.op, f"{node.outputs[0]}/{d}", attrs, (positions, width), *arrays)
        made.append(_sequence(tracer, x, body, start, whole, backward))
    sequences = tracer.emit("Concat", *(tracer.emit("Unsqueeze", y, np.array([1])) for y, _ in made), axis=1)
    last = [
        tracer.emit("Concat", *(tracer.emit("Unsqueeze", ends[i], np.array([0])) for _, ends in made), axis=0)
        for i in range(len(states))
    ]  # (D, B, H)
    if by_batch:
        sequences = tracer.emit("Transpose", sequences, perm=[2, 0, 1, 3])
        last = [tracer.emit("Transpose", each, perm=[1, 0, 2]) for each in last]
    return [sequences, *last]  # type: ignore[return-value]


def _of_direction(node: Node, d: int, directions: int) -> dict[str, Any]:
    """The attributes of one direction: its share of the activations and of their parameters."""
    attrs = dict(node.attrs)
    for name in ("activations", "activation_alpha", "activation_beta"):
        if given := list(attrs.pop(name, ())):
            share = len(given) // directions
            attrs[name] = given[d * share : (d + 1) * share]
    return attrs


def _sequence(
    tracer: Tracer, x: Value, body: onnx.GraphProto, start: Sequence[Value], lengths: np.ndarray, backward: bool
) -> tuple[Value, list[Value]]:
    """(the states of all frames (T, B, H), those behind each position's last frame)."""
    frames = x.shape[0]
    turned = {"batch_axis": 1, "time_axis": 0}
    short = bool((lengths != frames).any())
    if backward:
        x = tracer.emit("ReverseSequence", x, lengths.astype(np.int64), **turned)
    count = len(start)
    made = tracer.emit_all("Scan", [*start, x], 2 * count, body=body, num_scan_inputs=1)
    sequences = [tracer.emit("Squeeze", each, np.array([1])) for each in made[count:]]  # each turn gives (1, B, H)
    ends = list(made[:count])
    if short:
        at = np.maximum(lengths - 1, 0).reshape(1, -1, 1) + np.zeros((1, *start[0].shape), np.int64)
        ends = [tracer.emit("Squeeze", tracer.emit("GatherElements", each, at, axis=0), np.array([0])) for each in sequences]
    y = sequences[0]
    if backward:
        y = tracer.emit("ReverseSequence", y, lengths.astype(np.int64), **turned)
    if short:
        inside = np.arange(frames).reshape(-1, 1, 1) < lengths.reshape(1, -1, 1)
        y = tracer.emit("Where", inside, y, np.zeros((1, 1, 1), np.float32))
    return y, ends
