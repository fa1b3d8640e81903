"""Chains of convolutions that are computed some rows at a time, so that what lies between them never leaves the cache.

An inverted residual widens a picture, convolves each channel and narrows it again: the wide tensor of a large picture is
megabytes that are written to memory and read once. A convolution over time reads several frames of what a convolution in space
makes, each of which it reads several times. Some rows of the last level of a chain need some rows of the one before; those are
made just before they are read, in a place that is written again and again (see `c/strips.c`). What is summed, and in which order,
stays the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np

from everyframe.native.fuse import in_order
from everyframe.native.ir import Chain, Conv, Graph, Op, sizes_of
from everyframe.native.target import Target

#: bytes of a frame that the second-level cache does not keep beside all else until it is read
LARGE = 1 << 19
#: bytes of the rows that are there at once, of all frames of a chain; twice as many with AVX-512, whose processors have
#: second-level caches of 1 MB and more
HELD = 1 << 18
#: bytes of weights of a convolution that are not zero, which each strip reads again; and where it does so for several frames
_WEIGHTS, _WEIGHTS_OF_FRAMES = 1 << 16, 1 << 19
#: multiply-adds with each value that is read of several frames, up to which reading them takes longer
_OFTEN = 32
#: share of weights with which as many are left as F(4x4, 3x3) would multiply of all
_FEW = 0.25
#: that share a chain, at most
_THREADS = 8


def in_strips(graph: Graph, target: Target) -> Graph:
    """Finds the chains and puts their convolutions side by side, in place."""
    graph.chains += [_chain(graph, levels, target) for levels in _found(graph)]
    for number, chain in enumerate(graph.chains):
        for conv in chain.ops:
            conv.chain, conv.batch = number, -1
    if graph.chains:
        beside: dict[int, list[Conv]] = {id(op): chain.ops for chain in graph.chains for op in chain.ops}
        batches: dict[int, list[Conv]] = {}
        for op in graph.ops:
            if isinstance(op, Conv) and op.batch >= 0:
                batches.setdefault(op.batch, []).append(op)
                beside[id(op)] = batches[op.batch]
        in_order(graph, together=beside)
    return graph


def better_so(graph: Graph) -> set[int]:
    """Convolutions (ids) with so few weights that a chain over several frames gains more than Winograd's transforms would."""
    several = [levels for levels in _found(graph) if any(len(level) > 1 for level in levels)]
    return {id(op) for levels in several for level in levels for op in level if _bytes(op) <= _FEW * _size(op)}


def _found(graph: Graph) -> list[list[list[Conv]]]:
    """The levels of each chain."""
    search, seen, found = _Levels(graph), set[int](), []
    for op in graph.ops:
        if not isinstance(op, Conv) or id(op) in seen:
            continue
        levels = [[op]]
        while following := search.after(levels):
            levels = following
        seen.update(id(each) for level in levels for each in level)
        if len(levels) > 1 and _worth(levels):
            found.append(levels)
    return found


def _worth(levels: list[list[Conv]]) -> bool:
    """Dense convolutions of one frame each compute longer than they wait."""
    return any(len(level) > 1 or level[0].depthwise for level in levels)


