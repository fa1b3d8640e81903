"""Softmax, LogSoftmax, Hardmax over axes of a frame. Before opset 13 they ran over all axes from theirs on, as if over one."""

from __future__ import annotations

from math import prod

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.rules import register
from everyframe.conversion.rules.perframe import check_touched
from everyframe.conversion.view import View
from everyframe.modelfile.graph import Node


@register("Softmax", "LogSoftmax", "Hardmax")
class Softmax:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        fact = facts[node.inputs[0]]
        check_touched(node, fact, touched(node, facts))
        return fact.plain(nonneg=node.op != "LogSoftmax")

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        worked = touched(node, step.facts)
        view = View(step.facts[node.inputs[0]].axes, apart=0 in worked)
        places = {view.place(axis) for axis in worked if ax.rest(view.axes[axis]) > 1} or {view.place(max(worked))}
        x = step.enter(view, step.wire(node.inputs[0]), node.label)
        axis = places.pop()
        if not places:
            made = step.emit(node.op, [x], node.label, axis=axis)
        else:
            size = prod(ax.rest(view.axes[axis]) for axis in worked)
            flat = step.emit("Reshape", [x, step.ints([-1, size])], f"{node.label}::flat")
            made = step.emit("Reshape", [step.emit(node.op, [flat], node.label, axis=1), step.ints([-1, *view.sizes])], "apart")
        step.put(node.outputs[0], step.leave(view, made, node.label))


def touched(node: Node, facts: Facts) -> set[int]:
    rank = len(facts[node.inputs[0]].axes)
    if facts.graph.opset >= 13:
        return {node.attr("axis", -1) % rank}
    return set(range(node.attr("axis", 1) % rank, rank))
