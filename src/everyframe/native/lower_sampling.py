"""Values taken from between others, at positions that may be known only at run time: GridSample, RoiAlign, DeformConv."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native.ir import Value
from everyframe.native.lower_places import picked, strides_of, weighted_sum
from everyframe.native.tracer import Tracer, lowers, unsupported

# N batch, C channels, H height, W width

Taps = list[tuple[Any, Any]]  # (position, weight), weight None for 1


def _nearest(tracer: Tracer, x: Value) -> Taps:
    return [(tracer.emit("Round", x), None)]


def _linear(tracer: Tracer, x: Value) -> Taps:
    low = tracer.emit("Floor", x)
    part = tracer.emit("Sub", x, low)
    return [(low, tracer.emit("Sub", 1.0, part)), (tracer.emit("Add", low, 1.0), part)]


def _cubic(tracer: Tracer, x: Value) -> Taps:
    """Cubic convolution with a = -0.75 (Keys 1981)."""
    a, emit = -0.75, tracer.emit
    low = emit("Floor", x)
    part = emit("Sub", x, low)

    def polynomial(t: Value, *coefficients: float) -> Value:
        total: Value | float = coefficients[0]
        for each in coefficients[1:]:
            total = emit("Add", emit("Mul", total, t), each)
        return total  # type: ignore[return-value]

    def far(t: Value) -> Value:
        return polynomial(t, a, -5 * a, 8 * a, -4 * a)

    def near(t: Value) -> Value:
        return polynomial(t, a + 2, -a - 3, 0.0, 1.0)

    rest = emit("Sub", 1.0, part)
    weights = [far(emit("Add", part, 1.0)), near(part), near(rest), far(emit("Add", rest, 1.0))]
    return [(emit("Add", low, float(k - 1)), weight) for k, weight in enumerate(weights)]


_TAPS: dict[str, Callable[[Tracer, Value], Taps]] = {
    "nearest": _nearest, "linear": _linear, "bilinear": _linear, "cubic": _cubic, "bicubic": _cubic,
}  # fmt: skip


def _mirrored(tracer: Tracer, x: Value, low: float, high: float) -> Value:
    """Reflected at `low` and `high` until it lies between them."""
    emit, span = tracer.emit, high - low
    if span <= 0:
        return emit("Mul", x, 0.0)
    there = emit("Mod", emit("Abs", emit("Sub", x, low)), np.asarray(2 * span, np.float32), fmod=1)
    return emit("Add", emit("Sub", span, emit("Abs", emit("Sub", there, span))), low)


def sampled(
    tracer: Tracer, node: Node, x: Value, at: Sequence[Value], mode: str = "linear", padding: str = "zeros", aligned: bool = True
) -> Value:
    """x (N, C, *sizes) at positions: one tensor an axis, of shape (N, C or 1, *out). aligned: where reflection happens."""
    sizes, emit = x.shape[2:], tracer.emit
    axes: list[list[tuple[Value, Value | None, Value | None]]] = []  # of each axis: (position, weight, inside)
    for size, position in zip(sizes, at, strict=True):
        row: list[tuple[Value, Value | None, Value | None]] = []
        low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
        if mode not in ("cubic", "bicubic") and padding == "reflection":
            position = _mirrored(tracer, position, low, high)
        elif mode not in ("cubic", "bicubic") and padding == "border":
            position = emit("Clip", position, 0.0, size - 1.0)
        for place, weight in _TAPS[mode](tracer, position):
            inside = None
            if padding == "reflection":
                place = _mirrored(tracer, place, low, high)
                place = place if aligned else emit("Round", emit("Sub", place, 0.0))
            elif padding == "zeros":
                inside = emit("And", emit("Less", -1.0, place), emit("Less", place, float(size)))
            row.append((emit("Clip", place, 0.0, size - 1.0), weight, inside))
        axes.append(row)
    first = np.arange(prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * len(sizes)) * prod(sizes)
    strides = strides_of(sizes)
    total: Value | None = None
    for corner in product(*axes):
        index = weighted_sum(tracer, [(place, stride) for (place, _, _), stride in zip(corner, strides, strict=True)], first)
        value = picked(tracer, node, x, index)
        for _, weight, inside in corner:
            value = value if weight is None else emit("Mul", value, weight)
            value = value if inside is None else emit("Where", inside, value, np.zeros((), np.float32))
        total = value if total is None else emit("Add", total, value)
    return total  # type: ignore[return-value]


@lowers("GridSample", reads="align_corners mode padding_mode")
def grid_sample(tracer: Tracer, node: Node, values: list) -> Value:
    x, grid = values
    aligned = bool(node.attr("align_corners", 0))
    mode, padding = (node.attr(name, none).decode() for name, none in (("mode", b"linear"), ("padding_mode", b"zeros")))
    dims = len(x.shape) - 2
    at = []
    for axis, size in enumerate(x.shape[2:]):
        part = tracer.emit("Gather", grid, np.array(dims - 1 - axis), axis=-1)  # x comes first
        part = tracer.emit("Unsqueeze", part, np.array([1]))
        scale, shift = ((size - 1) / 2, (size - 1) / 2) if aligned else (size / 2, (size - 1) / 2)
        at.append(tracer.emit("Add", tracer.emit("Mul", part, float(scale)), float(shift)))
    return sampled(tracer, node, x, at, mode, padding, aligned)


@lowers("DeformConv", reads="dilations group kernel_shape offset_group pads strides")
def deformed(tracer: Tracer, node: Node, values: list) -> Value:
    """A convolution whose taps are moved: what each tap meets is sampled, and a kernel of one position adds it up."""
    x, weight, offset, bias, mask = [*values, None, None][:5]
    if not isinstance(weight, np.ndarray) or weight.ndim != 4:
        raise unsupported(node, "A deformable convolution needs constant weights over two axes.")
    kernel, groups, parts = weight.shape[2:], node.attr("group", 1), node.attr("offset_group", 1)
    strides, dilations = (node.attr(name) or [1, 1] for name in ("strides", "dilations"))
    pads = node.attr("pads") or [0] * 4
    emit, (batch, channels, *_), out = tracer.emit, x.shape, offset.shape[2:]
    each = channels // parts
    offsets = emit("Reshape", offset, np.array([batch * parts, prod(kernel), 2, *out]))
    masks = None if mask is None else emit("Reshape", mask, np.array([batch * parts, prod(kernel), *out]))
    source = emit("Reshape", x, np.array([batch * parts, each, *x.shape[2:]]))
    columns = []
    for k, tap in enumerate(np.ndindex(*kernel)):
        at = []
        for axis in range(2):
            base = np.arange(out[axis], dtype=np.float32) * strides[axis] - pads[axis] + tap[axis] * dilations[axis]
            moved_by = emit("Gather", emit("Gather", offsets, np.array(k), axis=1), np.array([axis]), axis=1)
            at.append(emit("Add", moved_by, base.reshape((1, 1, -1, 1) if axis == 0 else (1, 1, 1, -1))))
        value = sampled(tracer, node, source, at)
        if masks is not None:
            value = emit("Mul", value, emit("Gather", masks, np.array([k]), axis=1))
        columns.append(emit("Reshape", value, np.array([batch, channels, *out])))
    joined = emit("Concat", *columns, axis=1)  # (N, taps * C, ...)
    into = weight.shape[1]
    whole = np.zeros((len(weight), prod(kernel), channels), np.float32)
    for o, row in enumerate(weight.reshape(len(weight), into, -1)):
        first = o // (len(weight) // groups) * into
        whole[o, :, first : first + into] = row.T
    return emit("Conv", joined, whole.reshape(len(weight), -1, 1, 1), bias)


@lowers("RoiAlign", reads="coordinate_transformation_mode output_height output_width sampling_ratio spatial_scale")
def roi_align(tracer: Tracer, node: Node, values: list) -> Value:
    """The mean of samples inside each part of each region; what lies more than one outside counts as 0."""
    x, boxes, batch = values
    grid = [int(node.attr(f"output_{side}", 1)) for side in ("height", "width")]
    samples, scale, emit = node.attr("sampling_ratio", 0), float(node.attr("spatial_scale", 1.0)), tracer.emit
    if samples < 1:
        raise unsupported(node, "How many samples a region takes depends on its size.", expected="a sampling_ratio of 1 or more")
    half = node.attr("coordinate_transformation_mode", b"half_pixel") == b"half_pixel" and tracer.opset >= 16
    at, inside = [], None
    for axis, size in enumerate(x.shape[2:]):
        first, last = (
            emit("Sub", emit("Mul", emit("Gather", boxes, np.array([k]), axis=1), scale), 0.5 if half else 0.0)
            for k in (1 - axis, 3 - axis)
        )
        extent = emit("Sub", last, first) if half else emit("Max", emit("Sub", last, first), 1.0)
        steps = (np.arange(grid[axis] * samples, dtype=np.float32) + 0.5) / (grid[axis] * samples)
        along = emit("Add", first, emit("Mul", extent, steps.reshape(1, -1)))  # (regions, samples)
        along = emit("Unsqueeze", along, np.array([1, 3 if axis == 0 else 2]))
        here = emit("And", emit("LessOrEqual", -1.0, along), emit("LessOrEqual", along, float(size)))
        inside = here if inside is None else emit("And", inside, here)
        at.append(emit("Clip", along, 0.0, size - 1.0))
    source = emit("Gather", x, batch, axis=0)
    values_there = emit("Where", inside, sampled(tracer, node, source, at, padding="border"), np.zeros((), np.float32))
    sides = [samples, samples]
    return emit("AveragePool", values_there, kernel_shape=sides, strides=sides)
