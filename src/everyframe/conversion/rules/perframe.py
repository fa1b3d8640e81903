"""Operators that work inside a frame: time lies on an axis that they only carry along.

A row says which axes of its first input an operator works on (`touched`), and how its parameters read for frames (`params`).
Where time is none of these axes, the clip's own operator runs on the frames of a step as on a batch (`view`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.conversion.rules.pointwise import gate_repeated
from everyframe.conversion.view import View
from everyframe.modelfile.graph import Node

Params = tuple[list[str], dict[str, Any]]  # inputs behind the first, attributes


@dataclass(frozen=True)
class Row:
    touched: Callable[[Node, Facts], set[int]]
    params: Callable[[Node, Builder, View], Params]


def check_touched(node: Node, fact: Fact, touched: set[int]) -> None:
    """Refuses an operator that works on an axis with several frames."""
    for i in sorted(touched):
        if not fact.gate and any(atom.kind == "T" and atom.size > 1 for atom in fact.axes[i]):
            raise unsupported(
                node,
                f"{node.op} works along time, over all frames of the clip.",
                got=f"axis {i} of {fact.clip_shape}",
                hint="a stream has no whole clip: let it work inside a frame, or use a convolution over time",
            )


def constants(node: Node, facts: Facts) -> None:
    """Refuses parameters that are computed from the clip."""
    for name in node.inputs[1:]:
        if name and facts.graph.constant(name) is None:
            raise unsupported(node, f"Parameter {name!r} of {node.op} is computed at run time.", hint="export with static shapes")


def rank(node: Node, facts: Facts) -> int:
    return len(facts[node.inputs[0]].axes)


def _one(default: int) -> Row:
    """`axis` is the axis that it works on."""

    def touched(node: Node, facts: Facts) -> set[int]:
        return {node.attr("axis", default) % rank(node, facts)}

    def params(node: Node, step: Builder, view: View) -> Params:
        (axis,) = touched(node, step.facts)
        return [step.same(name) for name in node.inputs[1:]], node.attrs | {"axis": view.place(axis)}

    return Row(touched, params)


def _same(node: Node, step: Builder, view: View) -> Params:
    return [step.same(name) for name in node.inputs[1:]], node.attrs


def _from(default: int) -> Row:
    """`axis` is the first of those that it works on, up to the last."""

    def touched(node: Node, facts: Facts) -> set[int]:
        return set(range(node.attr("axis", default) % rank(node, facts), rank(node, facts)))

    def params(node: Node, step: Builder, view: View) -> Params:
        return [step.same(name) for name in node.inputs[1:]], node.attrs | {"axis": view.place(min(touched(node, step.facts)))}

    return Row(touched, params)


def _behind(first: int) -> Row:
    """It works on all axes from `first` on; axis 1 holds the channels."""
    return Row(lambda node, facts: set(range(first, rank(node, facts))), _same)


def _on(*axes: int) -> Row:
    return Row(lambda node, facts: {axis % rank(node, facts) for axis in axes}, _same)


def _mvn_axes(node: Node, facts: Facts) -> set[int]:
    return {axis % rank(node, facts) for axis in node.attr("axes", [0, 2, 3])}


def _mvn(node: Node, step: Builder, view: View) -> Params:
    return [], {"axes": [view.place(axis) for axis in sorted(_mvn_axes(node, step.facts))]}


def _cumsum_axes(node: Node, facts: Facts) -> set[int]:
    found = facts.graph.constant(node.input(1))
    return set() if found is None else {int(found.reshape(-1)[0]) % rank(node, facts)}


def _cumsum(node: Node, step: Builder, view: View) -> Params:
    (axis,) = _cumsum_axes(node, step.facts)
    return [step.const(np.int64(view.place(axis)), f"{node.label}.axis")], node.attrs


def _resized(node: Node, facts: Facts) -> set[int]:
    """Axes of which a Resize makes another size, or samples at other places."""
    scales = _scales(node, facts)
    return {axis for axis, scale in scales.items() if scale != 1}


def _scales(node: Node, facts: Facts) -> dict[int, float]:
    before, after = facts[node.inputs[0]].clip_shape, facts.graph.shapes[node.outputs[0]]
    named = [axis % len(before) for axis in node.attr("axes") or range(len(before))]
    older = node.op == "Upsample" or facts.graph.opset < 11
    found = facts.graph.constant(node.input(1 if older else 2)) if len(node.inputs) > 1 else node.attr("scales")
    if found is not None and np.asarray(found).size:
        return dict(zip(named, (float(scale) for scale in np.asarray(found).reshape(-1)), strict=True))
    return {axis: after[axis] / before[axis] for axis in named}


def _resize(node: Node, step: Builder, view: View) -> Params:
    """A Resize of the touched axes alone; Upsample is what it was called before opset 10."""
    facts = step.facts
    older = node.op == "Upsample" or facts.graph.opset < 11
    axes = sorted(_resized(node, facts))
    attrs = {key: value for key, value in node.attrs.items() if key not in ("axes", "scales")}
    if older:
        attrs |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if attrs.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        raise unsupported(node, "A Resize that crops cannot be streamed.", hint="crop with a slice")
    attrs["axes"] = [view.place(axis) for axis in axes]
    sized = not older and bool(node.input(3))
    shape = facts.graph.shapes[node.outputs[0]]
    if sized:
        given = ["", "", step.ints([shape[axis] for axis in axes])]
    else:
        scales = _scales(node, facts)
        given = ["", step.const(np.array([scales[axis] for axis in axes], np.float32), f"{node.label}.scales")]
    return given, attrs


def _tiled(node: Node, facts: Facts) -> set[int]:
    repeats = facts.graph.constant(node.input(1))
    return {i for i, n in enumerate([] if repeats is None else repeats) if n != 1 and not _is_repeated_gate(node, facts, i)}


def _is_repeated_gate(node: Node, facts: Facts, axis: int) -> bool:
    """A gate has one value for all frames of the clip, and each frame its own in a stream."""
    fact = facts[node.inputs[0]]
    time = ax.time_axis(fact.axes)
    return fact.gate and (axis == (fact.home if time is None else time) or (fact.static and not fact.axes[axis]))


def _tile(node: Node, step: Builder, view: View) -> Params:
    repeats, touched = [int(n) for n in step.weight(node.inputs[1])], _tiled(node, step.facts)
    return [step.ints([1, *(repeats[axis] if axis in touched else 1 for axis in view.kept)])], {}


_CHANNELS = _on(1)  # one parameter a channel: nothing else is looked at
ROWS: dict[str, Row] = {
    "LpNormalization": _one(2), "ArgMax": _one(0), "ArgMin": _one(0), "TopK": _one(-1),
    "LayerNormalization": _from(-1), "RMSNormalization": _from(-1),
    "BatchNormalization": _CHANNELS, "LRN": _CHANNELS, "InstanceNormalization": _behind(1), "GroupNormalization": _behind(1),
    "GlobalLpPool": _behind(2), "DepthToSpace": _behind(1), "SpaceToDepth": _behind(1), "Trilu": _on(-1, -2),
    "MeanVarianceNormalization": Row(_mvn_axes, _mvn), "CumSum": Row(_cumsum_axes, _cumsum),
    "Resize": Row(_resized, _resize), "Upsample": Row(_resized, _resize), "Tile": Row(_tiled, _tile),
}  # fmt: skip
#: operators for which axis 1 holds the channels, whatever else they look at
_WITH_CHANNELS = frozenset(name for name, row in ROWS.items() if row.params is _same and name != "Trilu")
_RENAMED = {"Upsample": "Resize"}


@register(*(ROWS.keys() - {"CumSum", "Resize", "Upsample"}))  # these may run along time (`either`)
class PerFrame:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact | tuple[Fact, ...]:
        source, row = facts.get(node.inputs[0]), ROWS[node.op]
        if source is None:
            raise unsupported(node, f"Parameters of {node.op} depend on the clip.", hint="only constant ones can be streamed")
        constants(node, facts)
        check_touched(node, source, row.touched(node, facts))
        if node.op in _WITH_CHANNELS and (len(source.axes) < 2 or ax.is_frame_axis(source.axes[1])):
            raise unsupported(
                node, f"{node.op} needs channels on axis 1.", got=f"shape {source.clip_shape}",
                hint="keep the order (N, C, T, H, W)",
            )  # fmt: skip
        made = tuple(source.plain(axes=_axes(node, facts, source, name), nonneg=False) for name in node.outputs if name)
        return made if len(made) > 1 else made[0]

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        source, row = step.facts[node.inputs[0]], ROWS[node.op]
        touched = row.touched(node, step.facts)
        if not touched:  # a Resize to the same size
            step.put(node.outputs[0], step.wire(node.inputs[0]))
            return
        view = View(source.axes, apart=0 in touched)
        inputs, attrs = row.params(node, step, view)
        if node.op == "BatchNormalization":
            attrs = {key: value for key, value in attrs.items() if key == "epsilon"}
        x = step.enter(view, step.wire(node.inputs[0]), node.label)
        given = [x, *inputs]
        made = step.emit(_RENAMED.get(node.op, node.op), given, node.label, outputs=len(node.outputs), **attrs)
        for output, tensor in zip(node.outputs, [made] if isinstance(made, str) else made, strict=True):
            if output:
                after = View(step.facts[output].axes, apart=view.apart)
                if len(after.sizes) != len(view.sizes) and node.op == "Tile":  # a gate that had lost its time has it again
                    shape = step.ints([-1, *ax.step_shape(after.axes)])
                    tensor = step.emit("Reshape", [tensor, shape], f"{node.label}::leave")
                else:
                    tensor = step.leave(after, tensor, node.label)
                step.put(output, tensor)


def _axes(node: Node, facts: Facts, source: Fact, output: str) -> ax.Axes:
    """Axes of an output: those that are touched are new where their size is."""
    shape, touched = facts.graph.shapes[output], ROWS[node.op].touched(node, facts)
    if len(shape) < len(source.axes):  # an ArgMax without keepdims
        return ax.without(source.axes, touched)
    kept = enumerate(zip(source.axes, shape, strict=True))
    axes = tuple(ax.changed(axis, size) if i in touched else axis for i, (axis, size) in kept)
    return gate_repeated(source, axes, shape) if node.op == "Tile" else axes
