"""3x3 kernels of stride 1 by Winograd's minimal filtering, F(m x m, 3 x 3): in space only, so a kernel of k x 3 x 3 sums its
k frames directly, before one transform back.

Each frame is transformed once, whoever reads it, and where a state keeps it, the state keeps it transformed. A transformed
frame is (C, (m + 2)**2, tiles): one row for each place of a tile, one column for each tile; the product is a convolution of
1x1 whose weights differ from row to row. m = 2 needs 2.25 times fewer multiplications and is as exact as the convolution
itself; m = 4 needs four times fewer, with an error about ten times as large.

Of bytes, m = 4 is exact (see `c/winograd_int8.c`): rows of kernels are multiplied until they are whole, and frames that are
transformed, and weights, are numbers of 16 bits. That takes twice the instructions for a product, so m = 2 would gain nothing.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from everyframe.native import ir
from everyframe.native.choice import Choice, Geometry
from everyframe.native.fuse import drop_unread, in_order
from everyframe.native.ir import Activation, Conv, Frame, Graph, Op, StateIn, Tap
from everyframe.native.layout import Form
from everyframe.native.packed import Choose, reads_states, shares
from everyframe.native.target import Target

#: kernel (3) -> tile (m + 2)
KERNEL = {
    2: np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    4: np.array([
        [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
    ]),
}  # fmt: skip
#: the same for m = 4, with each row multiplied until it is whole
WHOLE = np.array([[1, 0, 0], [-1, -1, -1], [-1, 1, -1], [1, 2, 4], [1, -2, 4], [0, 0, 1]])
#: sums of bytes must be smaller for the way back to find them
_MOST = 2**25


@dataclass(eq=False)
class Tile(Op):
    """(C, (tile + 2)**2, tiles): overlapping tiles of a frame, transformed; numbers of 16 bits, if it has bytes. pads: (top,
    left); size: height and width of the output of the convolution that it is for."""

    source: Frame = None  # type: ignore[assignment]
    tile: int = 2
    pads: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (1, 1)

    def reads(self) -> list[Frame]:
        return [self.source]


@dataclass(eq=False)
class Untile(Op):
    """The way back, with what a `Conv` does after its sum. of: that of bytes, whose sums it finds."""

    source: Frame = None  # type: ignore[assignment]
    tile: int = 2
    bias: np.ndarray | None = None
    bias_key: tuple = ()
    residual: Frame | None = None
    residual_last: bool = False
    activation: Activation = field(default_factory=Activation)
    of: Conv | None = None

    def reads(self) -> list[Frame]:
        return [self.source, *([self.residual] if self.residual else [])]


def tiles(tile: int, height: int, width: int) -> tuple[int, int]:
    return -(-height // tile), -(-width // tile)


def weights(kernel: np.ndarray, tile: int) -> np.ndarray:
    """(Cout, Cin, 3, 3) -> ((m + 2)**2, Cout, Cin): float32, computed in double precision, or int16 of integers."""
    whole = kernel.dtype == np.int8
    side = WHOLE if whole else KERNEL[tile]
    made = np.einsum("ai,ocij,bj->aboc", side, kernel.astype(np.float64), side, optimize=True)
    return made.reshape(-1, *kernel.shape[:2]).astype(np.int16 if whole else np.float32)


def tap_of_product(tap: Tap, planes: np.ndarray, tile: int) -> Tap:
    """What it is for transformed frames, whose planes are given."""
    made = Tap(np.asarray(tap.weight.any((2, 3), keepdims=True)), (*tap.key, "winograd", tile), planes)
    kernel = tap.weight if tap.integers is None else tap.integers
    made.rows = lambda: weights(kernel, tile)
    return made


def rewrite(graph: Graph, target: Target, choose: Choose, but: Collection[int] = ()) -> Graph:
    """Changes the convolutions for which that is chosen, in place. but: those (ids) for which something else is better."""
    alike: dict[tuple, list[Conv]] = defaultdict(list)
    for op in graph.ops:
        if isinstance(op, Conv) and id(op) not in but and fitting(graph, op, target):
            alike[(tuple(tap.key for tap in op.taps), op.bias_key, graph.out(op).shape, op.pads)].append(op)
    rewriting = _Rewriting(graph)
    for ops in alike.values():
        whole = max(ops, key=lambda op: len(op.reads()))
        choice = choose(target, geometry(graph, whole, len(ops)), whole.label)
        if choice.tile in fitting(graph, whole, target):
            for op in ops:
                rewriting.change(op, choice)
    return rewriting.done()


def geometry(graph: Graph, op: Conv, frames: int) -> Geometry:
    """As `Packing.geometry` has it for the layer of this convolution."""
    read = [(tap, frame) for tap, frame in _parts(op) if not ir.is_zero(frame)]
    kept, kernels = shares([tap.weight for tap, _ in read])
    channels, sources = sum(tap.weight.shape[1] for tap, _ in read), len({frame.number for _, frame in read})
    int8 = int(op.quant is not None)
    return Geometry(
        int8, max(1, sources), 3, 3, 1, 1, channels, *graph.out(op).shape, kept, frames, kernels, reads_states(op)
    )  # fmt: skip


def _parts(op: Conv) -> list[tuple[Tap, Frame]]:
    """Taps on one frame each: a kernel over joined frames is a sum of kernels."""
    made = []
    for tap in op.taps:
        numbers = tap.planes >> ir.SHIFT
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for first, end in pairwise(edges):
            integers = None if tap.integers is None else tap.integers[:, first:end]
            part = Tap(tap.weight[:, first:end], (*tap.key, first), tap.planes[first:end], integers)
            made.append((part, op.frames[int(numbers[first])]))
    return made


def fitting(graph: Graph, op: Conv, target: Target) -> tuple[int, ...]:
    """The tiles that it can have: none if it is not made of 3x3 kernels of stride 1 on whole frames, all of floats or all of
    bytes, or if its sums of bytes may be too large."""
    plain = not op.depthwise and (op.quant is not None or graph.out(op).quant is None)
    if not plain or op.strides != (1, 1) or op.dilations != (1, 1) or min(graph.out(op).shape[1:]) < 2:
        return ()
    for tap, frame in _parts(op):
        zero = ir.is_zero(frame)
        whole = zero or np.array_equal(frame.planes(), tap.planes)
        alike = zero or frame.quant == op.quant
        if tap.weight.shape[2:] != (3, 3) or not alike or isinstance(frame.op, ir.Constant) or not whole:
            return ()
    if op.quant is None:
        return (2, 4)
    return (4,) if target.product and _largest(op) < _MOST else ()


def _largest(op: Conv) -> int:
    """What sums of bytes less their zero can be at most."""
    zero = op.quant.zero if op.quant else 0
    up, down = (sum(np.maximum(sign * tap.integers.astype(np.int64), 0).sum((1, 2, 3)) for tap in op.taps) for sign in (1, -1))  # type: ignore[union-attr]
    return int(np.maximum(up * (255 - zero) + down * zero, up * zero + down * (255 - zero)).max(initial=0))


class _Rewriting:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.known: dict[tuple, Frame] = {}
        self.next = {slot.number: after for slot, after in zip(graph.slots, graph.slot_next, strict=True)}
        self.changed = False

    def _add(self, op: Op, shape: tuple[int, int, int], half: bool = False) -> Frame:
        frame = Frame(max(self.graph.frames) + 1, *shape, op, op.label, half=half)
        self.graph.frames[frame.number] = frame
        self.graph.made[id(op)] = frame
        return frame

    def change(self, op: Conv, choice: Choice) -> None:
        graph, out, tile = self.graph, self.graph.out(op), choice.tile
        taps, size, frames = [], (out.height, out.width), {}
        for tap, source in _parts(op):
            frame = self._transformed(source, tile, op.pads, size, op.quant)
            frames[frame.number] = frame
            planes = ir.retarget(tap.planes, {source.number: frame})
            taps.append(tap_of_product(tap, planes, tile))
        product = Conv(
            op.order, op.label, taps, bias_key=(*op.bias_key, "winograd", tile), quant=op.quant, frames=frames, tile=tile,
            how=choice,
        )  # fmt: skip
        places, count = (tile + 2) ** 2, int(np.prod(tiles(tile, *size)))
        sums = self._add(product, (out.channels, places, count))
        back = Untile(op.order, op.label, sums, tile, op.bias, op.bias_key, op.residual, op.residual_last, op.activation)
        back.of = op if op.quant else None
        graph.ops[graph.ops.index(op)] = back
        del graph.made[id(op)]
        graph.made[id(back)], out.op = out, back
        self.changed = True

    def _transformed(
        self, frame: Frame, tile: int, pads: tuple[int, int], size: tuple[int, int], quant: ir.Quant | None
    ) -> Frame:
        key = frame.number, tile, pads, size, quant
        if key in self.known:
            return self.known[key]
        op, shape = frame.op, (frame.channels, (tile + 2) ** 2, int(np.prod(tiles(tile, *size))))
        made: Op
        if ir.is_zero(frame):
            made = ir.Fill(op.order, op.label, 0.0)
        elif isinstance(op, ir.Select):
            yes, no = (self._transformed(each, tile, pads, size, quant) for each in (op.yes, op.no))
            made = ir.Select(op.order, op.label, op.condition, yes, no)
        elif isinstance(op, StateIn) and op.fill == 0:
            made = replace(op)
        else:
            made = Tile(op.order, op.label, frame, tile, pads, size)
        self.known[key] = new = self._add(made, shape, half=quant is not None)
        if isinstance(made, StateIn):
            self.graph.slots.append(new)
            self.graph.slot_next.append(self._transformed(self.next[frame.number], tile, pads, size, quant))
            self.next[new.number] = self.graph.slot_next[-1]
        return new

    def done(self) -> Graph:
        """Without states that nothing reads any more."""
        graph = self.graph
        if not self.changed:
            return graph
        wanted: set[int] = set()
        waiting = list(graph.logits)
        while waiting:
            frame = waiting.pop()
            if frame.number not in wanted:
                wanted.add(frame.number)
                waiting += [*frame.op.reads(), *([self.next[frame.number]] if frame.number in self.next else [])]
        kept = [(slot, self.next[slot.number]) for slot in graph.slots if slot.number in wanted]
        graph.slots, graph.slot_next = [slot for slot, _ in kept], [after for _, after in kept]
        in_order(graph, [*graph.slots, *graph.slot_next, *graph.logits])
        drop_unread(graph)
        return graph


# -- structures of the transforms ----------------------------------------------------------------------


def end_fields(op: Conv) -> dict[str, object]:
    """What a convolution does after its sum, as far as structures have it in words."""
    return {"activation": ir.ACTIVATIONS.index(op.activation.name), "residual_last": int(op.residual_last)}


def tile_fields(source: Form, out: Form, across: int, pads: tuple[int, int], zero: int) -> tuple[str, dict[str, object]]:
    """Kind and fields of the structure of a transform. across: tiles in a row; zero: of bytes."""
    return "tile_layer", {"in": source, "out": out, "across": across, "top": pads[0], "left": pads[1], "zero": zero}


def untile_bytes_fields(
    source: Form, out: Form, residual: Form | None, across: int, op: Conv, ending: dict[str, object]
) -> tuple[str, dict[str, object]]:
    """The same for the way back of a convolution of bytes."""
    return "untile_bytes_layer", {
        "in": source, "out": out, "residual": residual or out, "across": across, "ending": ending | end_fields(op),
    }  # fmt: skip


def untile_fields(
    source: Form, out: Form, residual: Form | None, across: int, bias: int, act: Activation, residual_last: bool
) -> tuple[str, dict[str, object]]:
    """The same for the way back of floats. bias: where it lies in the blob."""
    return "untile_layer", {
        "in": source, "out": out, "residual": residual or out, "across": across, "bias": bias,
        "activation": ir.ACTIVATIONS.index(act.name), "residual_last": int(residual_last),
        "low": float(act.low), "high": float(act.high),
    }  # fmt: skip
