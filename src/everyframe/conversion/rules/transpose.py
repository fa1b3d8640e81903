"""Transpose: moves axes; in the step network frames always stay on axis 0."""

from __future__ import annotations

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
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
        if sorted(moved) != sorted(groups):
            raise unsupported(
                node,
                "This transpose needs more than four axes.",
                got=f"{before.clip_shape}, perm {perm}",
                hint="shuffle channels with height and width left where they are",
            )
        order = [0, *(groups.index(group) + 1 for group in moved)]
        x = step.wire(node.inputs[0])
        step.put(node.outputs[0], x if order == sorted(order) else step.emit("Transpose", [x], node.label, perm=order))


def _perm(node: Node, source: Fact) -> list[int]:
    return list(node.attr("perm") or reversed(range(len(source.axes))))
