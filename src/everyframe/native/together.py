"""Frames of one layer that are computed by one call, so that its weights are read once for all of them.

The weights of a deep layer are larger than any cache near the processor, and its pictures are small: frame by frame it would wait
for memory. Nothing changes in what is summed, and in which order.
"""

from __future__ import annotations

from collections import defaultdict

from everyframe.native.fuse import in_order
from everyframe.native.ir import Conv, Graph

#: positions of all frames of a call, at most: with as many, a processor computes longer with a weight than it waits for it
POSITIONS = 256


def together(graph: Graph) -> Graph:
    """Puts frames of one layer side by side and numbers those that are one call (`Conv.batch`), in place.

    They are equally far from the inputs: then none waits for another, and no call for one that waits for it.
    """
    depth: dict[int, int] = {}
    alike: dict[tuple, list[Conv]] = defaultdict(list)
    for op in graph.ops:
        depth[id(op)] = 1 + max((depth.get(id(frame.op), 0) for frame in op.reads()), default=0)
        if isinstance(op, Conv) and not op.depthwise and ((op.quant is None and graph.out(op).quant is None) or op.tile):
            key = tuple(tap.key for tap in op.taps), op.bias_key, graph.out(op).shape, op.strides, op.pads, op.dilations
            alike[*key, depth[id(op)]].append(op)
    batches: list[list[Conv]] = []
    for ops in alike.values():
        _, height, width = graph.out(ops[0]).shape
        count = max(1, POSITIONS // (width if ops[0].tile else height * width))
        batches += [ops[first : first + count] for first in range(0, len(ops), count)]
    for number, ops in enumerate(batches):
        for op in ops:
            op.batch = number
    in_order(graph, together={id(op): ops for ops in batches for op in ops})
    return graph
