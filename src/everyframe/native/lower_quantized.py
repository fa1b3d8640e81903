"""Quantized networks (QDQ): what a QuantizeLinear makes are frames that are stored as bytes; their values stay what they are.

So a DequantizeLinear behind it does nothing, what only rearranges need not know, and every other operator either computes with
the bytes or reads the frames as float32.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.fuse import drop_unread
from everyframe.native.ir import Frame, Planes, Quant, Scalars, Value
from everyframe.native.lower_elementwise import c_float, integers
from everyframe.native.quants import Levels
from everyframe.native.tracer import Tracer, lowers, unsupported

#: ONNX types of integers -> numpy's
_TYPES = {
    TensorProto.UINT8: np.uint8, TensorProto.INT8: np.int8, TensorProto.UINT16: np.uint16, TensorProto.INT16: np.int16,
}  # fmt: skip


@lowers("QuantizeLinear", reads="axis block_size output_dtype saturate")
def quantize(tracer: Tracer, node: Node, values: list) -> Value:
    """Bytes of one constant scale become what their frames are stored as, all others whole numbers."""
    x, scale, zero = [*values, None][:3]
    kind = _type(node, zero)
    if isinstance(x, Planes) and not _single(scale, zero, kind):
        scale, zero = (_spread(tracer, node, x, part) for part in (scale, zero))
        whole = tracer.emit("Round", tracer.emit("Div", x, scale))
        whole = whole if zero is None else tracer.emit("Add", whole, _floats(zero))
        ends = np.iinfo(kind)
        return replace(tracer.emit("Clip", whole, float(ends.min), float(ends.max)), kind="int")
    quant = _quant(node, values)
    if isinstance(x, Scalars):
        made = np.empty(x.array.shape, object)
        low, high = -quant.zero * quant.scale, (255 - quant.zero) * quant.scale
        numbers = ", ".join(map(c_float, (quant.scale, low, high)))
        made.ravel()[:] = [f"on_grid({text}, {numbers})" for text in x.array.ravel()]
        return Scalars(made, x.kind)
    frames = {number: quantized(tracer, frame, quant) for number, frame in tracer.used(x.array).items()}
    return Planes(ir.retarget(x.array, frames), x.space, x.merged, kind.name)


@lowers("DequantizeLinear", reads="axis block_size output_dtype", kinds="uint8 int8 int")
def dequantize(tracer: Tracer, node: Node, values: list) -> Value:
    x, scale, zero = [*values, None][:3]
    stored = isinstance(x, Planes) and x.kind != "int" and _single(scale, zero, np.dtype(x.kind))
    if not stored and not isinstance(x, Scalars):
        scale, zero = (_spread(tracer, node, x, part) for part in (scale, zero))
        whole = _floats(integers(tracer, node, x) if isinstance(x, Planes) else x)
        centered = whole if zero is None else tracer.emit("Sub", whole, _floats(zero))
        return tracer.emit("Mul", centered, scale)
    quant = _quant(node, values)
    if isinstance(x, Planes):
        for frame in tracer.used(x.array).values():
            if frame.quant != quant and not isinstance(frame.op, ir.Fill):
                raise unsupported(node, "Integers are read with another scale than they were made with.")
        return replace(x, kind="float")
    return x


def _single(scale: Value, zero: Value | None, kind: np.dtype) -> bool:
    """Is it one constant scale of bytes?"""
    constant = isinstance(scale, np.ndarray) and scale.size == 1 and (zero is None or isinstance(zero, np.ndarray))
    return constant and kind.itemsize == 1


def _type(node: Node, zero: Value | None) -> np.dtype:
    """Of the integers that QuantizeLinear makes."""
    if isinstance(zero, np.ndarray):
        kind = zero.dtype
    else:
        kind = np.dtype(_TYPES.get(node.attr("output_dtype", 0) or TensorProto.UINT8, np.float32))
    if kind not in map(np.dtype, _TYPES.values()):
        raise unsupported(node, "Activations are quantized to integers of 8 or 16 bits.", got=str(kind))
    return kind


def _spread(tracer: Tracer, node: Node, x: Planes, part: Value | None) -> Value | None:
    """Scales or zeros, one for each index of an axis or each block along it, as what broadcasts with x."""
    if part is None or not part.shape:
        return part
    axis = node.attr("axis", 1) % len(x.shape)
    if block := node.attr("block_size", 0):
        if not isinstance(part, np.ndarray):
            raise unsupported(node, "The scales of blocks are known only at run time.")
        return part.repeat(block, axis)[tuple(slice(n) for n in x.shape)]
    side = [-1 if i == axis else 1 for i in range(len(x.shape))]
    return part.reshape(side) if isinstance(part, np.ndarray) else tracer.emit("Reshape", part, np.array(side))


def _floats(value: Value) -> Value:
    return value.astype(np.float32) if isinstance(value, np.ndarray) else replace(value, kind="float")  # type: ignore[type-var]


@lowers("DynamicQuantizeLinear")
def dynamically(tracer: Tracer, node: Node, values: list) -> Value:
    """Bytes of a scale that is known only at run time: whole numbers, and what ONNX makes of the extremes."""
    (x,), emit = values, tracer.emit
    low, high = (emit(op, emit(f"Reduce{op}", x, keepdims=0), 0.0) for op in ("Min", "Max"))
    scale = emit("Div", emit("Sub", high, low), 255.0)
    zero = emit("Clip", emit("Round", emit("Div", emit("Sub", 0.0, low), scale)), 0.0, 255.0)
    made = emit("Clip", emit("Add", emit("Round", emit("Div", x, scale)), zero), 0.0, 255.0)
    return [replace(made, kind="int"), scale, replace(zero, kind="int")]  # type: ignore[return-value]


@lowers("MatMulInteger", "ConvInteger", reads="auto_pad dilations group kernel_shape pads strides", kinds="uint8 int8 int")
def in_whole_numbers(tracer: Tracer, node: Node, values: list) -> Value:
    """Products of centered integers: exact up to 2**24, rounded as floats are above."""
    centered = []
    zeros = [*values, None, None][2:4]
    for x, zero, after in zip(values[:2], zeros, (1, 0), strict=True):
        whole: Value = replace(integers(tracer, node, x), kind="float") if isinstance(x, Planes) else x.astype(np.float32)
        if zero is not None:
            zero = _floats(zero)
            if node.op == "ConvInteger" and zero.shape:
                zero = tracer.emit("Reshape", zero, np.array([-1, *[1] * (len(x.shape) - 1)]))
            elif len(zero.shape) == 1 and after:  # of the rows
                zero = tracer.emit("Unsqueeze", zero, np.array([1]))
            whole = tracer.emit("Sub", whole, zero)
        centered.append(whole)
    made = tracer.emit(node.op.removesuffix("Integer"), *centered, **node.attrs)
    return replace(made, kind="int")


def _quant(node: Node, values: list) -> Quant:
    scale, zero = [*values, None][1:3]
    kind = _type(node, zero)
    if not _single(scale, zero, kind):
        raise unsupported(node, "A counter is quantized with one constant scale, to 8 bits.", got=f"scale of shape {scale.shape}")
    return Quant(float(scale.ravel()[0]), (0 if zero is None else int(zero.ravel()[0])) + (128 if kind == np.int8 else 0))


def quantized(tracer: Tracer, frame: Frame, quant: Quant) -> Frame:
    """The frame stored as bytes; a choice between frames becomes one between quantized ones."""
    if frame.quant == quant:
        return frame
    if isinstance(frame.op, ir.Fill):
        return tracer.fill(quant.nearest(frame.op.value), frame.shape)
    if isinstance(frame.op, ir.Select):
        chosen = frame.op
        return tracer.select(chosen.condition, quantized(tracer, chosen.yes, quant), quantized(tracer, chosen.no, quant))
    return tracer.once(
        ("quantized", frame.number, quant),
        lambda: tracer.add(ir.Map(*tracer.place(), [frame], [grid(("in", 0), quant)]), frame.shape, quant),
    )


def grid(operand: tuple, quant: Quant) -> ir.Step:
    """The step that takes a value to the nearest one that a byte can stand for."""
    return "grid", (operand, ("par", quant.scale), ("par", quant.inverse), ("par", float(quant.zero)))


def levels(node: Node, given: list) -> Levels | None:
    """A dequantized constant as int8 and scale; None if it is no weight in 8 bits."""
    integers, scale = np.asarray(given[0]), np.asarray(given[1], np.float32)
    axis = int(node.attr("axis", 1)) % max(1, integers.ndim)
    if integers.dtype not in (np.int8, np.uint8) or scale.ndim > 1 or integers.ndim < 2:
        return None
    zero = np.asarray(given[2]).astype(np.int32) if len(given) > 2 and given[2] is not None else np.int32(0)
    along = [1] * integers.ndim
    along[axis] = -1
    centered = integers.astype(np.int32) - (zero.reshape(along) if np.ndim(zero) else zero)
    if centered.min(initial=0) < -128 or centered.max(initial=0) > 127 or (scale.size > 1 and axis > 1):
        return None
    return Levels(centered.astype(np.int8), scale.ravel(), axis)


def exact(tracer: Tracer, name: str, value: np.ndarray | None, quant: Quant | None) -> np.ndarray | None:
    """A bias as it is added: to sums of integers in float64, where nothing of what was quantized is rounded, else in float32."""
    if value is None:
        return None
    return tracer.exact.get(name, np.asarray(value, np.float64)) if quant else np.asarray(value, np.float32)


def rows_of(found: Levels | None, transposed: bool) -> Levels | None:
    """A matrix's levels as (Cout, Cin). transposed: it lies like that already. None if its scale runs over the inputs."""
    if found is None or found.integers.ndim != 2 or (found.scale.size > 1 and found.axis != (0 if transposed else 1)):
        return None
    return Levels(found.integers if transposed else found.integers.T, found.scale, 0)


