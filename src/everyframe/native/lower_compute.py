"""Convolutions, matrix products, pools and means: one frame operator for each frame of the output."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.ir import Frame, Planes, Value
from everyframe.native.lower_elementwise import channel_axis
from everyframe.native.lower_quantized import exact, in_integers, rows_of
from everyframe.native.lower_structure import ints, reshaped
from everyframe.native.tracer import Tracer, lowers, rows, stack, unsupported

# N batch or frames, C channels, T frames of a clip, H height, W width, k taps


def _padding(node: Node, kernel: list[int], strides: list[int], dilations: list[int], sizes: tuple[int, ...]) -> list[int]:
    """ONNX pads (begins, then ends), auto_pad written out."""
    dims = len(kernel)
    auto = node.attr("auto_pad", b"NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else auto
    if auto in ("NOTSET", ""):
        return list(node.attr("pads") or [0] * 2 * dims)
    if auto == "VALID":
        return [0] * 2 * dims
    total = [
        max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n) for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return less + more if auto == "SAME_UPPER" else more + less


def _window(node: Node, value: Planes, kernel: list[int]) -> dict[str, Any]:
    """strides, dilations, pads and output sizes over the spatial axes, time first in three dimensions."""
    dims = len(kernel)
    sizes = value.shape[2:]
    if len(sizes) != dims or value.space is None:
        raise unsupported(node, "Its input does not have the axes that its kernel needs.", got=f"shape {value.shape}")
    strides, dilations = list(node.attr("strides") or [1] * dims), list(node.attr("dilations") or [1] * dims)
    pads = _padding(node, kernel, strides, dilations, sizes)
    out = []
    for i, n in enumerate(sizes):
        room = n + pads[i] + pads[i + dims] - (kernel[i] - 1) * dilations[i] - 1
        count = room // strides[i] + 1
        if node.attr("ceil_mode", 0):
            count = -(-room // strides[i]) + 1
            if (count - 1) * strides[i] >= n + pads[i]:  # the last window may not begin in the padding
                count -= 1
        out.append(count)
    return {"strides": strides, "dilations": dilations, "pads": pads, "out": out, "kernel": kernel}


def _times(window: dict[str, Any], frames: int, t: int) -> list[int | None]:
    """The frame that each temporal tap of output frame t reads; None in the padding."""
    start = t * window["strides"][0] - window["pads"][0]
    taps = [start + i * window["dilations"][0] for i in range(window["kernel"][0])]
    return [i if 0 <= i < frames else None for i in taps]


@lowers("Conv")
def conv(tracer: Tracer, node: Node, values: list) -> Value:
    x, weight = values[0], values[1]
    bias = values[2] if len(values) > 2 else None
    if not isinstance(x, Planes) or not isinstance(weight, np.ndarray) or not (bias is None or isinstance(bias, np.ndarray)):
        raise unsupported(node, "A convolution needs constant weights.")
    dims = weight.ndim - 2
    if dims not in (2, 3):
        raise unsupported(node, "Convolutions over two or three axes can be compiled.", got=f"a kernel of shape {weight.shape}")
    window = _window(node, x, list(weight.shape[2:]))
    group, (cout, cin) = node.attr("group", 1), weight.shape[:2]
    depthwise = group > 1 and cin == 1 and cout == group
    levels = tracer.levels.get(node.inputs[1])
    if levels and levels.scale.size > 1 and levels.axis:
        levels = None
    dense = weight if depthwise else _expanded(weight, group)
    integers, scale = None, None
    if levels:
        integers = levels.integers if depthwise else _expanded(levels.integers, group)
        scale = np.broadcast_to(levels.scale, cout)
    taps = dense.shape[2] if dims == 3 else 1
    whole = rows(x).reshape(x.array.shape[0], -1, x.array.shape[1])  # (N, T, C)
    frames_out = window["out"][0] if dims == 3 else 1
    made = np.empty((len(whole), frames_out), object)
    for n, t in product(range(len(whole)), range(frames_out)):
        times = _times(window, whole.shape[1], t) if dims == 3 else [0]
        edge = np.full(whole.shape[2], tracer.fill(0.0, (1, *x.space)).planes()[0])  # type: ignore[misc]
        tap_list = [
            ir.Tap(
                dense[:, :, k] if dims == 3 else dense,
                (node.inputs[1], k),
                edge if time is None else whole[n, time],
                integers[:, :, k] if integers is not None and dims == 3 else integers,
                scale,
            )
            for k, time in zip(range(taps), times, strict=True)
        ]
        made[n, t] = _conv_frame(tracer, node, tap_list, bias, window, depthwise, x.space)
    space = tuple(window["out"][-2:])
    if dims == 2:
        return stack(made[:, 0], space)  # type: ignore[arg-type]
    return stack(made, space)  # type: ignore[arg-type]


def _expanded(weight: np.ndarray, group: int) -> np.ndarray:
    """A grouped kernel (Cout, Cin/group, ...) as a dense one; the zeros are skipped when it is packed."""
    if group == 1:
        return weight
    cout, cin = weight.shape[:2]
    dense = np.zeros((cout, cin * group, *weight.shape[2:]), weight.dtype)
    for g in range(group):
        part = slice(g * cout // group, (g + 1) * cout // group)
        dense[part, g * cin : (g + 1) * cin] = weight[part]
    return dense


def _conv_frame(
    tracer: Tracer, node: Node, taps: list[ir.Tap], bias: np.ndarray | None, window: dict[str, Any], depthwise: bool,
    space: tuple[int, int] | None,
) -> Frame:  # fmt: skip
    if depthwise:  # it reads whole frames
        for tap in taps:
            frame = tracer.frame(tap.planes, space)
            tap.planes = frame.planes()
    quant = in_integers(tracer, taps)
    op = ir.Conv(
        *tracer.place(),
        taps,
        exact(tracer, node.input(2), bias, quant),
        (node.input(2),),
        tuple(window["strides"][-2:]),
        tuple(window["pads"][len(window["kernel"]) - 2 : len(window["kernel"])]),  # type: ignore[arg-type]
        tuple(window["dilations"][-2:]),
        depthwise,
        quant=quant,
    )
    op.frames = {n: f for tap in taps for n, f in tracer.used(tap.planes).items()}
    return tracer.add(op, (taps[0].weight.shape[0], *window["out"][-2:]))


# -- matrix products ------------------------------------------------------------------------------------------------------


def linear(
    tracer: Tracer, node: Node, row: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, key: tuple,
    levels: ir.Levels | None = None,
) -> Frame:  # fmt: skip
    """A fully connected layer of one row; over a flattened picture a convolution of that size. weight: (Cout, Cin)."""
    frame, shape = tracer.of(row[0]), (1, 1)
    if isinstance(frame.op, ir.Flatten) and np.array_equal(frame.planes(), row):
        source = frame.op.source
        row, shape = source.planes(), (source.height, source.width)
    kernel = np.ascontiguousarray(weight.reshape(len(weight), len(row), *shape), np.float32)
    tap = ir.Tap(kernel, key, row)
    if levels is not None:
        tap.integers, tap.scale = levels.integers.reshape(kernel.shape), np.broadcast_to(levels.scale, len(weight))
    quant = in_integers(tracer, [tap])
    op = ir.Conv(*tracer.place(), [tap], exact(tracer, node.input(2), bias, quant), (node.input(2), *key), quant=quant)
    op.frames = tracer.used(tap.planes)
    return tracer.add(op, (len(weight), 1, 1))


@lowers("Gemm")
def gemm(tracer: Tracer, node: Node, values: list) -> Value:
    a, b = values[0], values[1]
    c = values[2] if len(values) > 2 else None
    if (
        not isinstance(a, Planes)
        or not isinstance(b, np.ndarray)
        or a.array.ndim != 2
        or not (c is None or isinstance(c, np.ndarray))
    ):
        raise unsupported(node, "A matrix product needs rows of features and constant weights.", got=f"shape {values[0].shape}")
    weight = (b if node.attr("transB", 0) else b.T) * np.float32(node.attr("alpha", 1.0))  # (Cout, Cin)
    array = a.array.T if node.attr("transA", 0) else a.array
    levels = rows_of(tracer.levels.get(node.inputs[1]), bool(node.attr("transB", 0))) if node.attr("alpha", 1.0) == 1 else None
    bias = None
    if c is not None:
        full = np.broadcast_to(c, (len(array), len(weight))) * np.float32(node.attr("beta", 1.0))
        if not (full == full[0]).all():
            raise unsupported(node, "The added matrix differs from row to row.")
        bias = np.ascontiguousarray(full[0], np.float32)
    made = np.empty(len(array), object)
    for i, row in enumerate(array):
        made[i] = linear(tracer, node, row, weight, bias, (node.inputs[1], "gemm"), levels)
    return stack(made, None)


@lowers("MatMul")
def matmul(tracer: Tracer, node: Node, values: list) -> Value:
    a, b = values
    if isinstance(a, Planes) and isinstance(b, np.ndarray) and b.ndim == 2 and (a.space is None or a.space == (1, 1)):
        array = a.array if a.space is None else a.array.reshape(a.shape)
        if array.ndim >= 2 and array.shape[-1] == b.shape[0]:
            flat = array.reshape(-1, array.shape[-1])
            levels = rows_of(tracer.levels.get(node.inputs[1]), False)
            made = [linear(tracer, node, row, b.T, None, (node.inputs[1], "matmul"), levels).planes() for row in flat]
            return Planes(np.stack(made).reshape(*array.shape[:-1], -1), None)
    if isinstance(b, Planes) and isinstance(a, np.ndarray) and a.ndim == 2 and b.array.ndim == 2 and b.space is None:
        made = [_weighted(tracer, row, [tracer.frame(r, None) for r in b.array]).planes() for row in a]
        return Planes(np.stack(made), None)
    raise unsupported(node, "Only products with one constant matrix, over the last axis or the frames, can be compiled.",
                      got=f"shapes {values[0].shape} and {values[1].shape}")  # fmt: skip


def _weighted(tracer: Tracer, weights: np.ndarray, frames: list[Frame]) -> Frame:
    """sum of weights[i] * frames[i], zeros left out."""
    used = [(float(w), f) for w, f in zip(weights, frames, strict=True) if w != 0]
    if not used:
        return tracer.fill(0.0, frames[0].shape)
    steps: list[ir.Step] = []
    total: tuple | None = None
    for i, (w, _) in enumerate(used):
        term: tuple = ("in", i)
        if w != 1:
            steps.append(("mul", (term, ("num", w))))
            term = ("tmp", len(steps) - 1)
        if total is not None:
            steps.append(("add", (total, term)))
            term = ("tmp", len(steps) - 1)
        total = term
    if not steps:
        return used[0][1]
    return tracer.add(ir.Map(*tracer.place(), [f for _, f in used], steps), used[0][1].shape)


# -- pools and means --------------------------------------------------------------------------------------------------------


@lowers("MaxPool", "AveragePool")
def pool(tracer: Tracer, node: Node, values: list) -> Value:
    x, kind = values[0], "max" if node.op == "MaxPool" else "avg"
    if not isinstance(x, Planes) or (len(node.outputs) > 1 and node.outputs[1]):
        raise unsupported(node, "A pool over pictures with one output is expected.")
    kernel = list(node.attr("kernel_shape"))
    window = _window(node, x, kernel)
    if len(kernel) not in (2, 3):
        raise unsupported(node, "Pools over two or three axes can be compiled.", got=f"kernel {kernel}")
    whole = rows(x).reshape(x.array.shape[0], -1, x.array.shape[1])  # (N, T, C)
    deep = len(kernel) == 3
    frames_out = window["out"][0] if deep else 1
    counted = bool(node.attr("count_include_pad", 0))
    half = len(kernel)
    pads = tuple(window["pads"][half - 2 : half] + window["pads"][-2:])
    made = np.empty((len(whole), frames_out), object)
    for n, t in product(range(len(whole)), range(frames_out)):
        times = [i for i in _times(window, whole.shape[1], t) if i is not None] if deep else [0]
        parts = tracer.alike([tracer.frame(whole[n, i], x.space) for i in times])
        depth = kernel[0] if deep and counted else len(parts)
        op = ir.Pool(
            *tracer.place(), kind, parts, (kernel[-2], kernel[-1]), tuple(window["strides"][-2:]), pads,
            tuple(window["dilations"][-2:]), counted, depth,
        )  # fmt: skip
        made[n, t] = tracer.add(op, (parts[0].channels, *window["out"][-2:]))
    space = tuple(window["out"][-2:])
    return stack(made if deep else made[:, 0], space)  # type: ignore[arg-type]


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(tracer: Tracer, node: Node, values: list) -> Value:
    rank = len(values[0].shape)
    kind = "mean" if node.op == "GlobalAveragePool" else "max"
    return _reduced(tracer, node, values[0], list(range(2, rank)), True, kind)


@lowers("ReduceMean", "ReduceSum", "ReduceMax")
def reduce(tracer: Tracer, node: Node, values: list) -> Value:
    rank = len(values[0].shape)
    axes = ints(node, values, 1, "axes")
    kind = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max"}[node.op]
    return _reduced(tracer, node, values[0], [a % rank for a in (axes or range(rank))], bool(node.attr("keepdims", 1)), kind)


def _reduced(tracer: Tracer, node: Node, x: Value, axes: list[int], keep: bool, kind: str) -> Value:
    if not isinstance(x, Planes):
        raise unsupported(node, "A mean over counters cannot be compiled.")
    rank, outer = len(x.shape), x.array.ndim
    space = [a for a in axes if a >= outer]
    others = [a for a in axes if a < outer]
    pictures = x.space is not None
    channel = channel_axis(x.array)
    if channel in others:
        return _over_channels(tracer, node, x, axes, channel, keep, kind)
    if pictures and prod(x.space or ()) > 1 and len(space) != 2:
        raise unsupported(node, "Pictures are reduced over height and width together.", got=f"axes {axes}")
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
    both = keep or not space
    trailing = (1, 1) if pictures and both and (space or x.space == (1, 1)) else None
    if pictures and both and trailing is None:
        raise unsupported(node, "Only frames are reduced, not their pictures.", got=f"axes {axes} of {rank}")
    return Planes(array, trailing)


def _over_channels(
    tracer: Tracer, node: Node, x: Planes, axes: list[int], channel: int, keep: bool, kind: str
) -> Value:  # fmt: skip
    """A mean or sum that goes over the channels too: a convolution with equal weights, after the other axes."""
    if kind == "max":
        raise unsupported(node, "A maximum over channels cannot be compiled.", got=f"axes {axes}")
    rest = [axis for axis in axes if axis != channel]
    inner = _reduced(tracer, node, x, rest, True, kind) if rest else x
    if not isinstance(inner, Planes):
        raise unsupported(node, "A mean over counters cannot be compiled.")
    moved = np.moveaxis(inner.array, channel, -1)
    count = moved.shape[-1]
    weight = np.full((1, count, 1, 1), 1 / count if kind == "mean" else 1.0, np.float32)
    made = np.empty(moved.shape[:-1], object)
    for index in np.ndindex(*made.shape):
        op = ir.Conv(*tracer.place(), [ir.Tap(weight, (node.name, kind), moved[index])])
        op.frames = tracer.used(moved[index])
        made[index] = tracer.add(op, (1, *(inner.space or (1, 1))))
    total = stack(made, inner.space, channel)
    shape = tuple(n for axis, n in enumerate(total.shape) if keep or axis not in axes)
    return reshaped(tracer, node, total, shape)
