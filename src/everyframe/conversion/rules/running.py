"""CumSum over time: a running sum, kept as a running mean and a count.

So it never outgrows float32 where it is divided again by the number of frames (causal squeeze-and-excite and pooling).
"""

from __future__ import annotations

import numpy as np

from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.modelfile.graph import Node


class CumSum:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source = facts[node.inputs[0]]
        if node.attr("reverse", 0):
            raise unsupported(
                node, "A running sum runs backwards: its first value needs the last frame.", got="reverse=1",
                hint="sum from the beginning (reverse=0)",
            )  # fmt: skip
        left = source.left + (source.frames - 1) * source.spacing  # of the clip; then it goes on
        return source.plain(early=0, left=left, unbounded=True)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        out = node.outputs[0]
        x, fact = step.wire(node.inputs[0]), step.facts[out]
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
