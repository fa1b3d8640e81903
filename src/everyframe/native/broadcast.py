"""Functions of single values over tensors of any shapes that fit: one Map for each frame of the result."""

from __future__ import annotations

import numpy as np

from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.cells import cells_of, gathered, vector
from everyframe.native.ir import Frame, Planes, Scalars, Value
from everyframe.native.tracer import Tracer, unsupported


def channel_axis(array: np.ndarray) -> int:
    """The axis along which references run through the channels of a frame; 1 if none does."""
    for axis in dict.fromkeys((min(1, array.ndim - 1), *range(array.ndim))):
        if array.shape[axis] > 1:
            steps = np.diff(array, axis=axis)
            if steps.size and (steps == 1).all():
                return axis
    return min(1, array.ndim - 1)


def apply(tracer: Tracer, node: Node, steps: list[ir.Step], values: list) -> Planes:
    """One Map a frame of the (broadcast) result; `steps` refer to values by ('in', i)."""
    shape = np.broadcast_shapes(*(v.shape for v in values))
    pictures = any(isinstance(v, Planes) and v.space is not None for v in values) and len(shape) > 2
    if not pictures and (made_flat := _flat(tracer, node, steps, values, shape)) is not None:
        return made_flat
    outer, space = (shape[:-2], (shape[-2], shape[-1])) if pictures else (shape, None)
    arrays = [_aligned(tracer, node, v, outer, space) if isinstance(v, Planes) else v for v in values]
    first = next(a for a in arrays if isinstance(a, Planes) and a.array.shape == outer) if any(
        isinstance(a, Planes) and a.array.shape == outer for a in arrays
    ) else next(a for a in arrays if isinstance(a, Planes))  # fmt: skip
    axis = channel_axis(np.broadcast_to(first.array, outer)) if first.array.shape == outer else min(1, len(outer) - 1)
    lead = tuple(n for i, n in enumerate(outer) if i != axis)
    full = [_broadcast(a, outer, space, axis) for a in arrays]
    made = np.empty(lead, object)
    for index in np.ndindex(*lead):
        inputs: list[Frame] = []
        operands = [_operand(tracer, node, part, index, inputs, outer[axis], space) for part in full]
        bound = [
            (function, tuple(operands[a[1]] if a[0] == "in" else a for a in args)) for function, args in steps
        ]  # fmt: skip
        made[index] = tracer.add(ir.Map(*tracer.place(), inputs, bound), (outer[axis], *(space or (1, 1))))
    planes = np.stack([frame.planes() for frame in made.ravel()]).reshape(*lead, -1)
    return Planes(np.moveaxis(planes, -1, axis), space)


def _flat(tracer: Tracer, node: Node, steps: list[ir.Step], values: list, shape: tuple[int, ...]) -> Planes | None:
    """Single values that lie in one frame, or are of no or several axes of which none is a frame's, as one row."""
    planes = [v for v in values if isinstance(v, Planes)]
    rows = shape[:-1] if shape else ()
    if len(shape) == 1 or not (not shape or any(np.prod(rows) > 1 and vector(tracer, v) is not None for v in planes)):
        return None
    size = (int(np.prod(shape)),)

    def wide(value: Value) -> Value:
        if isinstance(value, Planes):
            whole = value.array if value.space is None else value.array.reshape(value.shape)
            return Planes(np.broadcast_to(whole, shape).reshape(size), None)
        if isinstance(value, Scalars):
            return Scalars(np.broadcast_to(value.array, shape).reshape(size), value.kind)
        return np.broadcast_to(value, shape).reshape(size)

    if any(v.space not in (None, (1, 1)) for v in planes):
        return None
    made = apply(tracer, node, steps, [wide(v) for v in values])
    return Planes(made.array.reshape(shape), None)


def _aligned(tracer: Tracer, node: Node, value: Planes, outer: tuple[int, ...], space: tuple[int, int] | None) -> Planes:
    """The value with its axes aligned to the result's from the right."""
    array, own = value.array, value.space
    if space is None and own is not None:  # a picture on no other axes
        return gathered(tracer, cells_of(node, value), pictures=False)
    if space is not None and own is None:
        if array.ndim >= 2 and array.shape[-2:] == (1, 1):
            array, own = array[..., 0, 0], (1, 1)
        elif array.size == 1 and array.ndim < 2:
            array, own = array.reshape(()), (1, 1)
        else:
            own = (0, 0)
    if own not in (None, (1, 1), space):
        cells = cells_of(node, value)
        cells = cells.reshape((1,) * (len(outer) + 2 - cells.ndim) + cells.shape)
        cells = np.broadcast_to(cells, (*cells.shape[:-2], *space))  # type: ignore[misc]
        array, own = gathered(tracer, cells, pictures=True).array, space
    return Planes(array.reshape((1,) * (len(outer) - array.ndim) + array.shape), own)


def _broadcast(value: Value, outer: tuple[int, ...], space: tuple[int, int] | None, axis: int) -> tuple:
    """(kind, array with the channels last, own space)."""
    if isinstance(value, Planes):
        return "planes", np.moveaxis(np.broadcast_to(value.array, outer), axis, -1), value.space
    array = value.array if isinstance(value, Scalars) else np.asarray(value, np.float32)
    if array.dtype != object and value.dtype.kind in "iu" and (array != value).any():  # type: ignore[union-attr]
        raise UnsupportedOperator("A whole number is too large for float32.", got=np.abs(value).max())  # type: ignore[arg-type]
    whole = np.broadcast_to(array, (*outer, *(space or ())))
    kind = "scalars" if isinstance(value, Scalars) else "numbers"
    return kind, np.moveaxis(whole, axis, len(outer) - 1), None


def _operand(tracer: Tracer, node: Node, part: tuple, index: tuple, inputs: list[Frame], channels: int, space) -> tuple:  # type: ignore[no-untyped-def]
    """The operand of one row; frames are added to `inputs`."""
    kind, array, own = part
    row = array[index]
    if kind == "scalars":
        texts = set(np.asarray(row, object).ravel().tolist())
        if len(texts) != 1:
            raise unsupported(node, "A counter's value differs from channel to channel.")
        return "expr", texts.pop()
    if kind == "numbers":
        data = row.reshape(channels, *(space or (1, 1)))
        if (data == data.flat[0]).all():
            return "num", float(data.flat[0])
        same = (data == data[:, :1, :1]).all()
        frame = tracer.constant(data[:, :1, :1] if same else data)
    else:
        frame = tracer.frame(row, own)
        if isinstance(frame.op, ir.Fill):
            return "num", frame.op.value
    if frame not in inputs:
        inputs.append(frame)
    return "in", inputs.index(frame)
