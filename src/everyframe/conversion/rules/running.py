"""CumSum over time: a running sum, kept as a running mean and a count.

So it never outgrows float32 where it is divided again by the number of frames (causal squeeze-and-excite and pooling).
"""

from __future__ import annotations

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.modelfile.graph import Node


class CumSum:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source, axis = facts[node.inputs[0]], _axis(node, facts)
        if not ax.is_time_axis(source.axes[axis]):
            if ax.step_axis(source.axes, axis) is None:
                raise unsupported(
                    node, "A running sum along an axis that holds time and something else.",
                    got=f"axis {axis} of {source.clip_shape}",
                    hint="keep time on an axis of its own",
                )  # fmt: skip
            return source.plain(nonneg=False)
        if node.attr("reverse", 0):
            raise unsupported(
                node, "A running sum runs backwards: its first value needs the last frame.", got="reverse=1",
                hint="sum from the beginning (reverse=0)",
            )  # fmt: skip
        return source.plain(left=source.left + (source.frames - 1) * source.spacing)  # of the clip; it goes on in the stream

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        source, axis, out = step.facts[node.inputs[0]], _axis(node, step.facts), node.outputs[0]
        x, fact = step.wire(node.inputs[0]), step.facts[out]
        if not ax.is_time_axis(source.axes[axis]):
            where = step.const(np.array(ax.step_axis(source.axes, axis), np.int64), f"{node.label}.axis")
            step.put(out, step.emit("CumSum", [x, where], node.label, **node.attrs))
            return
        shape, m = (1, *step.frame_shape(out)), step.m(fact)
        counts = step.count(node, fact, len(shape))

        def cell(q: int, before: list[str]) -> tuple[list[str], list[str]]:
            mean, frame = before[0], step.frame(x, q, m)
            more = step.emit("Div", [step.emit("Sub", [frame, mean], f"{node.label}::new"), counts[q]], f"{node.label}::share")
            after = step.emit("Add", [mean, more], f"{node.label}::mean")
            if node.attr("exclusive", 0):
                earlier = step.emit("Sub", [counts[q], step.scalar(1.0)], f"{node.label}::earlier")
                return [after], [step.emit("Mul", [mean, earlier], node.label)]
            return [after], [step.emit("Mul", [after, counts[q]], node.label)]

        made = step.carry(node, fact, [np.zeros(shape, np.float32)], cell)
        parts = [part for (part,) in made]
        step.put(out, step.emit("Concat", parts, f"{node.label}::frames", axis=0) if m > 1 else parts[0])


def _axis(node: Node, facts: Facts) -> int:
    given = facts.graph.constant(node.input(1))
    if given is None:
        raise unsupported(node, "The axis of a running sum is computed at run time.", hint="export with static shapes")
    return int(given.reshape(())) % len(facts[node.inputs[0]].axes)