class _Levels:
    """What follows a level of a chain: the convolutions that alone read what it makes, where that is large."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.readers: defaultdict[int, list[Op]] = defaultdict(list)  # of frames
        self.depth: dict[int, int] = {}  # the longest way from what is handed over
        for op in graph.ops:
            for frame in op.reads():
                self.readers[frame.number].append(op)
            self.depth[id(op)] = 1 + max((self.depth.get(id(frame.op), 0) for frame in op.reads()), default=0)
        self.pinned = {frame.number for frame in (*graph.slot_next, *graph.logits)}
        self.calls = Counter(op.batch for op in graph.ops if isinstance(op, Conv))

    def after(self, levels: list[list[Conv]]) -> list[list[Conv]]:
        """The levels and one more, the first with all of its frames; none where nothing can follow."""
        if (pair := self._whole(levels[-1])) is None or (len(levels) > 1 and len(pair[0]) > len(levels[-1])):
            return []
        one, two = pair
        several = len(one) > 1 or len(two) > 1
        if several and not (self._alike(one) and self._alike(two) and _passes(two[0]) and _waits(two[0])):
            return []
        limit = _WEIGHTS_OF_FRAMES if several else _WEIGHTS
        large = 4 * self.graph.out(one[0]).floats * max(len(op.convolved()) for op in two) >= LARGE
        return [*levels[:-1], one, two] if large and _bytes(one[0]) <= limit and _bytes(two[0]) <= limit else []

    def _whole(self, level: list[Conv]) -> tuple[list[Conv], list[Conv]] | None:
        """All convolutions that make what the others read, and those, if nothing else does either."""
        makers, readers = {id(op): op for op in level}, dict[int, Conv]()
        asked = list(level)
        while asked:
            frame = self.graph.out(asked.pop())
            for reader in self.readers[frame.number]:
                if not isinstance(reader, Conv) or reader.residual is frame:
                    return None
                readers[id(reader)] = reader
                for maker in (read.op for read in reader.convolved()):
                    if not isinstance(maker, Conv):
                        return None
                    if id(maker) not in makers:
                        makers[id(maker)] = maker
                        asked.append(maker)
        made = all(self._fits(op) for op in (*makers.values(), *readers.values()))
        kept = any(self.graph.out(op).number in self.pinned for op in makers.values())
        return (list(makers.values()), list(readers.values())) if readers and made and not kept else None

    def _fits(self, op: Conv) -> bool:
        out = self.graph.out(op)
        return (op.batch < 0 or self.calls[op.batch] == 1) and not (op.quant or out.quant or out.half or op.tile or op.planar)

    def _alike(self, level: list[Conv]) -> bool:
        """Frames of one size, none of which waits for another."""
        return len({(self.depth[id(op)], self.graph.out(op).shape, sizes_of(op)) for op in level}) == 1


def _bytes(op: Conv) -> int:
    """Of the weights that are not zero."""
    return 4 * sum(int(np.count_nonzero(tap.weight)) for tap in op.taps)


def _size(op: Conv) -> int:
    """Bytes of all weights."""
    return 4 * sum(tap.weight.size for tap in op.taps)


def _passes(op: Conv) -> bool:
    """Does it read each row once, and none outside of its frames? So nothing of a strip is needed for the next."""
    reach, stride, top = sizes_of(op)
    return reach <= stride and top == 0


def _waits(op: Conv) -> bool:
    """Does it wait longer for what it reads than it computes? A depthwise one reads all in order, which is there in time."""
    values = sum(len(tap.planes) * tap.weight[0, 0].size for tap in op.taps)
    return not op.depthwise and _bytes(op) <= 4 * _OFTEN * values


def _chain(graph: Graph, levels: list[list[Conv]], target: Target) -> Chain:
    """With as many rows at a time as HELD allows, for as many threads as take no more memory than all rows at once."""
    ops = _in_turn(levels)
    shares = _shares(graph, levels, ops)
    firsts = [level[0] for level in levels]
    frames = [graph.out(op) for op in firsts]
    of_row = [4 * -(-f.channels // target.block) * target.block * (f.width + 2) for f in frames[:-1]]
    places = [sum(graph.out(op).number not in shares for op in level) for level in levels[:-1]]

    def size(kept: list[int]) -> int:
        return sum(n * each * count for n, each, count in zip(kept, of_row, places, strict=True))

    rows, kept, most = 1, held(firsts, 1), HELD * (2 if target.block == 16 else 1)
    while rows < frames[-1].height and size(more := held(firsts, rows + 1)) <= most:
        rows, kept = rows + 1, more
    whole = sum(f.height * each * len(level) for f, each, level in zip(frames, of_row, levels, strict=False))
    copies = max(1, min(_THREADS, whole // size(kept), frames[-1].height))
    return Chain(levels, ops, rows, kept, copies, shares)


def _in_turn(levels: list[list[Conv]]) -> list[Conv]:
    """Every convolution just before it is read."""
    done: dict[int, Conv] = {}
    inside = {id(op) for level in levels for op in level}

    def visit(op: Conv) -> None:
        for maker in (frame.op for frame in op.convolved()):
            if isinstance(maker, Conv) and id(maker) in inside and id(maker) not in done:
                visit(maker)
        done[id(op)] = op

    for op in levels[-1]:
        visit(op)
    return list(done.values())


def _shares(graph: Graph, levels: list[list[Conv]], ops: list[Conv]) -> dict[int, int]:
    """Frames that take the place of another when that has been read, where nothing of a strip is needed for the next."""
    shares: dict[int, int] = {}
    last = {frame.number: turn for turn, op in enumerate(ops) for frame in op.convolved()}
    for level, after in pairwise(levels):
        free: dict[int, int] = {}  # a place -> the last turn in which it is read
        for turn, op in enumerate(ops):
            if op in level and _passes(after[0]):
                number = graph.out(op).number
                place = next((place for place, end in free.items() if end < turn), number)
                free[place] = last[number]
                if place != number:
                    shares[number] = place
    return shares


def held(ops: list[Conv], rows: int) -> list[int]:
    """Rows of each frame but the last that are there at once, those outside of it included, where the last is made `rows` at a
    time: a thread that begins in the middle needs them all. ops: one of each level."""
    made = [rows]
    for op in ops[:0:-1]:
        reach, stride, _ = sizes_of(op)
        made.append((made[-1] - 1) * stride + reach + max(0, stride - reach))
    return made[:0:-1]
