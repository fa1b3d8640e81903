"""The tables of `c/move.c`: where each value of a frame comes from, in as few numbers as say it."""

from __future__ import annotations

import numpy as np

from everyframe.native import ir
from everyframe.native.blob import Blob
from everyframe.native.ir import Frame, Move
from everyframe.native.layout import Form, Layout, stored

# C channels, H height, W width, P positions (H * W)


def fields(op: Move, frame: Frame, layout: Layout, blob: Blob) -> dict[str, object]:
    """Of the structure. Blocks of channels that lie side by side here and there count as one channel."""
    out, forms = layout.forms[frame.number], [layout.forms[f.number] for f in op.reads()]
    flat = op.cells.shape != frame.shape and out.plane == out.block  # one value after another
    cells = op.cells if flat else op.cells.reshape(frame.shape)
    numbers, channels, places = _sources(op, cells)  # (C, P) each, places -1 for what comes from nowhere
    lanes = 1 if flat else _lanes(out, forms, numbers, channels, places)
    numbers, channels, places = (part[::lanes] for part in (numbers, channels, places))
    widths, blocks, strides, rows = (
        np.array([getattr(form, name) for form in forms])[numbers] for name in ("width", "block", "plane", "row")
    )
    base = channels // blocks * strides + channels % blocks
    at = base + places // widths * rows + places % widths * blocks
    how, heads, table, columns = _tables(numbers, np.where(places < 0, -1, at), cells.shape[1:])
    return {
        "out": out, "rows": cells.shape[1], "width": cells.shape[2], "lanes": lanes, "flat": int(flat), "how": f"MOVE_{how}",
        "heads": blob.add(heads.astype(np.int32)), "places": blob.add(table.astype(np.int32)),
        "columns": blob.add(columns.astype(np.int32)), "zero": stored(0.0, frame),
    }  # fmt: skip


def _sources(op: Move, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(which of the frames that it reads, channel, place) of each value."""
    planes, places = (part.reshape(len(cells), -1) for part in ir.split_cells(cells))
    inside = places >= 0
    read = np.array([f.number for f in op.reads()])
    order = np.argsort(read)
    numbers = order[np.searchsorted(read[order], planes >> ir.SHIFT).clip(max=len(read) - 1)]
    return np.where(inside, numbers, 0), np.where(inside, ir.channels_of(planes), 0), places


def _lanes(out: Form, forms: list[Form], numbers: np.ndarray, channels: np.ndarray, places: np.ndarray) -> int:
    """How many channels move together."""
    if out.block == 1 or any((form.block, form.size) != (out.block, out.size) for form in forms):
        return 1
    own = np.arange(len(places))
    first = own // out.block * out.block
    same = (numbers == numbers[first]).all() and (places == places[first]).all()
    beside = (places < 0) | (channels - channels[first] == (own - first)[:, None])
    return out.block if same and beside.all() and not (channels[first] % out.block).any() else 1


def _tables(numbers: np.ndarray, at: np.ndarray, space: tuple[int, ...]) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """How they are read, and (C, 2) source and offset there of each channel; what each row or place adds; and each column.
    at: (C, P) offsets, -1 for none."""
    none, inside = np.zeros(1), at >= 0
    pick = inside.argmax(1)[:, None]
    head, source = np.take_along_axis(at, pick, 1), np.take_along_axis(numbers, pick, 1)
    steps = at - head
    if (inside == inside[:1]).all() and ((numbers == source) | ~inside).all():
        alike = np.where(inside, steps == steps[:1], True).all()  # all channels, but for where they begin
        grid = steps[0].reshape(space)
        rows, columns = grid[:, :1], grid[:1] - grid[0, 0]
        if alike and inside.all() and (rows + columns == grid).all():
            return "ROWS", np.concatenate([source, head], 1), rows, columns
        if alike:
            low = steps[0].min(initial=0, where=inside[0])
            return "ALIKE", np.concatenate([source, head + low], 1), np.where(inside[0], steps[0] - low, -1), none
    return "APART", none, np.stack([numbers, at], -1), none
