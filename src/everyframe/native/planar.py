"""Which frames lie in memory as planes, a channel behind the other, instead of as blocks of channels side by side.

A block is as wide as a vector. Frames of a few channels would leave most of it empty: sixteen values in memory, and in each sum,
for one that counts. As planes a vector holds positions of a row (see `c/planes.c`). What is handed over and what is moved may
lie so, and what a convolution makes of planes.
"""

from __future__ import annotations

from everyframe.native import ir
from everyframe.native.ir import Conv, Graph


class Groups:
    """Frames that must have the same form: union and find."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}

    def find(self, number: int) -> int:
        root = number
        while self.parent.get(root, root) != root:
            root = self.parent[root]
        while self.parent.get(number, number) != root:
            self.parent[number], number = root, self.parent[number]
        return root

    def join(self, one: int, two: int) -> None:
        self.parent[self.find(one)] = self.find(two)


def groups(graph: Graph) -> Groups:
    """Both frames of a choice, and what a state holds before and after a step."""
    made = Groups()
    for op in graph.ops:
        if isinstance(op, ir.Select):
            for other in (op.yes, op.no):
                if not isinstance(other.op, ir.Fill):
                    made.join(graph.out(op).number, other.number)
    for slot, after in zip(graph.slots, graph.slot_next, strict=True):
        if not isinstance(after.op, ir.Fill):
            made.join(slot.number, after.number)
    return made


def mark(graph: Graph, block: int) -> Graph:
    """Says of each convolution whether it makes planes (`Conv.planar`), in place: of those that could and whose inputs lie so."""
    alike = groups(graph)
    for op in graph.ops:
        if isinstance(op, Conv):
            op.planar = could(graph, op, block)
    kept = planes(graph, alike, block)
    for op in graph.ops:
        if isinstance(op, Conv):
            op.planar = op.planar and alike.find(graph.out(op).number) in kept
    return graph


def planes(graph: Graph, alike: Groups, block: int) -> set[int]:
    """The groups that lie as planes, each by the frame that stands for it. alike: see `groups`. block: channels of a vector."""
    found = {
        alike.find(graph.out(op).number) for op in graph.ops
        if (isinstance(op, ir.Input | ir.Move | ir.Gather) and graph.out(op).channels < block) or _planar(op)
    }  # fmt: skip
    for op in graph.ops:
        if not isinstance(op, ir.Select | ir.Move | ir.Gather | ir.Flatten) and not (isinstance(op, Conv) and not op.depthwise):
            found -= {alike.find(frame.number) for frame in op.reads()}
        if not isinstance(op, ir.Input | ir.Select | ir.StateIn | ir.Gather | ir.Fill | ir.Move) and not _planar(op):
            found.discard(alike.find(graph.out(op).number))  # what is computed comes in blocks
    makers = [op for op in graph.ops if isinstance(op, Conv | ir.Gather)]
    while refused := set().union(*(_refused(graph, op, alike, found) for op in makers)):
        found -= refused
    return found


def _planar(op: ir.Op) -> bool:
    return isinstance(op, Conv) and op.planar


def _refused(graph: Graph, op: Conv | ir.Gather, alike: Groups, found: set[int]) -> set[int]:
    """A convolution goes through all that it reads in the same steps, makes planes only of planes, adds what lies as its sums."""
    if isinstance(op, ir.Gather):  # as few steps as may be: planes of planes
        whole = all(alike.find(frame.number) in found for frame in op.reads() if not isinstance(frame.op, ir.Fill))
        return set() if whole else {alike.find(graph.out(op).number)} & found
    read = {alike.find(frame.number) for frame in op.convolved()}
    made = {alike.find(frame.number) for frame in (graph.out(op), op.residual) if frame}
    if op.planar and read | made <= found:
        return set()
    return (made | read if read - found else made) & found


def could(graph: Graph, op: Conv, block: int) -> bool:
    """Few channels of long rows, one position after another."""
    out = graph.out(op)
    frames = [out, *op.reads()]
    floats = not (op.depthwise or op.quant or op.tile) and not any(frame.quant or frame.half for frame in frames)
    return floats and op.strides == (1, 1) and 2 * out.channels <= block <= out.width
