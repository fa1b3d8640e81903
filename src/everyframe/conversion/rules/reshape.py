"""Reshape, Flatten, Squeeze, Unsqueeze: time is followed by identity; mixing frames with another axis is an error later on."""

from __future__ import annotations

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.modelfile.graph import Node


@register("Reshape", "Flatten", "Squeeze", "Unsqueeze")
class Reshape:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source, shape = facts[node.inputs[0]], facts.graph.shapes[node.outputs[0]]
        if node.op in ("Squeeze", "Unsqueeze"):
            made = _by_identity(node, facts, source, max(len(shape), len(source.axes)))
            return source.plain(axes=ax.without_time(made) if source.static else made)
        try:
            axes = ax.with_frames(source.axes, 1) if source.gate else source.axes  # a gate: one value, whatever its time is
            made = ax.reshape(axes, shape, source.home)
            if source.static:
                return source.plain(axes=ax.without_time(made))
            return source.plain(axes=made if axes == source.axes else ax.with_frames(made, source.frames))
        except ax.AxesError as error:
            raise unsupported(
                node,
                f"{node.op} mixes time with another axis.",
                got=str(error),
                hint="fold time only into the batch, or flatten where the clip has shrunk to one frame",
            ) from None

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        before, after = step.facts[node.inputs[0]], step.facts[node.outputs[0]]
        x = step.wire(node.inputs[0])
        shape = ax.step_shape(after.axes)
        if shape != ax.step_shape(before.axes):
            x = step.emit("Reshape", [x, step.ints([step.m(after), *shape])], node.label)
        step.put(node.outputs[0], x)


def _by_identity(node: Node, facts: Facts, source: Fact, rank: int) -> ax.Axes:
    axes = source.axes
    given = facts.graph.constant(node.input(1)) if node.input(1) else node.attr("axes")
    if given is None:
        return ax.squeeze(axes, {i for i, size in enumerate(ax.shape_of(axes)) if size == 1})
    places = {int(i) % rank for i in given}
    return ax.squeeze(axes, places) if node.op == "Squeeze" else ax.unsqueeze(axes, places, source.home)
