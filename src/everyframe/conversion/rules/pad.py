"""Pad: in front of time it only renumbers frames (frame j is the input's frame j - pad), and says what lies before them."""

from __future__ import annotations

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts, Window
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.modelfile.graph import Node


def padded(node: Node, facts: Facts, source: Fact, left: int, value: float, axes: ax.Axes) -> Fact:
    """The fact behind `left` constant frames of `value`."""
    frames = next((a.size for axis in axes for a in axis if a.kind == "T"), source.frames)
    if left > 0 and not source.bears(value):
        source = source.plain()
    made = source.relabeled(Window(pad=left), facts.dense, axes=axes, frames=frames, nonneg=source.nonneg and value >= 0)
    return Fact(**(made.__dict__ | {"fill": value if left > 0 else source.fill}))


@register("Pad")
class Pad:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source = facts[node.inputs[0]]
        begin, end, value = _pads(node, facts)
        axes: list[ax.Axis] = []
        for i, (axis, b, e) in enumerate(zip(source.axes, begin, end, strict=True)):
            if ax.is_time_axis(axis):
                axes += ax.with_frames((axis,), facts.graph.shapes[node.outputs[0]][i])
            elif not b and not e:
                axes.append(axis)
            elif ax.step_axis(source.axes, i) is None:
                raise unsupported(
                    node, "Padding along an axis that holds time and something else.", hint="pad time on its own axis"
                )
            else:
                axes.append((ax.Atom(facts.graph.shapes[node.outputs[0]][i]),))
        left = _left(source, begin)
        if left == 0 and _in_space(source, begin, end):
            source = source.plain()  # frames that another Pad put in front get the border too
        if _mode(node) != "constant" and (left or any(end[i] for i, a in enumerate(source.axes) if ax.is_time_axis(a))):
            raise unsupported(
                node,
                f"Time is padded in mode {_mode(node)!r}.",
                expected="constant padding",
                hint="pad time with zeros: what comes later is not known in a stream",
            )
        return padded(node, facts, source, left, value, tuple(axes))

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        wire = node.inputs[0]
        source: Fact = step.facts[wire]
        begin, end, value = _pads(node, step.facts)
        if _left(source, begin) > 0:
            wire = step.bearing(node, wire, value)
        elif _in_space(source, begin, end):
            wire = step.settled(node, wire)
        groups = ax.step_groups(source.axes)
        inside = [[0, *(sum(side[i] for i in group) for group in groups)] for side in (begin, end)]

        def pad_space(x: str) -> str:
            if not any(map(any, inside)):
                return x
            fill = [step.const(np.float32(value), f"{node.label}.value")] if _mode(node) == "constant" else []
            return step.emit("Pad", [x, step.ints(inside[0] + inside[1]), *fill], node.label, mode=_mode(node))

        wire = step.derive(wire, pad_space, node, axes=step.facts[node.outputs[0]].axes)
        step.put(node.outputs[0], step.masked(wire, value) if _left(source, begin) > 0 else step.raw(wire))


def _mode(node: Node) -> str:
    return bytes(node.attr("mode", b"constant")).decode()


def _left(source: Fact, begin: list[int]) -> int:
    return sum(b for b, axis in zip(begin, source.axes, strict=True) if ax.is_time_axis(axis))


def _in_space(source: Fact, begin: list[int], end: list[int]) -> bool:
    return any(b or e for b, e, axis in zip(begin, end, source.axes, strict=True) if not ax.is_time_axis(axis))


def _pads(node: Node, facts: Facts) -> tuple[list[int], list[int], float]:
    """(begin, end, value), one entry an axis."""
    rank = len(facts[node.inputs[0]].axes)
    given = facts.graph.constant(node.input(1)) if node.input(1) else node.attr("pads")
    if given is None:
        raise unsupported(node, "How much is padded is computed at run time.", hint="export with static shapes")
    value = facts.graph.constant(node.input(2)) if node.input(2) else node.attr("value", 0.0)
    axes = facts.graph.constant(node.input(3)) if node.input(3) else range(rank)
    begin, end = [0] * rank, [0] * rank
    half = len(given) // 2
    for i, axis in enumerate(axes):  # type: ignore[arg-type]
        begin[int(axis) % rank], end[int(axis) % rank] = int(given[i]), int(given[half + i])
    filled = float(np.asarray(value).reshape(-1)[0]) if value is not None else 0.0
    return begin, end, float(np.clip(filled, np.finfo(np.float32).min, np.finfo(np.float32).max))  # states cannot hold -inf
