"""BatchNormalization and Softmax: per frame, as long as they do not work along time."""

from __future__ import annotations

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.modelfile.graph import Node


@register("BatchNormalization", "InstanceNormalization")
class BatchNorm:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        fact = facts[node.inputs[0]]
        time = ax.time_axis(fact.axes)
        if ax.step_axis(fact.axes, 1) != 1:
            raise unsupported(
                node,
                "Normalization needs channels on axis 1.",
                got=f"shape {fact.clip_shape}",
                hint="keep the order (N, C, T, H, W)",
            )
        if node.op == "InstanceNormalization" and time is not None and time >= 2 and fact.frames > 1:
            raise unsupported(
                node,
                "Instance normalization averages over the whole clip.",
                hint="use batch normalization, which is constant after training",
            )
        return fact.plain(nonneg=False)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        inputs = [step.wire(node.inputs[0]), *(step.same(name) for name in node.inputs[1:])]
        attrs = {key: value for key, value in node.attrs.items() if key == "epsilon"}
        step.put(node.outputs[0], step.emit(node.op, inputs, node.label, **attrs))


@register("Softmax", "LogSoftmax")
class Softmax:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        fact = facts[node.inputs[0]]
        axis = node.attr("axis", -1) % len(fact.axes)
        if ax.step_axis(fact.axes, axis) is None or (facts.graph.opset < 13 and axis != len(fact.axes) - 1):
            raise unsupported(
                node,
                f"{node.op} runs along time or over several axes.",
                got=f"axis {axis} of {fact.clip_shape}",
                hint="apply it over the classes only",
            )
        return fact.plain(nonneg=node.op == "Softmax")

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        fact = step.facts[node.inputs[0]]
        axis = ax.step_axis(fact.axes, node.attr("axis", -1) % len(fact.axes))
        step.put(node.outputs[0], step.emit(node.op, [step.wire(node.inputs[0])], node.label, axis=axis))
