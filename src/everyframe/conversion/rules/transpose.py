"""Transpose: moves axes; in the step network frames always stay on axis 0."""

from __future__ import annotations

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.rules import register
from everyframe.modelfile.graph import Node


@register("Transpose")
class Transpose:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source = facts[node.inputs[0]]
        return source.plain(axes=tuple(source.axes[i] for i in _perm(node, source)))

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        before, after = step.facts[node.inputs[0]], step.facts[node.outputs[0]]
        perm = _perm(node, before)
        groups = ax.step_groups(before.axes)
        moved = [[perm[i] for i in group] for group in ax.step_groups(after.axes)]
        x = step.wire(node.inputs[0])
        if sorted(moved) != sorted(groups):  # some of the axes that are merged go elsewhere
            kept = [i for i, axis in enumerate(before.axes) if not ax.is_frame_axis(axis)]
            x = step.emit("Reshape", [x, step.ints([-1, *(ax.rest(before.axes[i]) for i in kept)])], f"{node.label}::enter")
            order = [0, *(kept.index(perm[i]) + 1 for i, axis in enumerate(after.axes) if not ax.is_frame_axis(axis))]
            x = step.emit("Transpose", [x], node.label, perm=order)
            made = step.emit("Reshape", [x, step.ints([-1, *ax.step_shape(after.axes)])], f"{node.label}::leave")
            step.put(node.outputs[0], made)
            return
        order = [0, *(groups.index(group) + 1 for group in moved)]
        step.put(node.outputs[0], x if order == sorted(order) else step.emit("Transpose", [x], node.label, perm=order))


def _perm(node: Node, source: Fact) -> list[int]:
    return list(node.attr("perm") or reversed(range(len(source.axes))))
