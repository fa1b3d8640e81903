"""Operators that stay inside a frame or run along time: the axes that they touch decide which of two rules they follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.rules import Rule, perframe, register, running, transposed, upsample
from everyframe.modelfile.graph import Node

Moves = Callable[[Node, Facts], bool]


@dataclass(frozen=True)
class Either:
    """moves: does the operator work along time?"""

    along: type[Rule]
    inside: type[Rule]
    moves: Moves

    def of(self, node: Node, facts: Facts) -> type[Rule]:
        return self.along if facts.get(node.inputs[0]) is not None and self.moves(node, facts) else self.inside

    def fact(self, node: Node, facts: Facts) -> Fact | tuple[Fact, ...]:
        return self.of(node, facts).fact(node, facts)

    def lower(self, node: Node, step: Builder) -> None:
        self.of(node, step.facts).lower(node, step)


def _touches_time(node: Node, facts: Facts) -> bool:
    fact, touched = facts[node.inputs[0]], perframe.ROWS[node.op].touched(node, facts)
    return not fact.gate and any(ax.is_time_axis(fact.axes[i]) for i in touched)


def _kernel_in_time(node: Node, facts: Facts) -> bool:
    return any(axis > 1 for axis in transposed.worked_on(node, facts) if ax.is_time_axis(facts[node.inputs[0]].axes[axis]))


register("CumSum")(Either(running.CumSum, perframe.PerFrame, _touches_time))
register("Resize", "Upsample")(Either(upsample.Resize, perframe.PerFrame, _touches_time))
register("ConvTranspose")(Either(upsample.ConvTranspose, transposed.ConvTranspose, _kernel_in_time))
