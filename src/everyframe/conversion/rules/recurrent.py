"""Scan over time: what is in its body is written once for each frame of a step, and its states are carried.

LSTM, GRU, RNN, Loop and unrolled cells are brought into this form before (`natural`), so that one rule serves all of them.
"""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.modelfile.graph import Node


def _constants(node: Node, facts: Facts, otherwise: str) -> str:
    """What to do where something has to be constant: inputs without frames can be bound."""
    given = [n for n in facts.graph.inputs if facts[n].static and any(r.name == node.name for r in facts.graph.downstream(n))]
    return " ".join(f"--bind {name}=0 (or a .npy file)" for name in given) if given else otherwise


_TRAIN = "train it in one direction: what comes later is not known in a stream"


@register("LSTM", "GRU", "RNN")
class Recurrent:
    """Only those that `natural` could not bring into the form of a Scan."""

    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        direction = bytes(node.attr("direction", b"forward")).decode()
        if direction != "forward":
            raise unsupported(node, f"A {direction} {node.op} reads the clip from its end.", got=direction, hint=_TRAIN)
        raise unsupported(
            node,
            f"The weights, the first state or the lengths of this {node.op} are computed at run time, or it has an activation "
            "that is not known.",
            hint=_constants(node, facts, "export it with constant weights and constant first states"),
        )

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        """Never reached: there is no fact."""


@register("Scan")
class Scan:
    @staticmethod
    def fact(node: Node, facts: Facts) -> tuple[Fact, ...]:
        body, states, read = _parts(node)
        axes_in = _list(node, "scan_input_axes", len(read))
        axes_out = _list(node, "scan_output_axes", len(body.output) - len(states))
        if any(_list(node, "scan_input_directions", len(read)) + _list(node, "scan_output_directions", len(axes_out))):
            raise unsupported(node, "A loop runs backwards over the clip.", hint=_TRAIN)
        for name, axis in zip(read, axes_in, strict=True):
            fact = facts.get(name)
            if fact is None or fact.static or not ax.is_time_axis(fact.axes[axis % len(fact.axes)]):
                raise unsupported(
                    node, "A loop runs over something that is not time.", got=f"axis {axis} of {name!r}",
                    hint="let it run over the frames only; write other loops out",
                )  # fmt: skip
        captured = _captured(body) & set(facts.table)
        if captured or any(facts.graph.constant(name) is None for name in states):
            raise unsupported(
                node, "A loop over time reads something else that depends on the clip.",
                got=", ".join(sorted(captured)) or "its first state",
                hint=_constants(node, facts, "give it constants and the frame only"),
            )  # fmt: skip
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for n in body.node for a in n.attribute):
            raise unsupported(node, "There is control flow inside a loop.", hint="export it with constant control flow")
        source = (facts.join(node, list(read)) if len(read) > 1 else facts[read[0]]).plain(nonneg=False)
        left = source.left + (source.frames - 1) * source.spacing  # of the clip; then it goes on
        source = source.plain(early=0, left=left, unbounded=True)
        made = [source] * len(states)
        for name, axis in zip(node.outputs[len(states) :], axes_out, strict=True):
            shape = facts.graph.shapes[name] if name else ()
            made.append(source.plain(axes=_out_axes(facts[read[0]].axes, axes_in[0], shape, axis) if name else source.axes))
        return tuple(made)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        facts = step.facts
        body, states, read = _parts(node)
        outs = node.outputs[len(states) :]
        fact = facts[next(name for name in outs if name)]
        wires = [step.delayed(node, name, fact.lag - facts[name].lag) for name in read]
        m = step.m(fact)

        def cell(q: int, before: list[str]) -> tuple[list[str], list[str]]:
            frames = []
            for i, (name, tensor) in enumerate(zip(read, wires, strict=True)):
                shape = list(facts[name].clip_shape)
                del shape[_list(node, "scan_input_axes", len(read))[i] % len(shape)]
                frames.append(step.emit("Reshape", [step.frame(tensor, q, m), step.ints(shape)], f"{node.label}::frame"))
            made = _inline(node, step, body, [*before, *frames])
            return made[: len(states)], made[len(states) :]

        given = step.carry(node, fact, [step.weight(name) for name in states], cell)
        for i, name in enumerate(outs):
            if name:
                shape = step.ints([1, *ax.step_shape(facts[name].axes)])
                parts = [step.emit("Reshape", [made[i], shape], f"{node.label}::given") for made in given]
                step.put(name, step.emit("Concat", parts, f"{node.label}::frames", axis=0) if m > 1 else parts[0])


def _parts(node: Node) -> tuple[onnx.GraphProto, tuple[str, ...], tuple[str, ...]]:
    """(body, first states, what is scanned)."""
    states = len(node.inputs) - node.attr("num_scan_inputs")
    return node.attr("body"), node.inputs[:states], node.inputs[states:]


def _list(node: Node, key: str, count: int) -> list[int]:
    return list(node.attr(key) or [0] * count)


def _captured(body: onnx.GraphProto) -> set[str]:
    """Names that the body takes from around it."""
    own = {v.name for v in body.input} | {t.name for t in body.initializer} | {name for n in body.node for name in n.output}
    return {name for n in body.node for name in n.input} - own


def _out_axes(source: ax.Axes, scanned: int, shape: tuple[int, ...], axis: int) -> ax.Axes:
    """Axes of what a loop gives: time where it stacks it, the batch as far from the end as it was, or from the beginning where
    a frame has lost axes behind it (a picture that became a vector)."""
    rest = [a for i, a in enumerate(source) if i != scanned % len(source)]
    sizes = [size for i, size in enumerate(shape) if i != axis % len(shape)]
    made: list[ax.Axis] = [(ax.Atom(size),) for size in sizes]
    for i, old in enumerate(rest):
        if any(a.kind for a in old):
            places = (len(made) - len(rest) + i, i)
            fits = [at for at in places if 0 <= at < len(made) and ax.shape_of((old,))[0] == sizes[at]]
            if fits:
                made[fits[0]] = old
    made.insert(axis % len(shape), source[scanned])
    return tuple(made)


#: operators that took their axes as an attribute in older opsets
_AXES_MOVED = ("Squeeze", "Unsqueeze", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")


def _inline(node: Node, step: Builder, body: onnx.GraphProto, inputs: list[str]) -> list[str]:
    """The body's nodes, of whatever opset, as nodes of the step network; returns its outputs."""
    names: dict[str, str] = dict(zip((v.name for v in body.input), inputs, strict=True)) | {"": ""}
    arrays = {t.name: numpy_helper.to_array(t) for t in body.initializer}

    def known(name: str) -> str:
        if name in names:
            return names[name]
        array = arrays.get(name)
        return step.same(name) if array is None else step.inner(node, name, array)

    for proto in body.node:
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        if proto.op_type == "Constant" and "value" in attrs:
            arrays[proto.output[0]] = numpy_helper.to_array(attrs["value"])
            continue
        given = [known(name) for name in proto.input]
        if proto.op_type in _AXES_MOVED and "axes" in attrs:
            given.append(step.ints(list(attrs.pop("axes"))))
        if proto.op_type == "Split" and "split" in attrs:
            given.append(step.ints(list(attrs.pop("split"))))
        elif proto.op_type == "Split" and len(given) < 2:
            attrs["num_outputs"] = len(proto.output)
        label = f"{node.label}::{proto.name or proto.op_type.lower()}"
        made = step.emit(proto.op_type, given, label, outputs=len(proto.output), **attrs)
        names |= zip(proto.output, [made] if isinstance(made, str) else made, strict=True)
    return [known(value.name) for value in body.output]
