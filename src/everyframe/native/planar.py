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
    found = {alike.find(graph.out(op).number) for op in graph.ops if _makes(graph, op, block)}
    for op in graph.ops:
        if not isinstance(op, _READS) and not (isinstance(op, Conv) and not op.depthwise):
            found -= {alike.find(frame.number) for frame in op.reads()}
        if not isinstance(op, _ANYHOW) and not _makes(graph, op, block):
            found.discard(alike.find(graph.out(op).number))
    makers = [op for op in graph.ops if isinstance(op, Conv | ir.Gather | ir.Map)]
    while refused := set().union(*(_refused(graph, op, alike, found) for op in makers)):
        found -= refused
    return found


#: read planes as well as blocks, and write what they are told to
_READS = (ir.Select, ir.Move, ir.Gather, ir.Flatten, ir.Map)
_ANYHOW = (ir.Input, ir.Select, ir.StateIn, ir.Gather, ir.Fill, ir.Move)


def _makes(graph: Graph, op: ir.Op, block: int) -> bool:
    """May it make planes?"""
    out = graph.out(op)
    if isinstance(op, ir.Map):  # position by position
        alike = all(
            frame.shape == out.shape and not frame.quant and not isinstance(frame.op, ir.Fill) for frame in (out, *op.inputs)
        )
        return alike and 2 * out.channels <= block <= out.width
    if isinstance(op, Conv):
        return op.planar
    return isinstance(op, ir.Input | ir.Move | ir.Gather) and out.channels < block


def _refused(graph: Graph, op: Conv | ir.Gather | ir.Map, alike: Groups, found: set[int]) -> set[int]:
    """What must come in blocks after all. Planes are made of planes alone; a convolution goes through all that it reads in the
    same steps, and what it adds lies as its sums; a map goes through everything in the same steps."""
    out = {alike.find(graph.out(op).number)}
    if isinstance(op, Conv):
        read = {alike.find(frame.number) for frame in op.convolved()}
        made = out | ({alike.find(op.residual.number)} if op.residual else set())
        if op.planar and read | made <= found:
            return set()
        return (made | read if read - found else made) & found
    read = {alike.find(frame.number) for frame in op.reads() if not isinstance(frame.op, ir.Fill)}
    if isinstance(op, ir.Map):
        return set() if read | out <= found else (read | out) & found
    return set() if read <= found else out & found


def could(graph: Graph, op: Conv, block: int) -> bool:
    """Few channels of long rows, one position after another."""
    out = graph.out(op)
    frames = [out, *op.reads()]
    floats = not (op.depthwise or op.quant or op.tile) and not any(frame.quant or frame.half for frame in frames)
    return floats and op.strides == (1, 1) and 2 * out.channels <= block <= out.width
