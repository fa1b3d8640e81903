"""Fewer passes over memory: sums of convolutions become one, residuals and activations move into their producer, chains of
element-wise operators become one loop, and what nobody reads is dropped.

A fused operator stands where its last part stood, so that everything it reads is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from everyframe.native import ir, ir_values
from everyframe.native.ir import Activation, Conv, Frame, Graph, Map, Op
from everyframe.native.tables import dear_function_of_a_byte

#: activations that a convolution can apply to what it has in registers; others become a Map
IN_REGISTERS = ("sigmoid", "silu", "tanh", "hardswish", "relu6")
_MAX_INPUTS = 16


class _Uses:
    """Who reads each frame."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.readers: dict[int, list[Op]] = {}
        self.pinned = {frame.number for frame in (*graph.slot_next, *graph.logits)}
        for op in graph.ops:
            for frame in op.reads():
                self.readers.setdefault(frame.number, []).append(op)

    def only_by(self, frame: Frame, *ops: Op) -> bool:
        return frame.number not in self.pinned and all(any(r is op for op in ops) for r in self.readers.get(frame.number, ()))

    def merge(self, old: Op, new: Op) -> None:
        """`new` takes over what `old` made and read."""
        frame = self.graph.made.pop(id(old))
        self.graph.made[id(new)] = frame
        frame.op, new.order, new.label = new, old.order, old.label
        for read in {f.number: f for f in old.reads()}.values():
            readers = [r for r in self.readers.get(read.number, ()) if r is not old and r is not new]
            self.readers[read.number] = readers
        for read in new.reads():
            if not any(r is new for r in self.readers.setdefault(read.number, [])):
                self.readers[read.number].append(new)


def fuse(graph: Graph) -> Graph:
    """Changes `network` in place and returns it."""
    drop_unread(graph)
    uses = _Uses(graph)
    for op in list(graph.ops):
        if isinstance(op, Map) and id(op) in graph.made:
            _fuse_into_convolution(graph, uses, op) or _fuse_through_move(graph, uses, op) or _as_silu(graph, uses, op)
        if isinstance(op, ir.Move):
            _fuse_into_put(graph, uses, op)
    for op in list(graph.ops):
        if isinstance(op, Map) and id(op) in graph.made:
            _fuse_maps(graph, uses, op)
    graph.ops = sorted((op for op in graph.ops if id(op) in graph.made), key=lambda op: op.order)
    drop_unread(graph)
    in_order(graph)
    return graph


def drop_unread(graph: Graph) -> None:
    wanted: set[int] = set()
    followed = [*graph.slot_next, *graph.logits, *graph.slots]
    while followed:
        frame = followed.pop()
        if frame.number not in wanted:
            wanted.add(frame.number)
            followed += frame.op.reads()
    graph.ops = sorted((op for op in graph.ops if graph.out(op).number in wanted), key=lambda op: op.order)
    graph.made = {id(op): graph.made[id(op)] for op in graph.ops}


def in_order(graph: Graph, more: Iterable[Frame] = (), together: Mapping[int, Sequence[Op]] | None = None) -> None:
    """Producers before readers, otherwise in the order of the ONNX nodes. more: frames whose producers may be missing.
    together: of an operator (its id) all that stand beside it."""
    done: set[int] = set()
    ordered: list[Op] = []

    def visit(op: Op) -> None:
        if id(op) in done:
            return
        group = (together or {}).get(id(op), [op])
        done.update(map(id, group))
        for frame in [frame for each in group for frame in each.reads()]:
            visit(frame.op)
        ordered.extend(group)

    for op in [*graph.ops, *(frame.op for frame in more)]:
        visit(op)
    graph.ops = [op for op in ordered if id(op) in graph.made]


def _conv(graph: Graph, uses: _Uses, frame: Frame, *readers: Op) -> Conv | None:
    """The convolution that makes a frame which nobody else reads."""
    return frame.op if isinstance(frame.op, Conv) and frame.quant is None and uses.only_by(frame, *readers) else None


