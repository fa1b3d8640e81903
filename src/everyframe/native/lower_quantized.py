"""Quantized networks (QDQ): what a QuantizeLinear makes are frames that are stored as bytes; their values stay what they are.

So a DequantizeLinear behind it does nothing, what only rearranges need not know, and every other operator either computes with
the bytes or reads the frames as float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.fuse import drop_unread
from everyframe.native.ir import Frame, Planes, Quant, Scalars, Value
from everyframe.native.lower_elementwise import c_float
from everyframe.native.tracer import Tracer, lowers, unsupported

#: what may stand between QuantizeLinear and DequantizeLinear
_MOVES_INTEGERS = (
    "DequantizeLinear", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Split", "Concat",
    "Gather", "MaxPool", "QLinearConv", "QLinearMatMul",
)  # fmt: skip


def check_integers(nodes: Sequence[Node]) -> None:
    """Bytes are only moved; what computes with them without DequantizeLinear would take them for their values."""
    integers: set[str] = set()
    for node in nodes:
        if not integers.isdisjoint(node.inputs):
            if node.op not in _MOVES_INTEGERS:
                raise unsupported(node, "It computes with quantized integers.", hint="quantize the model in the QDQ format")
            if node.op != "DequantizeLinear":
                integers |= set(node.outputs)
        if node.op in ("QuantizeLinear", "QLinearConv", "QLinearMatMul"):
            integers |= set(node.outputs)


@lowers("QuantizeLinear")
def quantize(tracer: Tracer, node: Node, values: list) -> Value:
    quant, x = _quant(node, values), values[0]
    if isinstance(x, Scalars):
        made = np.empty(x.array.shape, object)
        low, high = -quant.zero * quant.scale, (255 - quant.zero) * quant.scale
        numbers = ", ".join(map(c_float, (quant.scale, low, high)))
        made.ravel()[:] = [f"on_grid({text}, {numbers})" for text in x.array.ravel()]
        return Scalars(made, x.kind)
    frames = {number: quantized(tracer, frame, quant) for number, frame in tracer.used(x.array).items()}
    return Planes(ir.retarget(x.array, frames), x.space, x.merged)


@lowers("DequantizeLinear")
def dequantize(tracer: Tracer, node: Node, values: list) -> Value:
    quant, x = _quant(node, values), values[0]
    if isinstance(x, Planes):
        for frame in tracer.used(x.array).values():
            if frame.quant != quant and not isinstance(frame.op, ir.Fill):
                raise unsupported(node, "Integers are read with another scale than they were made with.")
    return x  # type: ignore[no-any-return]


def _quant(node: Node, values: list) -> Quant:
    scale, zero = values[1], values[2] if len(values) > 2 else None
    if not isinstance(scale, np.ndarray) or scale.size != 1 or not (zero is None or isinstance(zero, np.ndarray)):
        raise unsupported(node, "Activations are quantized with one constant scale.", got=f"scale of shape {scale.shape}")
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    if kind not in (np.uint8, np.int8) or (zero is None and node.attr("output_dtype", 0) not in (0, 2)):
        raise unsupported(node, "Activations are quantized to 8 bits.", got=str(kind))
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


def levels(node: Node, given: list) -> ir.Levels | None:
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
    return ir.Levels(centered.astype(np.int8), scale.ravel(), axis)


def exact(tracer: Tracer, name: str, value: np.ndarray | None, quant: Quant | None) -> np.ndarray | None:
    """A bias as it is added: to sums of integers in float64, where nothing of what was quantized is rounded, else in float32."""
    if value is None:
        return None
    return tracer.exact.get(name, np.asarray(value, np.float64)) if quant else np.asarray(value, np.float32)


def rows_of(found: ir.Levels | None, transposed: bool) -> ir.Levels | None:
    """A matrix's levels as (Cout, Cin). transposed: it lies like that already. None if its scale runs over the inputs."""
    if found is None or found.integers.ndim != 2 or (found.scale.size > 1 and found.axis != (0 if transposed else 1)):
        return None
    return ir.Levels(found.integers if transposed else found.integers.T, found.scale, 0)


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
