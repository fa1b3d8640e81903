"""State that a network has by itself: what a recurrent cell or a running sum hands from one frame to the next.

It is carried for ever: a step says what the network says when it is run once over the whole stream, however long. What stands in
for the state before the first frame is the network's own initial value, chosen by masks as everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from everyframe.conversion.facts import Fact
from everyframe.conversion.newest import Newest
from everyframe.modelfile.graph import Node

#: (which of the step's frames, the states before it) -> (the states after it, what the frame gives)
Cell = Callable[[int, list[str]], tuple[list[str], list[str]]]


class Carrying(Newest):
    """Adds `carry`: a cell applied to every frame of a step, its states kept until the next."""

    def carry(self, node: Node, fact: Fact, initial: Sequence[np.ndarray], cell: Cell) -> list[list[str]]:
        """What each of the m frames gives. fact: when the frames come. initial: the states before the first frame.

        At rate "dense" the clip's neighbors lie `unit` frames apart: so many independent states take turns.
        """
        m, apart = self.m(fact), fact.unit
        kept = [[self._carried(node, fact, i, j, value) for j in range(apart)] for i, value in enumerate(initial)]
        values = [[f"{name}.in" for name in row] for row in kept]
        given = []
        for q in range(m):
            before = [self._begun(fact, q, row[q], value) for row, value in zip(values, initial, strict=True)]
            after, made = cell(q, before)
            given.append(made)
            for row, tensor in zip(values, after, strict=True):
                row.append(tensor)
        for names, row in zip(kept, values, strict=True):
            for j, name in enumerate(names):
                self.state_out[name] = (row[m + j], row[m + j] if m + j < apart else None)
        return given

    def _carried(self, node: Node, fact: Fact, i: int, j: int, value: np.ndarray) -> str:
        fill = float(value.flat[0]) if _uniform(value) else 0.0
        return self.state(f"{node.label}.carried{i}.slot{j}", fact, value.shape, 1, fill)

    def _begun(self, fact: Fact, q: int, tensor: str, initial: np.ndarray) -> str:
        """The state before frame q of the step: the initial one as long as there was no frame before it."""
        late = max(0, fact.lag)
        first = -(-(late + fact.unit - q) // self.m(fact))  # the step from which on there was
        if first <= 0 or (late == 0 and _uniform(initial)):  # made in this step, or a state that begins with its fill
            return tensor
        counter = self.t(first)
        mask = self._once(("from", first), lambda: self.emit("GreaterOrEqual", [counter, self.ints([first])], "mask"))
        key = ("initial", initial.shape, initial.tobytes())
        value = (
            self.scalar(float(initial.flat[0])) if _uniform(initial) else self._once(key, lambda: self.const(initial, "initial"))
        )
        return self.emit("Where", [mask, tensor, value], "begun")

    def count(self, node: Node, fact: Fact, rank: int) -> list[str]:
        """The number of each frame of the step, from 1 on: floats of `rank` axes. From 2**24 on float32 counts no further."""

        def cell(_: int, before: list[str]) -> tuple[list[str], list[str]]:
            after = self.emit("Add", [before[0], self.scalar(1.0)], f"{node.label}::count")
            return [after], [after]

        def make() -> list[str]:
            return [made[0] for made in self.carry(node, fact, [np.zeros((1,) * rank, np.float32)], cell)]

        key = (fact.every, max(0, fact.lag), fact.unit, rank)
        if key not in self._counts:
            self._counts[key] = make()
        return self._counts[key]


def _uniform(value: np.ndarray) -> bool:
    return bool((value == value.flat[0]).all())
