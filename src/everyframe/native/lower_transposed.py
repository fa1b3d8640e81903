"""Transposed convolutions: without the zeros that they would put between the values of a picture.

With stride s, dilation d and padding p of an axis, output f - p reads the inputs i and taps k with i * s + k * d = f. So outputs
whose f leave one remainder (a *phase*) read only the taps whose k * d leave it, too, and read them as a plain convolution
does, one input further for one output further. Each phase is a convolution of stride 1 on the picture as it is; what it makes
goes between what the others make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native.cells import as_pictures, cells_of, gathered
from everyframe.native.ir import Planes, Value
from everyframe.native.lower_compute import checked, conv, with_height
from everyframe.native.lower_structure import as_planes, constant_planes
from everyframe.native.tracer import Tracer, lowers, unsupported


@dataclass(frozen=True)
class Phase:
    """Of one axis. outputs: those that it makes; taps: those that it reads, turned round; dilation: inputs from one to the next;
    inputs: first and last one that it reads, which may lie outside."""

    outputs: slice
    count: int
    taps: slice
    dilation: int
    inputs: tuple[int, int]

    @property
    def reads(self) -> bool:
        return self.taps.start >= 0


def phases(size: int, stride: int, kernel: int, dilation: int, padding: int) -> list[Phase]:
    """Those of an axis of the output that has `size` values, one or more each."""
    step = stride // gcd(stride, dilation)  # from a tap of a phase to the next
    made = []
    for first in range(min(stride, size)):
        at, count = first + padding, -(-(size - first) // stride)
        taps = [k for k in range(kernel) if (at - k * dilation) % stride == 0]
        last = taps[-1] if taps else -1
        inputs = (at - last * dilation) // stride, (at - (taps or [0])[0] * dilation) // stride + count - 1
        made.append(Phase(slice(first, None, stride), count, slice(last, None, -step), step * dilation // stride, inputs))
    return made


@lowers("ConvTranspose", reads="auto_pad dilations group kernel_shape output_padding output_shape pads strides")
def transposed(tracer: Tracer, node: Node, values: list) -> Value:
    x, weight, bias = checked(node, values)
    dims = weight.ndim - 2
    if dims == 1:
        return with_height(tracer, node, [x, weight, bias], transposed)
    x = as_pictures(tracer, node, x)
    kernel, group, sizes = weight.shape[2:], node.attr("group", 1), x.shape[2:]
    strides, dilations = (list(node.attr(name) or [1] * dims) for name in ("strides", "dilations"))
    first, out = _sizes(node, sizes, kernel, strides, dilations)
    if min(out) < 1 or x.shape[1] != len(weight):
        raise unsupported(node, "Its result is empty, or the kernel is for another number of channels.", got=f"shape {x.shape}")
    each = weight.shape[1]
    turned = weight.reshape(group, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(group * each, -1, *kernel)
    axes = [phases(*axis) for axis in zip(out, strides, kernel, dilations, first, strict=True)]
    made = np.zeros((x.shape[0], group * each, *out), np.int64)
    for index in np.ndindex(*map(len, axes)):
        chosen = [axis[i] for axis, i in zip(axes, index, strict=True)]
        reached = [(max(low, 0), min(high, n - 1)) for (low, high), n in zip((p.inputs for p in chosen), sizes, strict=True)]
        if not all(phase.reads for phase in chosen) or any(low > high for low, high in reached):
            part: Value = _nothing(tracer, bias, x, group * each, [phase.count for phase in chosen])
        else:
            pads = [low - phase.inputs[0] for phase, (low, _) in zip(chosen, reached, strict=True)]
            pads += [phase.inputs[1] - high for phase, (_, high) in zip(chosen, reached, strict=True)]
            name = f"{node.inputs[1]}/phase {index} of {node.outputs[0]}"
            attrs = {"group": group, "dilations": [phase.dilation for phase in chosen], "pads": pads}
            taps = np.ascontiguousarray(turned[:, :, *(phase.taps for phase in chosen)])
            read = _cut(tracer, x, reached)
            part = conv(tracer, replace(node, attrs=attrs, inputs=("", name, *node.inputs[2:])), [read, taps, bias])
            if all(len(axis) == 1 for axis in axes):
                return part
        made[:, :, *(phase.outputs for phase in chosen)] = cells_of(node, as_planes(tracer, part))
    return gathered(tracer, made)


def _sizes(
    node: Node, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Of each axis: the padding before its first output, and how many there are."""
    dims = len(kernel)
    extra = node.attr("output_padding") or [0] * dims
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    full = [(n - 1) * s + e + r for n, s, e, r in zip(sizes, strides, extra, reach, strict=True)]
    auto, wanted = node.attr("auto_pad", b"NOTSET"), list(node.attr("output_shape") or [])[-dims:]
    if wanted or auto.startswith(b"SAME"):
        out = wanted or [n * s for n, s in zip(sizes, strides, strict=True)]
        total = [max(0, f - o) for f, o in zip(full, out, strict=True)]
        return [t - t // 2 if auto == b"SAME_LOWER" else t // 2 for t in total], out
    pads = list(node.attr("pads") or [0] * 2 * dims) if auto != b"VALID" else [0] * 2 * dims
    return pads[:dims], [f - a - b for f, a, b in zip(full, pads[:dims], pads[dims:], strict=True)]


def _cut(tracer: Tracer, x: Planes, reached: Sequence[tuple[int, int]]) -> Value:
    """What is read of each axis."""
    lows, ends = (np.array(each, np.int64) for each in zip(*((low, high + 1) for low, high in reached), strict=True))
    if not lows.any() and tuple(ends) == x.shape[2:]:
        return x
    return tracer.emit("Slice", x, lows, ends, np.arange(2, len(x.shape)))  # type: ignore[no-any-return]


def _nothing(tracer: Tracer, bias: np.ndarray | None, x: Planes, channels: int, counts: Sequence[int]) -> Planes:
    """Where no tap meets a value."""
    side = (1, -1, *[1] * len(counts))
    alone = np.zeros(channels, np.float32) if bias is None else bias
    whole = np.broadcast_to(alone.reshape(side), (x.shape[0], channels, *counts))
    return constant_planes(tracer, np.ascontiguousarray(whole, np.float32), True)