def _fuse_into_convolution(graph: Graph, uses: _Uses, op: Map) -> bool:
    if len(op.steps) != 1:
        return False
    function, operands = op.steps[0]
    out = graph.out(op)
    frames = [op.inputs[a[1]] for a in operands if a[0] == "in"]
    if any(frame.shape != out.shape for frame in frames):
        return False
    if function == "add" and len(frames) == 2 and frames[0] is not frames[1]:
        return _fuse_sum(graph, uses, op, frames) or _fuse_residual(graph, uses, op, frames)
    if function == "mul" and len(frames) == 2:
        return _fuse_silu(graph, uses, op, frames)
    if function == "grid":
        return _fuse_quantization(graph, uses, op, frames[0])
    if len(frames) == 1 and operands[0][0] == "in" and (conv := _conv(graph, uses, frames[0], op)) and not conv.residual_last:
        activation = _activation(conv.activation, function, operands)
        if activation is not None:
            conv.activation = activation
            uses.merge(op, conv)
            return True
    return False


def _fuse_quantization(graph: Graph, uses: _Uses, op: Map, frame: Frame) -> bool:
    """What is read only to be quantized is stored as bytes at once."""
    maker = frame.op
    stores = isinstance(maker, ir.Input | ir.Pool) or (isinstance(maker, Conv) and maker.quant is not None)
    stores |= isinstance(maker, ir.Reduce) and maker.parts[0].quant is not None
    if not stores or frame.quant or graph.out(op).quant is None or not uses.only_by(frame, op):
        return False
    uses.merge(op, maker)
    return True


def _activation(before: Activation, function: str, operands: tuple) -> Activation | None:
    numbers = [a[1] for a in operands[1:] if a[0] == "num"]
    if function == "max" and numbers and numbers[0] <= before.high:
        return replace(before, low=max(before.low, numbers[0]))
    if function == "min" and numbers and numbers[0] >= before.low:
        return replace(before, high=min(before.high, numbers[0]))
    if before.idle and not numbers and function in IN_REGISTERS:
        return Activation(function)
    return None


def _fuse_through_move(graph: Graph, uses: _Uses, op: Map) -> bool:
    """An activation of values that convolutions made and that were only moved since is that of the convolutions."""
    function, operands = op.steps[0]
    if len(op.steps) != 1 or len(op.inputs) != 1 or operands[0] != ("in", 0) or not isinstance(move := op.inputs[0].op, ir.Move):
        return False
    if not uses.only_by(graph.out(move), op) or move.cells.min() <= 0 or graph.out(move).quant is not None:
        return False
    convs = [_conv(graph, uses, frame, move) for frame in move.reads()]
    found = [None if conv is None or conv.residual_last else _activation(conv.activation, function, operands) for conv in convs]
    if None in found:
        return False
    for conv, activation in zip(convs, found, strict=True):
        conv.activation = activation  # type: ignore[union-attr, assignment]
    uses.merge(op, move)
    return True


def _fuse_into_put(graph: Graph, uses: _Uses, op: ir.Move) -> None:
    """Rows of channels are put where they lie as a picture, if that is all that is read of them."""
    frame, (source, *more) = graph.out(op), op.reads()
    put, places = source.op, frame.height * frame.width
    if more or not isinstance(put, ir_values.PutRows) or not uses.only_by(source, op) or source.channels != frame.channels:
        return
    if places <= source.width and np.array_equal(
        op.cells.reshape(frame.channels, -1), ir.cell(source.planes()[:, None], np.arange(places))
    ):
        uses.merge(op, put)


def _fuse_sum(graph: Graph, uses: _Uses, op: Map, frames: list[Frame]) -> bool:
    """Two convolutions of one geometry, added: one with the taps of both."""
    one, two = (_conv(graph, uses, frame, op) for frame in frames)
    if one is None or two is None or not all(c.activation.idle and not c.residual_last for c in (one, two)):
        return False
    if (one.strides, one.pads, one.dilations, one.depthwise) != (two.strides, two.pads, two.dilations, two.depthwise):
        return False
    if one.taps[0].weight.shape[2:] != two.taps[0].weight.shape[2:] or (one.residual and two.residual):
        return False
    if one.quant != two.quant or (one.quant and not np.array_equal(one.taps[0].scale, two.taps[0].scale)):  # type: ignore[arg-type]
        return False
    first, last = (one, two) if one.order < two.order else (two, one)
    last.taps = first.taps + last.taps
    last.frames |= first.frames
    last.residual = first.residual or last.residual
    if first.bias is not None:
        last.bias = first.bias if last.bias is None else first.bias + last.bias
        last.bias_key = (*first.bias_key, *last.bias_key)
    graph.made.pop(id(first))
    for frame in first.reads():
        uses.readers[frame.number] = [r for r in uses.readers[frame.number] if r is not first]
    uses.merge(op, last)
    return True


