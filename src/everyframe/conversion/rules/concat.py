"""Concat: over channels a join of wires; over time only constant frames may be put in front or behind (that is a Pad)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import pad, register
from everyframe.modelfile.graph import Node


@register("Concat")
class Concat:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        timed = facts.timed(node)
        first = facts[timed[0]]
        axis = node.attr("axis") % len(first.axes)
        if ax.is_time_axis(first.axes[axis]):
            left, value = _padding(node, facts)
            axes = ax.with_frames(first.axes, facts.graph.shapes[node.outputs[0]][axis])
            return pad.padded(node, facts, first, left, value, axes)
        joined = facts.join(node, timed)
        size = facts.graph.shapes[node.outputs[0]][axis]
        if ax.step_axis(first.axes, axis) is None:
            raise unsupported(
                node,
                "Concat along an axis that holds time and something else.",
                got=f"shape {first.clip_shape}",
                hint="concatenate over channels",
            )
        if len({ax.time_axis(facts[name].axes) for name in timed}) > 1:
            raise unsupported(
                node,
                "Time lies on different axes of the wires that are joined.",
                got=", ".join(f"{name!r}: axis {ax.time_axis(facts[name].axes)}" for name in timed),
                hint="keep the axes in one order, e.g. (N, C, T, H, W)",
            )
        axes = (*first.axes[:axis], (ax.Atom(size),), *first.axes[axis + 1 :])
        nonneg = len(timed) == len(node.inputs) and all(facts[name].nonneg for name in timed)
        return replace(joined, axes=axes, nonneg=nonneg)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        facts: Facts = step.facts
        first = facts[facts.timed(node)[0]]
        axis = node.attr("axis") % len(first.axes)
        if ax.is_time_axis(first.axes[axis]):
            left, value = _padding(node, facts)
            name = facts.timed(node)[0]
            tensor = step.masked(step.bearing(node, name, value), value) if left > 0 else step.raw(name)
            step.put(node.outputs[0], tensor)
            return
        out = facts[node.outputs[0]]
        inputs = [
            step.delayed(node, name, out.lag - facts[name].lag)
            if name in facts.table
            else step.constant_frame(node, name, first.axes)
            for name in node.inputs
        ]
        step.put(node.outputs[0], step.emit("Concat", inputs, node.label, axis=ax.step_axis(first.axes, axis)))


def _padding(node: Node, facts: Facts) -> tuple[int, float]:
    """(constant frames in front of the one timed input, their value). Raises for anything else along time."""
    timed = facts.timed(node)
    constants = [facts.graph.constant(name) for name in node.inputs if name not in facts.table]
    values = {float(v) for array in constants if array is not None for v in np.unique(array)}
    axis = node.attr("axis") % len(facts[timed[0]].axes)
    if len(timed) != 1 or len(values) > 1:
        raise unsupported(
            node,
            "Wires are joined along time.",
            expected="one wire, with constant frames of one value before or behind it",
            got=f"{len(timed)} wires depend on the clip",
            hint="a temporal shift is a slice, constant padding and a concatenation over channels",
        )
    before = node.inputs[: node.inputs.index(timed[0])]
    return sum(facts.graph.shapes[name][axis] for name in before), values.pop() if values else 0.0
