"""Element-wise operators: a frame of the output needs the same frame of every input, so earlier inputs wait for the latest."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from onnx import TensorProto

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.counting import numbers
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


def _branches(node: Node, facts: Facts) -> bool:
    return all(_input_nonneg(name, facts) for name in node.inputs[1:])


def _input_nonneg(name: str, facts: Facts) -> bool:
    fact = facts.get(name)
    if fact is not None:
        return fact.nonneg
    array = facts.graph.constant(name)
    return array is not None and array.dtype.kind in "fiu" and bool((array >= 0).all())


# operator -> is its output known to hold no negative value? (max pools over such wires can be padded with 0)
NONNEGATIVE: dict[str, Callable[[Node, Facts], bool]] = {
    "Relu": _always, "Sigmoid": _always, "HardSigmoid": _always, "Exp": _always, "Abs": _always, "Softplus": _always,
    "Sqrt": _always, "Clip": _clip,
    "Identity": _first_input, "Dropout": _first_input, "Cast": _first_input, "Reciprocal": _first_input, "Floor": _first_input,
    "Add": _all_inputs, "Mul": _all_inputs, "Div": _all_inputs, "Sum": _all_inputs, "Mean": _all_inputs, "Min": _all_inputs,
    "Max": _any_input,
    "Sub": _never, "Pow": _never, "PRelu": _never, "HardSwish": _never, "Swish": _never, "Tanh": _never, "Elu": _never,
    "Selu": _never, "Celu": _never, "Gelu": _never, "Mish": _never, "LeakyRelu": _never, "Erf": _never, "Neg": _never,
    "Log": _never, "Softsign": _never, "ThresholdedRelu": _never, "Sign": _first_input, "Round": _first_input,
    "Ceil": _first_input, "Mod": _never, "Where": _branches,
    **dict.fromkeys(("Sin", "Cos", "Tan", "Asin", "Acos", "Sinh", "Acosh", "Shrink"), _never), "Cosh": _always,
    **dict.fromkeys(("Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "Xor"), _always),
    **dict.fromkeys(("IsNaN", "IsInf"), _always),
}  # fmt: skip


#: what values are not computed in: states are float32
_OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


@register(*(NONNEGATIVE.keys() - {"Identity"}))  # that may stand for all frames (`whole`)
class Pointwise:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        if node.op == "Cast" and node.attr("to") in _OTHER_FLOATS:
            raise unsupported(
                node,
                "Only float32 can be streamed.",
                got=f"a cast to ONNX type {node.attr('to')}",
                hint="export the network in float32",
            )
        timed = facts.timed(node)
        joined = facts.join(node, timed) if len(timed) > 1 else facts[timed[0]].plain()
        axes = _broadcast(node, [facts[name].axes for name in timed], facts)
        _check_gates(node, facts, len(axes))
        early = 0 if any(numbers(node.op, facts.graph.constant(name), axes) for name in node.inputs) else joined.early
        return Fact(**(joined.__dict__ | {"axes": axes, "nonneg": NONNEGATIVE[node.op](node, facts), "early": early}))

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        facts, out = step.facts, step.facts[node.outputs[0]]
        types = facts.graph.types
        same = types.get(node.inputs[0]) == types.get(node.outputs[0])
        if node.op in ("Identity", "Dropout") or (node.op == "Cast" and same):
            step.put(node.outputs[0], step.wire(node.inputs[0]))
            return
        if len(node.inputs) == 1 or node.op == "Clip":  # parameters (Clip's bounds, say) stay as they are
            inputs = [step.wire(node.inputs[0]), *_bounds(node, step)]
            attrs = {key: value for key, value in node.attrs.items() if key not in ("min", "max")}
            step.put(node.outputs[0], step.emit(node.op, inputs, node.label, **attrs))
            return
        groups = step.groups(node, out)
        made = step.emit(node.op, [step.operand(node, name, out, groups) for name in node.inputs], node.label, **node.attrs)
        step.put(node.outputs[0], step.regrouped(made, out, groups, node.label))


def _check_gates(node: Node, facts: Facts, rank: int) -> None:
    """Refuses a mean over time whose axis came back somewhere else than in the frames that it meets."""
    places: dict[bool, set[int]] = {True: set(), False: set()}
    for fact in map(facts.get, facts.timed(node)):
        if fact is not None and (time := ax.time_axis(fact.axes)) is not None:
            places[fact.gate].add(time + rank - len(fact.axes))
    if places[False] and places[True] - places[False]:
        raise unsupported(
            node, "A mean over time meets frames whose time lies on another axis.",
            got=f"axis {min(places[True])} and axis {min(places[False])}",
            hint="keep the mean's axis where it was: mean(axis, keepdim=True)",
        )  # fmt: skip


def _bounds(node: Node, step: Builder) -> list[str]:
    """The bounds of a Clip, which were attributes before opset 11."""
    if len(node.inputs) > 1 or node.op != "Clip":
        return [step.same(name) for name in node.inputs[1:]]
    given = (node.attr("min"), node.attr("max"))
    return ["" if value is None else step.scalar(value) for value in given]


@register("Expand")
class Expand:
    """Repeats what a frame has; along time, only a gate, which has a value for each frame."""

    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source = facts.get(node.inputs[0])
        if source is None or facts.graph.constant(node.inputs[1]) is None:
            raise unsupported(node, "How far is expanded is computed at run time.", hint="export with static shapes")
        shape = facts.graph.shapes[node.outputs[0]]
        return source.plain(axes=gate_repeated(source, _broadcast(node, [source.axes], facts), shape), nonneg=source.nonneg)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        out = step.facts[node.outputs[0]]
        groups = step.groups(node, out)
        x = step.operand(node, node.inputs[0], out, groups)
        shape = [1, *(prod(ax.rest(out.axes[i]) for i in group) for group in groups)]
        if prod(shape) != prod(ax.step_shape(step.facts[node.inputs[0]].axes)):
            x = step.emit("Expand", [x, step.ints(shape)], node.label)
        step.put(node.outputs[0], step.regrouped(x, out, groups, node.label))


def _broadcast(node: Node, operands: list[ax.Axes], facts: Facts) -> ax.Axes:
    rank = len(facts.graph.shapes[node.outputs[0]])
    single = {place - len(axes) + rank for axes in operands if (place := ax.time_axis(axes)) is not None and not _long(axes)}
    if len(single) > 1 and not any(map(_long, operands)):
        raise unsupported(
            node,
            "A mean over time meets itself, turned.",
            got=f"its single frame lies on axes {sorted(single)} of {facts.graph.shapes[node.outputs[0]]}",
            hint="compare joints or positions with each other inside each frame, and average what comes of it",
        )
    try:
        return broadcast(operands, facts.graph.shapes[node.outputs[0]])
    except ax.AxesError as error:
        raise unsupported(
            node,
            "Time meets another axis in an element-wise operator.",
            got=str(error),
            hint="keep the axes in one order, e.g. (N, C, T, H, W)",
        ) from None


def _long(axes: ax.Axes) -> bool:
    return any(atom.kind == "T" and atom.size > 1 for axis in axes for atom in axis)


def gate_repeated(source: Fact, axes: ax.Axes, shape: tuple[int, ...]) -> ax.Axes:
    """The axes of a gate that is repeated for all frames: where its time was, it is again. What has no frames at all is only said
    to be repeated.
    """
    if source.static:
        before = ax.shape_of(((),) * (len(shape) - len(source.axes)) + source.axes)
        return tuple((ax.Atom(n, "="),) if was == 1 < n else axis for axis, was, n in zip(axes, before, shape, strict=True))
    time = ax.time_axis(source.axes) if ax.time_axis(source.axes) is not None else source.home
    if not source.gate or time is None or len(source.axes) != len(shape) or shape[time] != source.frames:
        return axes
    return tuple((ax.Atom(shape[i], "T"),) if i == time else axis for i, axis in enumerate(axes))


def broadcast(operands: list[ax.Axes], shape: tuple[int, ...]) -> ax.Axes:
    """Axes of the result. Time is where an operand with its own time axis has it. Raises AxesError if two disagree."""
    padded = [((),) * (len(shape) - len(axes)) + axes for axes in operands]
    result: list[ax.Axis] = []
    for i, size in enumerate(shape):
        # the axis of an operand that really has this size, one with batch or time first
        mixed = {axes[i] for axes in padded if ax.time_is_mixed((axes[i],))}
        if len(mixed | {axes[i] for axes in padded if mixed and ax.shape_of((axes[i],))[0] > 1}) > 1:
            raise ax.AxesError(f"axis {i} of {shape} holds frames together with something else, in another order or only once")
        fitting = [axes[i] for axes in padded if ax.shape_of((axes[i],))[0] == size] or [(ax.Atom(size),)]
        result.append(
            max(fitting, key=lambda axis: (any(a.kind in ("N", "T") for a in axis) * ax.is_frame_axis(axis), len(axis)))
        )
    times = [i for i, axis in enumerate(result) if any(atom.kind == "T" for atom in axis)]
    long = [i for i in times if any(a.kind == "T" and a.size > 1 for a in result[i])]
    if len(times) > 1:
        keep = long or times[:1]
        if len(keep) > 1:
            raise ax.AxesError(f"time is on axes {keep} of {shape}")
        result = [axis if i in keep else tuple(a for a in axis if a.kind != "T") for i, axis in enumerate(result)]
    return tuple(result)
