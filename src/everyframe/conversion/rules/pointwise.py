"""Element-wise operators: a frame of the output needs the same frame of every input, so earlier inputs wait for the latest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.modelfile.graph import Node


def _never(node: Node, facts: Facts) -> bool:
    return False


def _always(node: Node, facts: Facts) -> bool:
    return True


def _all_inputs(node: Node, facts: Facts) -> bool:
    return all(_input_nonneg(name, facts) for name in filter(None, node.inputs))


def _first_input(node: Node, facts: Facts) -> bool:
    return _input_nonneg(node.inputs[0], facts)


def _any_input(node: Node, facts: Facts) -> bool:
    return any(_input_nonneg(name, facts) for name in filter(None, node.inputs))


def _clip(node: Node, facts: Facts) -> bool:
    low = facts.graph.constant(node.input(1)) if node.input(1) else node.attr("min")
    return low is not None and float(np.asarray(low).reshape(-1)[0]) >= 0


def _input_nonneg(name: str, facts: Facts) -> bool:
    fact = facts.get(name)
    if fact is not None:
        return fact.nonneg
    array = facts.graph.constant(name)
    return array is not None and bool((array >= 0).all())


# operator -> is its output known to hold no negative value? (max pools over such wires can be padded with 0)
NONNEGATIVE: dict[str, Callable[[Node, Facts], bool]] = {
    "Relu": _always, "Sigmoid": _always, "HardSigmoid": _always, "Exp": _always, "Abs": _always, "Softplus": _always,
    "Sqrt": _always, "Clip": _clip,
    "Identity": _first_input, "Dropout": _first_input, "Cast": _first_input, "Reciprocal": _first_input, "Floor": _first_input,
    "Add": _all_inputs, "Mul": _all_inputs, "Div": _all_inputs, "Sum": _all_inputs, "Mean": _all_inputs, "Min": _all_inputs,
    "Max": _any_input,
    "Sub": _never, "Pow": _never, "PRelu": _never, "HardSwish": _never, "Swish": _never, "Tanh": _never, "Elu": _never,
    "Selu": _never, "Celu": _never, "Gelu": _never, "Mish": _never, "LeakyRelu": _never, "Erf": _never, "Neg": _never,
    "Log": _never, "Sin": _never, "Cos": _never, "Softsign": _never, "ThresholdedRelu": _never,
}  # fmt: skip


@register(*NONNEGATIVE)
class Pointwise:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        if node.op == "Cast" and node.attr("to") != 1:
            raise unsupported(
                node,
                "Only float32 can be streamed.",
                got=f"a cast to ONNX type {node.attr('to')}",
                hint="export the network in float32",
            )
        timed = facts.timed(node)
        joined = facts.join(node, timed) if len(timed) > 1 else facts[timed[0]].plain()
        try:
            axes = broadcast([facts[name].axes for name in timed], facts.graph.shapes[node.outputs[0]])
        except ax.AxesError as error:
            raise unsupported(
                node,
                "Time meets another axis in an element-wise operator.",
                got=str(error),
                hint="keep the axes in one order, e.g. (N, C, T, H, W)",
            ) from None
        return Fact(**(joined.__dict__ | {"axes": axes, "nonneg": NONNEGATIVE[node.op](node, facts)}))

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        if node.op in ("Identity", "Dropout", "Cast"):
            step.put(node.outputs[0], step.wire(node.inputs[0]))
            return
        out = step.facts[node.outputs[0]]
        # operators with one data input keep their parameters (Clip's bounds, say) as they are
        many = len(node.inputs) > 1 and node.op != "Clip"
        inputs = [
            step.operand(node, name, out) if many else (step.wire(name) if name in step.facts.table else step.same(name))
            for name in node.inputs
        ]
        step.put(node.outputs[0], step.emit(node.op, inputs, node.label, **node.attrs))


def broadcast(operands: list[ax.Axes], shape: tuple[int, ...]) -> ax.Axes:
    """Axes of the result. Time is where an operand with its own time axis has it. Raises AxesError if two disagree."""
    padded = [((),) * (len(shape) - len(axes)) + axes for axes in operands]
    result: list[ax.Axis] = []
    for i, size in enumerate(shape):
        # the axis of an operand that really has this size, one with batch or time first
        fitting = [axes[i] for axes in padded if ax.shape_of((axes[i],))[0] == size] or [(ax.Atom(size),)]
        result.append(max(fitting, key=lambda axis: (any(a.kind for a in axis) and ax.is_frame_axis(axis), len(axis))))
    times = [i for i, axis in enumerate(result) if any(atom.kind == "T" for atom in axis)]
    long = [i for i in times if any(a.kind == "T" and a.size > 1 for a in result[i])]
    if len(times) > 1:
        keep = long or times[:1]
        if len(keep) > 1:
            raise ax.AxesError(f"time is on axes {keep} of {shape}")
        result = [axis if i in keep else tuple(a for a in axis if a.kind != "T") for i, axis in enumerate(result)]
    return tuple(result)
