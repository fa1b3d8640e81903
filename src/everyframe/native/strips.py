"""Chains of convolutions that are computed some rows at a time, so that what lies between them never leaves the cache.

An inverted residual widens a picture, convolves each channel and narrows it again: the wide tensor of a large picture is
megabytes that are written to memory and read once. Some rows of the last convolution need some rows of the one before; those are
made just before they are read, in a place that is written again and again (see `c/strips.c`). What is summed, and in which order,
stays the same.
"""

from __future__ import annotations

from collections import Counter

from everyframe.native.fuse import in_order
from everyframe.native.ir import Chain, Conv, Graph, sizes_of
from everyframe.native.target import Target

#: bytes of a frame that the second-level cache does not keep beside all else until it is read
LARGE = 1 << 19
#: bytes of the rows that are there at once, of all frames of a chain; twice as many with AVX-512, whose processors have
#: second-level caches of 1 MB and more
HELD = 1 << 18
#: bytes of weights of a convolution, which each strip reads again
_WEIGHTS = 1 << 16
#: that share a chain, at most
_THREADS = 8


def in_strips(graph: Graph, target: Target) -> Graph:
    """Finds the chains and puts their convolutions side by side, in place."""
    following = _following(graph)
    second = {id(op) for op in following.values()}
    for op in graph.ops:
        if isinstance(op, Conv) and id(op) in following and id(op) not in second:
            ops = [op]
            while id(ops[-1]) in following:
                ops.append(following[id(ops[-1])])
            if any(each.depthwise for each in ops):  # dense ones compute longer than they wait
                graph.chains.append(_chain(graph, ops, target))
    for number, chain in enumerate(graph.chains):
        for op in chain.ops:
            op.chain, op.batch = number, -1
    if graph.chains:
        beside: dict[int, list[Conv]] = {id(op): chain.ops for chain in graph.chains for op in chain.ops}
        batches: dict[int, list[Conv]] = {}
        for op in graph.ops:
            if isinstance(op, Conv) and op.batch >= 0:
                batches.setdefault(op.batch, []).append(op)
                beside[id(op)] = batches[op.batch]
        in_order(graph, together=beside)
    return graph


def _following(graph: Graph) -> dict[int, Conv]:
    """Of a convolution's id: the one that alone reads what it makes, where that is large."""
    convs = [op for op in graph.ops if isinstance(op, Conv)]
    readers = Counter(frame.number for op in graph.ops for frame in op.reads())
    pinned = {frame.number for frame in (*graph.slot_next, *graph.logits)}
    calls = Counter(op.batch for op in convs)

    def fits(op: Conv) -> bool:
        out = graph.out(op)
        small = 4 * sum(tap.weight.size for tap in op.taps) <= _WEIGHTS
        alone = op.batch < 0 or calls[op.batch] == 1
        return small and alone and not (op.quant or out.quant or out.half or op.tile)

    made: dict[int, Conv] = {}
    for op in convs:
        convolved = op.convolved()
        if len(convolved) != 1 or readers[(frame := convolved[0]).number] > 1 or frame.number in pinned:
            continue
        before = frame.op
        if isinstance(before, Conv) and fits(before) and fits(op) and 4 * frame.floats >= LARGE:
            made[id(before)] = op
    return made


def _chain(graph: Graph, ops: list[Conv], target: Target) -> Chain:
    """With as many rows at a time as HELD allows, for as many threads as take no more memory than all rows at once."""
    frames = [graph.out(op) for op in ops]
    of_row = [4 * -(-f.channels // target.block) * target.block * (f.width + 2) for f in frames[:-1]]

    def size(kept: list[int]) -> int:
        return sum(n * each for n, each in zip(kept, of_row, strict=True))

    rows, kept, most = 1, held(ops, 1), HELD * (2 if target.block == 16 else 1)
    while rows < frames[-1].height and size(more := held(ops, rows + 1)) <= most:
        rows, kept = rows + 1, more
    whole = size([frame.height for frame in frames[:-1]])
    return Chain(ops, rows, kept, max(1, min(_THREADS, whole // size(kept), frames[-1].height)))


def held(ops: list[Conv], rows: int) -> list[int]:
    """Rows of each frame but the last that are there at once, those outside of it included, where the last is made `rows` at a
    time: a thread that begins in the middle needs them all."""
    made = [rows]
    for op in ops[:0:-1]:
        reach, stride, _ = sizes_of(op)
        made.append((made[-1] - 1) * stride + reach + max(0, stride - reach))
    return made[:0:-1]
