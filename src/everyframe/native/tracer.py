"""What the lowerings of ONNX operators work with: the tracer, which makes frames and operators, and the table that they fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from everyframe import errors
from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.ir import Frame, Op, Planes, Value
from everyframe.native.quants import Levels

Lower = Callable[["Tracer", Node, list], Value]


@dataclass(frozen=True)
class Row:
    """lower: the function. reads: the attributes that it reads. takes: how many inputs (None: all). kinds: what its inputs may
    stand for, beside floats (see ir.Planes); keeps: so does its result."""

    lower: Lower
    reads: frozenset[str]
    takes: int | None
    kinds: frozenset[str]
    keeps: bool


LOWER: dict[str, Row] = {}
#: the opset of what lowerings are written with
EMITTED = 20


def lowers(
    *ops: str, reads: str = "", takes: int | None = None, kinds: str = "", keeps: bool = False
) -> Callable[[Lower], Lower]:
    """Enters a lowering into the table. reads, kinds: words, see Row. keeps: the result has its inputs' kind; without `kinds` it
    only moves values and takes all of them."""

    def add(function: Lower) -> Lower:
        for op in ops:
            if op in LOWER:
                raise ValueError(f"{op} is lowered twice")
            taken = "bool int uint8 int8" if keeps and not kinds else kinds
            LOWER[op] = Row(function, frozenset(reads.split()), takes, frozenset(taken.split()), keeps)
        return function

    return add


def unsupported(
    node: Node, what: str, *, expected: object = None, got: object = None, hint: str | None = None
) -> UnsupportedOperator:
    return UnsupportedOperator(
        what, where=f"node {node.place}, {node.op} {node.name!r}", expected=expected, got=got,
        hint=hint or "run this model with `--engine ort`",
    )  # fmt: skip


def following(node: Node) -> AbstractContextManager[None]:
    """What numpy and onnx raise about shapes that do not fit becomes an error of ours."""
    said = f"This use of {node.op} cannot be followed."
    return errors.following(lambda got: unsupported(node, said, got=got, hint="export the network again"))


class Tracer:
    """Makes frames and operators; remembers which frame each makes. step: what evaluates a node."""

    def __init__(self, step: Callable[[Tracer, Node, dict[str, Value], int], None]) -> None:
        self._step, self._emitted = step, 0
        self.ops: list[Op] = []
        self.frames: dict[int, Frame] = {}
        self.made: dict[int, Frame] = {}
        self.tables: list[np.ndarray] = []
        self.levels: dict[str, Levels] = {}  # tensors that are constants, dequantized
        self.exact: dict[str, np.ndarray] = {}  # the same of one axis, their values as float64
        self.node: Node | None = None
        self.order, self.opset = 0, 0  # of the node
        self._known: dict[tuple, Frame] = {}

    def add(self, op: Op, shape: tuple[int, int, int], quant: ir.Quant | None = None, half: bool = False) -> Frame:
        """The frame that `op` makes."""
        frame = Frame(len(self.frames), *shape, op, op.label, quant or ir.carried_quant(op), half)
        self.frames[frame.number] = frame
        self.ops.append(op)
        self.made[id(op)] = frame
        return frame

    def place(self) -> tuple[int, str]:
        """Order and label for a new operator."""
        return self.order, self.node.label if self.node else ""

    def emit(self, op: str, *given: Value | float | None, **attrs: Any) -> Any:
        """The value of an ONNX operator on values, numbers among them: what a lowering is written with."""
        return self.emit_all(op, given, 1, **attrs)[0]

    def emit_all(self, op: str, given: Sequence[Value | float | None], outputs: int, **attrs: Any) -> list[Any]:
        """The same of an operator with several outputs."""
        around = self.node or Node(op, op, (), (op,), {}, "inside")
        prefix = f"{around.outputs[0]}/{self._emitted}"
        self._emitted += 1
        values: dict[str, Value] = {}
        for i, value in enumerate(given):
            if value is not None:
                values[f"{prefix}.{i}"] = np.asarray(value, np.float32) if isinstance(value, float) else value
        inputs = tuple("" if value is None else f"{prefix}.{i}" for i, value in enumerate(given))
        names = tuple(f"{prefix}:{i}" for i in range(outputs))
        attrs = {name: value.encode() if isinstance(value, str) else value for name, value in attrs.items()}
        self._step(self, Node(op, around.name, inputs, names, attrs, around.place, around.label), values, EMITTED)
        return [values[name] for name in names]

    def once(self, key: tuple, make: Callable[[], Frame]) -> Frame:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def fill(self, value: float, shape: tuple[int, int, int]) -> Frame:
        return self.once(("fill", float(value), shape), lambda: self.add(ir.Fill(*self.place(), float(value)), shape))

    def constant(self, data: np.ndarray) -> Frame:
        data = np.ascontiguousarray(data, np.float32)
        key = ("constant", data.shape, data.tobytes())
        return self.once(key, lambda: self.add(ir.Constant(*self.place(), data), data.shape))

    def of(self, plane: int) -> Frame:
        return self.frames[int(plane) >> ir.SHIFT]

    def plain(self, frame: Frame) -> Frame:
        """The same values as float32."""
        if frame.quant is None and not frame.half:
            return frame
        return self.once(("plain", frame.number), lambda: self.add(ir.Map(*self.place(), [frame], ir.copied()), frame.shape))

    def halved(self, frame: Frame) -> Frame:
        """The same values as float16."""
        if frame.half:
            return frame
        read = self.plain(frame)
        return self.once(
            ("half", frame.number), lambda: self.add(ir.Map(*self.place(), [read], ir.copied()), frame.shape, half=True)
        )

    def alike(self, frames: Sequence[Frame]) -> list[Frame]:
        """The frames, as float32 unless all are quantized alike."""
        fills = any(isinstance(frame.op, ir.Fill) for frame in frames)
        return list(frames) if ir.common_quant(frames) and not fills else [self.plain(frame) for frame in frames]

    def used(self, planes: np.ndarray) -> dict[int, Frame]:
        return {n: self.frames[n] for n in ir.frame_numbers(planes)}

    def frame(self, row: np.ndarray, space: tuple[int, int] | None) -> Frame:
        """The frame that holds exactly these planes, copied together if there is none yet. row: (C,) references."""
        first = self.of(row[0])
        if first.channels == len(row) and np.array_equal(first.planes(), row):
            return first
        shape = (len(row), *(space or (1, 1)))
        if all(isinstance(self.of(p).op, ir.Fill) for p in row):
            values = {self.of(p).op.value for p in row}  # type: ignore[attr-defined]
            if len(values) == 1:
                return self.fill(values.pop(), shape)
        used = list(self.used(row).values())
        planes = ir.retarget(row, {old.number: new for old, new in zip(used, self.alike(used), strict=True)})
        return self.once(
            ("gather", planes.tobytes()), lambda: self.add(ir.Gather(*self.place(), planes, self.used(planes)), shape)
        )

    def select(self, condition: str, yes: Frame, no: Frame) -> Frame:
        if not ir.common_quant((yes, no)):
            yes, no = self.plain(yes), self.plain(no)
        key = ("select", condition, yes.number, no.number)
        return self.once(key, lambda: self.add(ir.Select(*self.place(), condition, yes, no), yes.shape))

    def move(self, cells: np.ndarray) -> Frame:
        """The frame (C, H, W) of these cells."""
        planes, _ = ir.split_cells(cells)
        used = list(self.used(planes[planes >= 0]).values())
        if all(isinstance(frame.op, ir.Constant | ir.Fill) for frame in used):
            return self._constant_of(cells)
        fit = {old.number: new for old, new in zip(used, self.alike(used), strict=True)}
        if any(number != frame.number for number, frame in fit.items()):
            places = ir.split_cells(cells)[1]
            new = ir.retarget(np.where(planes >= 0, planes, used[0].planes()[0]), fit)
            cells = np.where(planes >= 0, ir.cell(new, places), 0)
        frames = {frame.number: frame for frame in fit.values()}
        key = ("move", cells.shape, cells.tobytes())
        return self.once(key, lambda: self.add(ir.Move(*self.place(), cells, frames), cells.shape))

    def _constant_of(self, cells: np.ndarray) -> Frame:
        """The same of constants alone: read now."""
        planes, places = (part.ravel() for part in ir.split_cells(cells))
        data = np.zeros(planes.size, np.float32)
        for number, frame in self.used(planes[planes >= 0]).items():
            here = (planes >= 0) & (planes >> 24 == number)
            whole = np.full(frame.shape, frame.op.value) if isinstance(frame.op, ir.Fill) else frame.op.data  # type: ignore[attr-defined]
            data[here] = whole.reshape(frame.channels, -1)[ir.channels_of(planes[here]), places[here]]
        flat = data.reshape(cells.shape)
        return self.fill(float(data[0]), cells.shape) if (data == data[0]).all() else self.constant(flat)

    def table(self, values: np.ndarray) -> int:
        """Number of a constant float table that expressions may index."""
        values = np.ascontiguousarray(values, np.float32)
        for i, known in enumerate(self.tables):
            if known.shape == values.shape and np.array_equal(known, values):
                return i
        self.tables.append(values)
        return len(self.tables) - 1


def rows(planes: Planes, axis: int = 1) -> np.ndarray:
    """The references with axis `axis` (the channels) last: (..., C)."""
    return np.moveaxis(planes.array, axis, -1)


def stack(made: np.ndarray, space: tuple[int, int] | None, axis: int = 1) -> Planes:
    """Frames in an object array (...) -> their planes with the channels on `axis`."""
    flat = np.stack([frame.planes() for frame in made.ravel()])
    return Planes(np.moveaxis(flat.reshape(*made.shape, -1), -1, axis), space)
