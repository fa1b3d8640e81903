"""Tensors value by value: where planes as a whole are not enough, every value is a reference of its own (see `ir.cell`).

What only moves values is then done on arrays of references, and what comes out is copied together, unless it is whole planes.
"""

from __future__ import annotations

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native import ir, ir_values
from everyframe.native.ir import Frame, Planes
from everyframe.native.tracer import Tracer, unsupported

# C channels, H height, W width

#: more values than that are not laid out one by one
_MOST = 1 << 24


def cells_of(node: Node, value: Planes) -> np.ndarray:
    """References to all values, int64 in the tensor's shape."""
    h, w = value.space or (1, 1)
    if (
        value.array.size * h * w > _MOST
        or h * w > ir.MOST_PLACES
        or max(ir.frame_numbers(value.array), default=0) >= ir.MOST_FRAMES
    ):
        raise unsupported(node, "The tensor is too large to be taken apart.", got=f"shape {value.shape}")
    return ir.cell(value.array[..., None], np.arange(h * w)).reshape(value.shape)


def gathered(tracer: Tracer, cells: np.ndarray, *, pictures: bool | None = None) -> Planes:
    """The tensor of these values. pictures: height and width are its last axes (default: of four or more)."""
    cells = first(tracer, cells)
    if cells.ndim < 2 or not (cells.ndim >= 4 if pictures is None else pictures):
        planes, _ = ir.split_cells(cells)
        if cells.min(initial=1) > 0 and all(frame.height * frame.width == 1 for frame in tracer.used(planes).values()):
            return Planes(planes, None)
        return Planes(tracer.move(cells.reshape(-1, 1, 1)).planes().reshape(cells.shape), None)
    *outer, h, w = cells.shape
    if (whole := _whole(tracer, cells.reshape(-1, h * w), (h, w))) is not None:
        return Planes(whole.reshape(outer), (h, w))
    axis = min(1, len(outer) - 1)
    if axis < 0:
        return Planes(tracer.move(cells[None]).planes().reshape(()), (h, w))
    moved = np.moveaxis(cells, axis, -3)  # (..., C, H, W)
    made = np.stack([tracer.move(part).planes() for part in moved.reshape(-1, *moved.shape[-3:])])
    return Planes(np.moveaxis(made.reshape(moved.shape[:-2]), -1, axis), (h, w))


def first(tracer: Tracer, cells: np.ndarray) -> np.ndarray:
    """What was only moved is read where it was before: two moves are one, and one there and back is none."""
    planes, places = ir.split_cells(cells)
    for number, frame in tracer.used(planes[planes >= 0]).items():
        if isinstance(frame.op, ir.Move):
            here = (planes >= 0) & (planes >> ir.SHIFT == number)
            before = frame.op.cells.reshape(frame.channels, -1)
            cells = cells.copy()
            cells[here] = before[ir.channels_of(planes[here]), places[here]]
    return cells


def _whole(tracer: Tracer, rows: np.ndarray, space: tuple[int, int]) -> np.ndarray | None:
    """The planes that the rows are, one after another; None if one is anything else."""
    planes, places = ir.split_cells(rows)
    if not ((planes == planes[:, :1]).all() and (places == np.arange(rows.shape[1])).all()):
        return None
    frames = tracer.used(planes[:, 0]).values()
    return planes[:, 0] if all((frame.height, frame.width) == space for frame in frames) else None


def as_pictures(tracer: Tracer, node: Node, value: Planes) -> Planes:
    """A tensor of four or more axes with height and width, also where it was made of single values."""
    if value.merged or (value.space is None and value.array.ndim >= 4):
        return gathered(tracer, cells_of(node, value))
    return value


def vector(tracer: Tracer, value: Planes) -> Frame | None:
    """The one frame whose channels are a tensor of single values, in order; None if there is none."""
    if value.space is not None or not value.array.size:
        return None
    flat = value.array.ravel()
    frame = tracer.of(flat[0])
    return frame if frame.channels == flat.size and np.array_equal(frame.planes(), flat) else None


def products(tracer: Tracer, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cells of (..., M, K) and (..., N, K) -> of their products (..., M, N)."""
    lead, (m, n) = left.shape[:-2], (left.shape[-2], right.shape[-2])
    made = np.empty((*lead, m, n), np.int64)
    for index in np.ndindex(*lead):
        a, b = (tracer.plain(tracer.move(part[index][:, None])) for part in (left, right))  # (M, 1, K), (N, 1, K)
        frame = tracer.add(ir_values.Product(*tracer.place(), a, b), (m, 1, n))
        made[index] = ir.cell(frame.planes()[:, None], np.arange(n))
    return made