def _fuse_residual(graph: Graph, uses: _Uses, op: Map, frames: list[Frame]) -> bool:
    candidates = [(c, other) for frame, other in (frames, frames[::-1]) if (c := _conv(graph, uses, frame, op))]
    candidates = [(c, other) for c, other in candidates if c.residual is None and (c.quant or not other.quant)]
    if not candidates:
        return False
    conv, other = max(candidates, key=lambda pair: pair[0].order)
    conv.residual, conv.residual_last = other, not conv.activation.idle
    uses.merge(op, conv)
    return True


def _silu_of(graph: Graph, frames: list[Frame]) -> tuple[Frame, Map] | None:
    """x and the sigmoid in x * sigmoid(x)."""
    for x, gate in (frames, frames[::-1]):
        if isinstance(gate.op, Map) and gate.op.inputs == [x] and gate.op.steps == [("sigmoid", (("in", 0),))]:
            return x, gate.op
    return None


def _fuse_silu(graph: Graph, uses: _Uses, op: Map, frames: list[Frame]) -> bool:
    found = _silu_of(graph, frames)
    if found is None or not uses.only_by(graph.out(found[1]), op):
        return False
    x, gate = found
    conv = _conv(graph, uses, x, op, gate)
    if conv is None or not conv.activation.idle or conv.residual_last:
        return False
    conv.activation = Activation("silu")
    graph.made.pop(id(gate))
    uses.merge(op, conv)
    return True


def _as_silu(graph: Graph, uses: _Uses, op: Map) -> bool:
    """x * sigmoid(x) as one step, so that x has one reader less."""
    if len(op.steps) != 1 or op.steps[0][0] != "mul" or len(op.inputs) != 2:
        return False
    found = _silu_of(graph, op.inputs)
    if found is None or not uses.only_by(graph.out(found[1]), op) or found[0].shape != graph.out(op).shape:
        return False
    x, gate = found
    graph.made.pop(id(gate))
    op.inputs, op.steps = [x], [("silu", (("in", 0),))]
    uses.readers[x.number] = [r for r in uses.readers[x.number] if r is not gate and r is not op] + [op]
    return True


def _fuse_maps(graph: Graph, uses: _Uses, op: Map) -> None:
    """Element-wise operators that only this one reads are computed inside it."""
    out = graph.out(op)
    while not dear_function_of_a_byte(graph, op):  # which becomes a table, cheaper than anything
        inner = next(
            (
                f.op for f in op.inputs
                if isinstance(f.op, Map) and f.shape == out.shape and not f.half and uses.only_by(f, op)
                and len({*map(id, op.inputs), *map(id, f.op.inputs)}) <= _MAX_INPUTS
            ),
            None,
        )  # fmt: skip
        if inner is None:
            return
        frame = graph.out(inner)
        inputs = [f for f in dict.fromkeys([*inner.inputs, *op.inputs]) if f is not frame]
        shift = len(inner.steps)

        def moved(operand: tuple, source: list[Frame], base: int, frame=frame, inputs=inputs, shift=shift) -> tuple:  # type: ignore[no-untyped-def]
            if operand[0] == "in":
                read = source[operand[1]]
                return ("tmp", shift - 1) if read is frame else ("in", inputs.index(read))
            return ("tmp", operand[1] + base) if operand[0] == "tmp" else operand

        steps = [(f, tuple(moved(a, inner.inputs, 0) for a in args)) for f, args in inner.steps]
        steps += [(f, tuple(moved(a, op.inputs, shift) for a in args)) for f, args in op.steps]
        graph.made.pop(id(inner))
        for read in inner.inputs:
            uses.readers[read.number] = [r for r in uses.readers[read.number] if r is not inner] + [op]
        op.inputs, op.steps = inputs, steps
