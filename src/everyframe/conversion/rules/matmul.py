"""Gemm and MatMul with constant weights: a linear layer on each frame."""

from __future__ import annotations

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.modelfile.graph import Node


@register("Gemm", "MatMul")
class Linear:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source = facts.get(node.inputs[0])
        weight = facts.graph.constant(node.inputs[1])
        if source is None or weight is None or weight.ndim != 2 or node.attr("transA", 0):
            raise unsupported(
                node,
                "A product of two tensors that depend on the clip cannot be streamed.",
                expected="a linear layer with constant weights (K, O) on the last axis",
                hint="attention and bilinear layers are not supported; use convolutions",
            )
        last = len(source.axes) - 1
        if ax.time_is_mixed(source.axes) or ax.step_axis(source.axes, last) is None:
            raise unsupported(
                node,
                "A linear layer reads several frames at once.",
                got=f"shape {source.clip_shape}, {source.frames} frames flattened",
                hint="pool over time before the classifier, or use a clip length at which one frame is left",
            )
        bias = facts.graph.constant(node.input(2)) if node.input(2) else None
        if bias is not None and bias.ndim == 2 and bias.shape[0] > 1:
            raise unsupported(
                node,
                "A linear layer's bias changes along time.",
                got=f"shape {bias.shape}",
                hint="temporal position embeddings and the like cannot be streamed",
            )
        size = facts.graph.shapes[node.outputs[0]][-1]
        return source.plain(axes=(*source.axes[:last], (ax.Atom(size),)), nonneg=False)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        inputs = [step.wire(node.inputs[0]), *(step.same(name) for name in node.inputs[1:] if name)]
        step.put(node.outputs[0], step.emit(node.op, inputs, node.label, **node.attrs))