def in_integers(tracer: Tracer, taps: list[ir.Tap]) -> Quant | None:
    """The quantization of all that the taps read, if a convolution can be computed in integers; else they read float32."""
    frames = {n: f for tap in taps for n, f in tracer.used(tap.planes).items() if not ir.is_zero(f)}
    quant = ir.common_quant(frames.values())
    if quant and all(tap.integers is not None for tap in taps) and not any(isinstance(f.op, ir.Fill) for f in frames.values()):
        return quant
    for tap in taps:
        tap.planes = ir.retarget(tap.planes, {n: tracer.plain(f) for n, f in tracer.used(tap.planes).items()})
    return None


def state_quants(graph: ir.Graph) -> dict[int, Quant]:
    """States that are read only to be quantized, all in one way, by slot. What moves from slot to slot must agree."""
    drop_unread(graph)
    slots = {slot.number: i for i, slot in enumerate(graph.slots)}
    found: dict[int, set[Quant | None]] = {i: set() for i in slots.values()}
    for op in graph.ops:
        for frame in op.reads():
            if frame.number in slots:
                alone = isinstance(op, ir.Map) and len(op.steps) == 1 and op.steps[0][0] == "grid"
                found[slots[frame.number]].add(graph.out(op).quant if alone else None)
    moves = [(i, slots[after.number]) for i, after in enumerate(graph.slot_next) if after.number in slots]
    for _ in graph.slots:  # until nothing changes: a chain is at most that long
        before = sum(map(len, found.values()))
        for one, two in moves:
            found[one] |= found[two]
            found[two] |= found[one]
        if sum(map(len, found.values())) == before:
            break
    read = {f.number for f in graph.logits}
    return {
        i: quants.copy().pop() for i, quants in found.items()  # type: ignore[misc]
        if len(quants) == 1 and None not in quants and graph.slots[i].number not in read
    }  # fmt: skip
