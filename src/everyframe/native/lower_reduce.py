"""Reductions: sums, means and extremes over any axes, and where those are."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.broadcast import apply, channel_axis
from everyframe.native.cells import cells_of, gathered
from everyframe.native.ir import Planes, Value
from everyframe.native.lower_structure import ints, reshaped
from everyframe.native.tracer import Tracer, lowers, stack, unsupported

# C channels

#: more rows of single values than that are reduced together, not as a convolution each
_ROWS = 32


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(tracer: Tracer, node: Node, values: list) -> Value:
    rank = len(values[0].shape)
    kind = "mean" if node.op == "GlobalAveragePool" else "max"
    return reduced(tracer, node, values[0], list(range(2, rank)), True, kind)


@lowers(
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    reads="axes keepdims noop_with_empty_axes",
    kinds="bool int",
)
def reduce(tracer: Tracer, node: Node, values: list) -> Value:
    x = values[0]
    axes, kind = ints(node, values, 1, "axes"), node.op.removeprefix("Reduce").lower()
    if not isinstance(x, Planes) or (x.kind == "bool" and kind not in ("max", "min")) or (x.kind == "int" and kind == "mean"):
        raise unsupported(node, "Only what is made of frames can be reduced, and of whole numbers there is no mean.")
    if not axes and node.attr("noop_with_empty_axes", 0):
        return x
    rank = len(x.shape)
    made = reduced(tracer, node, x, [a % max(rank, 1) for a in (axes or range(rank))], bool(node.attr("keepdims", 1)), kind)
    made.kind = x.kind
    return made


@lowers("ReduceLogSumExp", reads="axes keepdims")
def log_sum_exp(tracer: Tracer, node: Node, values: list) -> Value:
    """Around the largest value, so that nothing overflows."""
    x, rank = values[0], len(values[0].shape)
    if not isinstance(x, Planes):
        raise unsupported(node, "Only what is made of frames can be reduced.")
    axes = [a % max(rank, 1) for a in (ints(node, values, 1, "axes") or range(rank))]
    top = reduced(tracer, node, x, axes, True, "max")
    powers = apply(tracer, node, [("sub", (("in", 0), ("in", 1))), ("exp", (("tmp", 0),))], [x, top])
    total = reduced(tracer, node, powers, axes, True, "sum")
    made = apply(tracer, node, [("log", (("in", 0),)), ("add", (("tmp", 0), ("in", 1)))], [total, top])
    shape = tuple(n for axis, n in enumerate(made.shape) if node.attr("keepdims", 1) or axis not in axes)
    return reshaped(tracer, node, made, shape)


def reduced(tracer: Tracer, node: Node, x: Planes, axes: list[int], keep: bool, kind: str) -> Planes:
    if not axes:
        return x
    if kind == "prod" or kind == "min" or x.array.ndim == 0:
        return _value_by_value(tracer, node, x, axes, keep, kind)
    outer = x.array.ndim
    space = [a for a in axes if a >= outer]
    others = [a for a in axes if a < outer]
    pictures = x.space is not None
    channel = channel_axis(x.array)
    many = x.space is None and x.array.size > _ROWS * x.array.shape[channel]
    if channel in others and kind != "max" and not many:
        return _over_channels(tracer, node, x, axes, channel, keep, kind)
    both = keep or not space
    halfway = pictures and prod(x.space or ()) > 1 and len(space) != 2
    if halfway and not others and kind in ("max", "mean"):
        return _along_a_side(tracer, x, space[0] - outer, keep, kind)
    if channel in others or halfway or (pictures and both and not space and x.space != (1, 1)):
        return _value_by_value(tracer, node, x, axes, keep, kind)
    moved = np.moveaxis(x.array, [*others, channel], [*range(-1 - len(others), -1), -1])
    lead = moved.shape[: outer - 1 - len(others)]
    grouped = moved.reshape(*lead, -1, x.array.shape[channel])  # (..., parts, C)
    made = np.empty(lead, object)
    for index in np.ndindex(*lead):
        parts = tracer.alike([tracer.frame(row, x.space) for row in grouped[index]])
        if len(parts) == 1 and parts[0].height * parts[0].width == 1:
            made[index] = parts[0]
        else:
            made[index] = tracer.add(ir.Reduce(*tracer.place(), kind, parts), (parts[0].channels, 1, 1))
    flat = np.stack([f.planes() for f in made.ravel()]).reshape(*lead, -1)  # (..., C)
    kept = [a for a in range(outer) if a not in others]
    array = np.moveaxis(flat, -1, kept.index(channel))
    if keep:
        for axis in sorted(others):
            array = np.expand_dims(array, axis)
    return Planes(array, (1, 1) if pictures and both else None)


def _along_a_side(tracer: Tracer, x: Planes, side: int, keep: bool, kind: str) -> Planes:
    """Over the height (side 0) or the width (1) of pictures: a pool as wide as that."""
    height, width = x.space or (1, 1)
    kernel, size = ((1, width), (height, 1)) if side else ((height, 1), (1, width))
    made = {}
    for number, source in tracer.used(x.array).items():
        op = ir.Pool(*tracer.place(), "max" if kind == "max" else "avg", [source], kernel, kernel, (0, 0, 0, 0))
        made[number] = tracer.add(op, (source.channels, *size))
    pictures = Planes(ir.retarget(x.array, made), size)
    if keep:
        return pictures
    return gathered(tracer, ir.cell(pictures.array[..., None], np.arange(height if side else width)))


def _value_by_value(tracer: Tracer, node: Node, x: Planes, axes: list[int], keep: bool, kind: str) -> Planes:
    """Over any axes: what is reduced becomes the height of a frame, everything else its channels."""
    rank = len(x.shape)
    if not rank:
        return x
    kept = [axis for axis in range(rank) if axis not in axes]
    turned = cells_of(node, x).transpose([*kept, *axes])
    shape = tuple(x.shape[axis] for axis in kept)
    source = tracer.plain(tracer.move(turned.reshape(prod(shape), -1, 1)))
    frame = tracer.add(ir.Reduce(*tracer.place(), kind, [source]), (prod(shape), 1, 1))
    return Planes(frame.planes().reshape([1 if axis in axes else n for axis, n in enumerate(x.shape)] if keep else shape), None)


def _over_channels(tracer: Tracer, node: Node, x: Planes, axes: list[int], channel: int, keep: bool, kind: str) -> Planes:
    """A mean or sum that goes over the channels too: a convolution with equal weights, after the other axes."""
    rest = [axis for axis in axes if axis != channel]
    inner = reduced(tracer, node, x, rest, True, kind) if rest else x
    moved = np.moveaxis(inner.array, channel, -1)
    count = moved.shape[-1]
    weight = np.full((1, count, 1, 1), 1 / count if kind == "mean" else 1.0, np.float32)
    made = np.empty(moved.shape[:-1], object)
    for index in np.ndindex(*made.shape):
        op = ir.Conv(*tracer.place(), [ir.Tap(weight, ("equal weights", count, kind), moved[index])])
        op.frames = tracer.used(moved[index])
        made[index] = tracer.add(op, (1, *(inner.space or (1, 1))))
    total = stack(made, inner.space, channel)
    shape = tuple(n for axis, n in enumerate(total.shape) if keep or axis not in axes)
    return reshaped(tracer, node, total, shape)  # type: ignore[return-value]


@lowers("ArgMax", "ArgMin", reads="axis keepdims select_last_index")
def where_extreme(tracer: Tracer, node: Node, values: list) -> Value:
    """The least (or greatest) index of those whose value is the extreme one."""
    x = values[0]
    axis, last = node.attr("axis", 0) % len(x.shape), node.attr("select_last_index", 0)
    best = reduced(tracer, node, x, [axis], True, node.op.removeprefix("Arg").lower())
    side = [1] * len(x.shape)
    side[axis] = -1
    index = np.arange(x.shape[axis], dtype=np.float32).reshape(side)
    other = ("num", -1.0 if last else float(x.shape[axis]))
    steps: list[ir.Step] = [("equal", (("in", 0), ("in", 1))), ("where", (("tmp", 0), ("in", 2), other))]
    found = reduced(
        tracer,
        node,
        apply(tracer, node, steps, [x, best, index]),
        [axis],
        bool(node.attr("keepdims", 1)),
        "max" if last else "min",
    )
    return Planes(found.array, found.space, kind="int")


@lowers("Hardmax", reads="axis")
def hardmax(tracer: Tracer, node: Node, values: list) -> Value:
    x = values[0]
    axis = node.attr("axis", -1) % len(x.shape)
    if tracer.opset < 13:
        raise unsupported(node, "Before opset 13 it flattens its input.")
    first = where_extreme(tracer, replace(node, op="ArgMax", attrs={"axis": axis}), [x])
    side = [1] * len(x.shape)
    side[axis] = -1
    return apply(
        tracer, node, [("equal", (("in", 0), ("in", 1)))], [first, np.arange(x.shape[axis], dtype=np.float32).reshape(side)]
    )
