"""Convolutions and pools: one frame operator for each frame of the output."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.modelfile.padding import same
from everyframe.native import ir
from everyframe.native.broadcast import apply
from everyframe.native.cells import as_pictures, cells_of, gathered, products
from everyframe.native.ir import Frame, Planes, Value
from everyframe.native.lower_quantized import exact, in_integers
from everyframe.native.lower_structure import as_planes, reshaped, windows
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
    return same(auto, sizes, kernel, strides, dilations)


def _window(node: Node, value: Planes, kernel: list[int]) -> dict[str, Any]:
    """strides, dilations, pads and output sizes over the spatial axes, time first in three dimensions."""
    dims = len(kernel)
    sizes = value.shape[2:]
    if (
        len(sizes) != dims
        or value.space is None
        or len(node.attr("strides") or kernel) != dims
        or min(node.attr("strides") or [1]) < 1
    ):
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
    if min(out) < 1:
        raise unsupported(node, "Its kernel is larger than its input.", got=f"shape {value.shape}, kernel {kernel}")
    return {"strides": strides, "dilations": dilations, "pads": pads, "out": out, "kernel": kernel}


def _times(window: dict[str, Any], frames: int, t: int) -> list[int | None]:
    """The frame that each temporal tap of output frame t reads; None in the padding."""
    start = t * window["strides"][0] - window["pads"][0]
    taps = [start + i * window["dilations"][0] for i in range(window["kernel"][0])]
    return [i if 0 <= i < frames else None for i in taps]


def with_height(tracer: Tracer, node: Node, values: list, lower: Any) -> Value:
    """An operator over one axis (N, C, W) as one over two, (N, C, 1, W)."""
    attrs = dict(node.attrs)
    for name, none in (("kernel_shape", [1]), ("strides", [1]), ("dilations", [1]), ("output_padding", [0])):
        if name in attrs:
            attrs[name] = none + list(attrs[name])
    if "pads" in attrs:
        attrs["pads"] = [0, attrs["pads"][0], 0, attrs["pads"][1]]
    if "output_shape" in attrs:
        attrs["output_shape"] = [1, *attrs["output_shape"]]
    x, *rest = values
    tall = gathered(tracer, np.expand_dims(cells_of(node, x), 2))
    made = lower(
        tracer,
        replace(node, attrs=attrs),
        [tall, *(v[:, :, None] if i == 0 and v is not None else v for i, v in enumerate(rest))],
    )
    parts = made if isinstance(made, list) else [made]
    flat = [reshaped(tracer, node, each, (*each.shape[:2], each.shape[3])) for each in parts]
    return flat if len(flat) > 1 else flat[0]  # type: ignore[return-value]


def checked(node: Node, values: list) -> tuple[Planes, np.ndarray, np.ndarray | None]:
    """Picture, kernel and bias of a convolution."""
    x, weight, bias = values[0], values[1], values[2] if len(values) > 2 else None
    if not isinstance(x, Planes) or not isinstance(weight, np.ndarray) or not (bias is None or isinstance(bias, np.ndarray)):
        raise unsupported(node, "A convolution needs constant weights.")
    kernel = list(weight.shape[2:])
    if weight.ndim not in (3, 4, 5) or len(x.shape) != weight.ndim or node.attr("kernel_shape", kernel) != kernel:
        raise unsupported(node, "Convolutions over one to three axes can be compiled.", got=f"a kernel of shape {weight.shape}")
    return x, weight, bias


@lowers("Conv", reads="auto_pad dilations group kernel_shape pads strides", kinds="int", keeps=True)
def conv(tracer: Tracer, node: Node, values: list) -> Value:
    if not all(value is None or isinstance(value, np.ndarray) for value in values[1:]):
        return _with_weights_of_pictures(tracer, node, *[*values, None][:3])
    x, weight, bias = checked(node, values)
    dims = weight.ndim - 2
    if dims == 1:
        return with_height(tracer, node, [x, weight, bias], conv)
    x = as_pictures(tracer, node, x)
    if x.shape[1] != weight.shape[1] * node.attr("group", 1):
        raise unsupported(node, "The kernel is for another number of channels.", got=f"{x.shape} and {weight.shape}")
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


def _with_weights_of_pictures(tracer: Tracer, node: Node, x: Value, weight: Value, bias: Value | None) -> Value:
    """A convolution whose weights are known only at run time: what its taps meet, times them."""
    if not isinstance(x, Planes | np.ndarray) or not isinstance(weight, Planes | np.ndarray) or len(x.shape) != len(weight.shape):
        raise unsupported(node, "The kernel is for another number of axes.", got=f"{x.shape} and {weight.shape}")
    (batch, channels, *sizes), (cout, each, *kernel) = x.shape, weight.shape
    dims, groups = len(kernel), node.attr("group", 1)
    strides, dilations = list(node.attr("strides") or [1] * dims), list(node.attr("dilations") or [1] * dims)
    pads = _padding(node, kernel, strides, dilations, tuple(sizes))
    out = [
        (n + a + b - (k - 1) * d - 1) // s + 1
        for n, a, b, k, d, s in zip(sizes, pads, pads[dims:], kernel, dilations, strides, strict=False)
    ]
    if min(out) < 1 or channels != each * groups:
        raise unsupported(node, "The kernel is larger than its input, or for another number of channels.", got=f"{x.shape}")
    whole = np.pad(cells_of(node, as_planes(tracer, x)), [(0, 0), (0, 0), *zip(pads[:dims], pads[dims:], strict=True)])
    ends = [(o - 1) * s + 1 for o, s in zip(out, strides, strict=True)]
    parts = []
    for tap in np.ndindex(*kernel):
        cut = [slice(t * d, t * d + end, s) for t, d, end, s in zip(tap, dilations, ends, strides, strict=True)]
        parts.append(whole[:, :, *cut])
    met = np.stack(parts, 2)  # (N, C, taps, *out)
    taps = prod(kernel)
    if each == 1 and cout == groups:
        flat = tracer.emit("Reshape", weight, np.array([cout, taps, *[1] * dims]))
        made = None
        for k in range(taps):
            part = tracer.emit("Mul", gathered(tracer, met[:, :, k]), tracer.emit("Gather", flat, np.array(k), axis=1))
            made = part if made is None else tracer.emit("Add", made, part)
    else:
        rows = np.moveaxis(met.reshape(batch, groups, each * taps, -1), 2, 3)  # (N, groups, positions, values)
        columns = cells_of(node, as_planes(tracer, weight)).reshape(groups, cout // groups, each * taps)
        product = products(tracer, rows, np.broadcast_to(columns, (batch, *columns.shape)))
        made = gathered(tracer, np.moveaxis(product, 2, 3).reshape(batch, cout, *out))
    if bias is None:
        return made  # type: ignore[return-value]
    return tracer.emit("Add", made, tracer.emit("Reshape", bias, np.array([-1, *[1] * dims])))


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


# -- pools and means --------------------------------------------------------------------------------------------------------


_POOL = "auto_pad ceil_mode dilations kernel_shape pads strides"


@lowers("MaxPool", reads=f"{_POOL} storage_order", kinds="int uint8 int8", keeps=True)
@lowers("AveragePool", reads=f"{_POOL} count_include_pad")
def pool(tracer: Tracer, node: Node, values: list) -> Value:
    x, kind = values[0], "max" if node.op == "MaxPool" else "avg"
    kernel = list(node.attr("kernel_shape"))
    if not isinstance(x, Planes) or len(kernel) not in (1, 2, 3) or len(x.shape) != len(kernel) + 2:
        raise unsupported(node, "Pools over one to three axes can be compiled.", got=f"kernel {kernel}")
    if len(kernel) == 1:
        return with_height(tracer, node, [x], pool)
    x = as_pictures(tracer, node, x)
    window = _window(node, x, kernel)
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
        if not parts:
            raise unsupported(node, "A window lies in the padding altogether.")
        depth = _counted(window, whole.shape[1], t) if deep and counted else len(parts)
        op = ir.Pool(
            *tracer.place(), kind, parts, (kernel[-2], kernel[-1]), tuple(window["strides"][-2:]), pads,
            tuple(window["dilations"][-2:]), counted, depth,
        )  # fmt: skip
        made[n, t] = tracer.add(op, (parts[0].channels, *window["out"][-2:]))
    space = tuple(window["out"][-2:])
    found = stack(made if deep else made[:, 0], space)  # type: ignore[arg-type]
    return [found, _extremes(tracer, node, x, window)] if len(node.outputs) > 1 else found  # type: ignore[return-value]


def _extremes(tracer: Tracer, node: Node, x: Planes, window: dict[str, Any]) -> Planes:
    """Where in the whole tensor each maximum is, the first one of equals."""
    if len(window["kernel"]) != 2:
        raise unsupported(node, "Only over one or two axes it can say where its maxima are.")
    (kernel_h, kernel_w), out, strides = window["kernel"], window["out"], window["strides"]
    (down, right), (top, left) = window["dilations"], window["pads"][:2]
    height, width = x.space  # type: ignore[misc]
    by_row, by_column = (1, height) if node.attr("storage_order", 0) else (width, 1)
    first = np.arange(prod(x.array.shape)).reshape(*x.array.shape, 1, 1) * height * width
    rows, columns = np.ogrid[: out[0], : out[1]]
    corner = (rows * strides[0] - top) * by_row + (columns * strides[1] - left) * by_column
    parts: list[Value] = [np.asarray(first + corner, np.float32)]
    steps: list[ir.Step] = []
    best: tuple = ("num", -np.inf)
    place: tuple = ("num", 0.0)
    taps = list(product(range(kernel_h), range(kernel_w)))
    for i, j in taps:
        origin = (i * down - top, j * right - left)
        parts.append(windows(tracer, x, origin, tuple(strides), tuple(out), -np.inf))
        value, larger = ("in", len(parts) - 1), ("tmp", len(steps))
        here = ("num", float(i * down * by_row + j * right * by_column))
        steps += [("less", (best, value)), ("where", (larger, here, place))]
        place = ("tmp", len(steps) - 1)
        if (i, j) != taps[-1]:
            steps.append(("where", (larger, value, best)))
            best = ("tmp", len(steps) - 1)
    steps.append(("add", (place, ("in", 0))))
    made = apply(tracer, node, steps, parts)
    return replace(made, kind="int")


@lowers("LpPool", reads="auto_pad dilations kernel_shape p pads strides")
def power_pool(tracer: Tracer, node: Node, values: list) -> Value:
    power, kernel = float(node.attr("p", 2)), list(node.attr("kernel_shape"))
    attrs = {name: value for name, value in node.attrs.items() if name != "p"}
    powers = tracer.emit("Pow", tracer.emit("Abs", values[0]), power)
    mean = tracer.emit("AveragePool", powers, count_include_pad=1, **attrs)
    return tracer.emit("Pow", tracer.emit("Mul", mean, float(prod(kernel))), 1 / power)


def _counted(window: dict[str, Any], frames: int, t: int) -> int:
    """Frames of output t's window that count: padding does, what ceil_mode looks at beyond it does not."""
    start = t * window["strides"][0] - window["pads"][0]
    end = frames + window["pads"][len(window["kernel"])]
    return sum(start + i * window["dilations"][0] < end for i in range(window["kernel"][0]))
