"""The streaming rule of ONNX's Asinh: each value by itself, so a frame of the result needs that frame alone."""

from __future__ import annotations

from everyframe.conversion.facts import Fact, Facts
from everyframe.modelfile.graph import Node


class Asinh:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        """Rate, delay and axes are those of the input; values may be negative."""
        return facts[node.inputs[0]].plain(nonneg=False)

    @staticmethod
    def lower(node: Node, step) -> None:
        step.put(node.outputs[0], step.emit(node.op, [step.wire(node.inputs[0])], node.label, **node.attrs))
