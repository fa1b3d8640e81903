"""Values whose places are known only at run time: picked, put there and ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native import ir, ir_values
from everyframe.native.cells import cells_of, first, gathered, vector
from everyframe.native.ir import Frame, Planes, Scalars, Value
from everyframe.native.lower_structure import as_planes, moved
from everyframe.native.tracer import Tracer, lowers, unsupported

# N batch, C channels, D H W of a picture or volume; n values of a tensor, m places

#: whole numbers above that are not exact in float32
_MOST = 1 << 24


def _row(tracer: Tracer, node: Node, value: Value) -> Frame:
    """All values of a tensor as one frame (n, 1, 1) of floats."""
    if isinstance(value, Scalars):
        raise unsupported(node, "Counters and pictures meet.")
    planes = as_planes(tracer, value)
    if prod(planes.shape) >= _MOST:
        raise unsupported(node, "The tensor is too large for places known only at run time.", got=f"shape {planes.shape}")
    if (whole := vector(tracer, planes)) is not None:
        return tracer.plain(whole)
    return tracer.plain(tracer.move(cells_of(node, planes).reshape(-1, 1, 1)))


def picked(tracer: Tracer, node: Node, source: Value, index: Value) -> Value:
    """The values at places in the flattened source, in the shape of `index`; 0 where a place is outside."""
    if isinstance(source, Scalars) or isinstance(index, Scalars):
        raise unsupported(node, "Counters and pictures meet.")
    if isinstance(index, np.ndarray):
        cells = np.append(cells_of(node, source), 0) if isinstance(source, Planes) else np.append(source, np.float32(0))
        count = cells.size - 1
        taken = cells[np.where((index >= 0) & (index < count), index, count).astype(np.int64)]
        return gathered(tracer, taken) if isinstance(source, Planes) else taken
    row = _row(tracer, node, source)
    made = {
        number: tracer.add(ir_values.Pick(*tracer.place(), row, tracer.plain(frame)), frame.shape)
        for number, frame in tracer.used(index.array).items()
    }
    kind = source.kind if isinstance(source, Planes) else "int" if source.dtype.kind in "iu" else "float"
    return Planes(ir.retarget(index.array, made), index.space, index.merged, kind)


def put(tracer: Tracer, node: Node, base: Value, index: Value, values: Value, kind: str) -> Value:
    """The base with values put to places in it, flattened. index and values: of one shape."""
    base_row, index_row, values_row = (_row(tracer, node, each) for each in (base, index, values))
    made = tracer.add(ir_values.Put(*tracer.place(), base_row, index_row, values_row, kind), base_row.shape)
    return gathered(tracer, ir.cell(made.planes(), np.zeros((), np.int64)).reshape(base.shape))


#: of fewer channels, blocks of them would be mostly empty
_CHANNELS = 4


def put_rows(tracer: Tracer, node: Node, base: Value, places: Value, values: Value, axis: int, kind: str) -> Value | None:
    """The base with `values` put to `places` (m,) on an axis, whatever stands on the others. None where that is no picture with
    that axis as positions and the others as channels. base, values: of one shape but for the axis."""
    shape = base.shape
    channels, count, m = prod(shape) // max(shape[axis], 1), shape[axis], places.shape[0]
    if channels < _CHANNELS or not count or not m or isinstance(places, Scalars | np.ndarray) or count >= _MOST:
        return None
    if isinstance(base, Scalars) or isinstance(values, Scalars) or max(count, m) > ir.MOST_PLACES:
        return None
    full = base if isinstance(base, np.ndarray) and (base == base.flat[0]).all() else None
    under = None if full is not None else _positions(tracer, node, base, axis)
    given, index = _positions(tracer, node, values, axis), _row(tracer, node, places)
    op = ir_values.PutRows(*tracer.place(), under, 0.0 if full is None else float(full.flat[0]), index, given, kind)
    planes = tracer.add(op, (channels, 1, count)).planes()
    cells = ir.cell(planes[:, None], np.arange(count)).reshape(*np.delete(shape, axis), count)
    return gathered(tracer, np.moveaxis(cells, -1, axis))


def _positions(tracer: Tracer, node: Node, value: Value, axis: int) -> Frame:
    """A frame whose positions, row by row, are an axis of a tensor, and whose channels are all the others."""
    cells = first(tracer, np.moveaxis(cells_of(node, as_planes(tracer, value)), axis, -1))
    cells = cells.reshape(-1, cells.shape[-1])
    planes, _ = ir.split_cells(cells)
    if cells.min() > 0:
        frame = tracer.of(planes.flat[0])
        whole = ir.cell(frame.planes()[:, None], np.arange(frame.height * frame.width))
        if whole.shape == cells.shape and np.array_equal(whole, cells):
            return tracer.plain(frame)
    return tracer.plain(tracer.move(cells[:, None]))


def _inside(tracer: Tracer, index: Value, size: int) -> Value:
    """Negative indices count from the end."""
    if isinstance(index, np.ndarray):
        return np.where(index < 0, index + size, index)
    return tracer.emit("Where", tracer.emit("Less", index, 0.0), tracer.emit("Add", index, float(size)), index)


def strides_of(shape: Sequence[int]) -> list[int]:
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _on_axis(tracer: Tracer, shape: Sequence[int], index: Value, axis: int, at: Sequence[np.ndarray]) -> Value:
    """Places in a tensor of `shape`: `index` on one axis, `at` (arrays that broadcast with it) on the others, in order."""
    strides = strides_of(shape)
    others = [stride for i, stride in enumerate(strides) if i != axis]
    rest = sum((positions * stride for positions, stride in zip(at, others, strict=True)), np.zeros((), np.int64))
    return weighted_sum(tracer, [(_inside(tracer, index, shape[axis]), strides[axis])], rest)


def weighted_sum(tracer: Tracer, parts: Sequence[tuple[Value, int]], rest: np.ndarray) -> Value:
    """sum of index * stride, and a constant array."""
    total: Value = np.asarray(rest)
    for index, stride in parts:
        if isinstance(index, np.ndarray) and isinstance(total, np.ndarray):
            total = total + index * stride
        else:
            total = tracer.emit("Add", tracer.emit("Mul", _float(index), float(stride)), _float(total))
    return total


def _float(value: Value) -> Value:
    return value.astype(np.float32) if isinstance(value, np.ndarray) else value


def _grid(*sizes: int) -> list[np.ndarray]:
    """The positions along each axis, which broadcast."""
    return list(np.ogrid[tuple(slice(n) for n in sizes)])


@lowers("Gather", reads="axis", keeps=True)
def gather(tracer: Tracer, node: Node, values: list) -> Value:
    source, index = values
    axis = node.attr("axis", 0) % len(source.shape)
    if isinstance(index, Scalars):
        return _of_table(tracer, node, source, index, axis)
    if isinstance(index, Planes):
        before, after = source.shape[:axis], source.shape[axis + 1 :]
        spread = tracer.emit("Reshape", index, np.array([*[1] * len(before), *index.shape, *[1] * len(after)]))
        sides = _grid(*before, *[1] * len(index.shape), *after)
        at = [*sides[: len(before)], *sides[len(sides) - len(after) :]]
        return picked(tracer, node, source, _on_axis(tracer, source.shape, spread, axis, at))
    wanted = np.asarray(index)
    if isinstance(source, Scalars):
        return Scalars(source.array.take(wanted, axis), source.kind)
    if axis >= source.array.ndim:
        return moved(tracer, node, values)
    return Planes(source.array.take(wanted, axis), source.space)


def _of_table(tracer: Tracer, node: Node, source: Value, index: Scalars, axis: int) -> Value:
    """Rows of a constant table, by counters."""
    if not isinstance(source, np.ndarray) or axis:
        raise unsupported(node, "An index computed at run time may only choose a row of a constant table.")
    count, width = source.shape[0], prod(source.shape[1:])
    if np.issubdtype(source.dtype, np.integer):
        raise unsupported(node, "A table of integers is indexed at run time.")
    number = tracer.table(source.reshape(count, width))
    made = np.empty((index.array.size, width), object)
    for i, text in enumerate(index.array.ravel()):
        for j in range(width):
            made[i, j] = f"table_{number}[{width} * clamp_index({text}, {count}) + {j}]"
    return Scalars(made.reshape(*index.array.shape, *source.shape[1:]), "float")


@lowers("GatherElements", reads="axis", keeps=True)
def gather_elements(tracer: Tracer, node: Node, values: list) -> Value:
    source, index = values
    if not isinstance(index, Planes):
        return moved(tracer, node, values)
    return picked(tracer, node, source, _of_elements(tracer, node, source.shape, index))


def _of_elements(tracer: Tracer, node: Node, shape: Sequence[int], index: Value) -> Value:
    axis = node.attr("axis", 0) % len(shape)
    sides = _grid(*index.shape)
    return _on_axis(tracer, shape, index, axis, [side for i, side in enumerate(sides) if i != axis])


@lowers("GatherND", reads="batch_dims", keeps=True)
def gather_nd(tracer: Tracer, node: Node, values: list) -> Value:
    source, index = values
    if not isinstance(index, Planes):
        return moved(tracer, node, values)
    return picked(tracer, node, source, _of_vectors(tracer, source.shape, index, node.attr("batch_dims", 0)))


def _of_vectors(tracer: Tracer, shape: Sequence[int], index: Value, batch: int = 0) -> Value:
    """Places of the parts that index vectors (the last axis of `index`) name: (*index.shape[:-1], *the part)."""
    depth, strides = index.shape[-1], strides_of(shape)
    part = shape[batch + depth :]
    lead = index.shape[:-1]
    wide = np.array([*lead, *[1] * len(part)])
    numbers = [
        (_inside(tracer, tracer.emit("Reshape", tracer.emit("Gather", index, np.array(k), axis=-1), wide), shape[batch + k]),
         strides[batch + k])
        for k in range(depth)
    ]  # fmt: skip
    sides = _grid(*lead[:batch], *[1] * (len(lead) - batch), *part)
    fixed = [*range(batch), *range(len(lead), len(lead) + len(part))]
    rest = sum(
        (sides[i] * stride for i, stride in zip(fixed, [*strides[:batch], *strides[batch + depth :]], strict=True)),
        np.zeros([1] * (len(lead) + len(part)), np.int64),
    )
    return weighted_sum(tracer, numbers, rest)


@lowers("ScatterElements", "Scatter", reads="axis reduction", keeps=True)
def scatter_elements(tracer: Tracer, node: Node, values: list) -> Value:
    data, index, updates = values
    kind = _reduction(node)
    if isinstance(index, np.ndarray) and kind == "set":
        return moved(tracer, replace(node, op="ScatterElements"), values)
    axis = node.attr("axis", 0) % len(data.shape)
    if isinstance(index, Planes) and np.array_equal(np.delete(data.shape, axis), np.delete(index.shape, axis)):
        cells = np.moveaxis(cells_of(node, index), axis, -1).reshape(-1, index.shape[axis])
        if (cells == cells[:1]).all():  # the same places in all of them
            places = _inside(tracer, gathered(tracer, cells[0]), data.shape[axis])
            if (made := put_rows(tracer, node, data, places, updates, axis, kind)) is not None:
                return made
    return put(tracer, node, data, _of_elements(tracer, node, data.shape, index), updates, kind)


@lowers("ScatterND", reads="reduction", keeps=True)
def scatter_nd(tracer: Tracer, node: Node, values: list) -> Value:
    data, index, updates = values
    kind = _reduction(node)
    if isinstance(index, np.ndarray) and kind == "set":
        return moved(tracer, node, values)
    depth = index.shape[-1]
    part = data.shape[depth:]
    if isinstance(index, Planes) and part:
        base, rows = (tracer.emit("Reshape", each, np.array([-1, prod(part)])) for each in (data, updates))
        flat = tracer.emit("Reshape", _of_vectors(tracer, data.shape[:depth], index), np.array([-1]))
        if (made := put_rows(tracer, node, base, flat, rows, 0, kind)) is not None:
            return tracer.emit("Reshape", made, np.array(data.shape))  # type: ignore[no-any-return]
    places = _of_vectors(tracer, data.shape, index)
    whole = tracer.emit("Expand", places, np.array(updates.shape))
    return put(tracer, node, data, whole, updates, kind)


def _reduction(node: Node) -> str:
    kind = node.attr("reduction", b"none").decode()
    return "set" if kind == "none" else kind


@lowers("TensorScatter", reads="axis mode", keeps=True)
def tensor_scatter(tracer: Tracer, node: Node, values: list) -> Value:
    """Updates of a cache, each batch's from its own position on."""
    past, update, start = [*values, None][:3]
    axis, batch, length = node.attr("axis", -2) % len(past.shape), past.shape[0], update.shape[node.attr("axis", -2)]
    first: Value = np.zeros(batch, np.int64) if start is None else start
    wide = np.array([-1, *[1] * (len(past.shape) - 1)])
    steps = np.arange(length).reshape([-1 if i == axis else 1 for i in range(len(past.shape))])
    at = weighted_sum(tracer, [(tracer.emit("Reshape", first, wide), 1)], steps)
    if node.attr("mode", b"linear") == b"circular":
        size = np.float32(past.shape[axis]) if isinstance(at, Planes) else np.int64(past.shape[axis])
        at = tracer.emit("Mod", at, np.asarray(size), fmod=int(isinstance(at, Planes)))
    sides = [side for i, side in enumerate(_grid(*update.shape)) if i != axis]
    return put(tracer, node, past, _on_axis(tracer, past.shape, at, axis, sides), update, "set")


@lowers("MaxUnpool", reads="kernel_shape pads strides", kinds="int")
def max_unpool(tracer: Tracer, node: Node, values: list) -> Value:
    x, index, shape = [*values, None][:3]
    kernel = list(node.attr("kernel_shape"))
    strides, pads = node.attr("strides") or [1] * len(kernel), node.attr("pads") or [0] * 2 * len(kernel)
    if shape is not None and not isinstance(shape, np.ndarray):
        raise unsupported(node, "Its size is known only at run time.")
    sizes = [
        (n - 1) * s + k - a - b for n, s, k, a, b in zip(x.shape[2:], strides, kernel, pads, pads[len(kernel) :], strict=False)
    ]
    small = (*x.shape[:2], *sizes)
    whole = small if shape is None else tuple(int(n) for n in shape)
    if whole != small:  # the places count in the smaller result; each axis of them goes to the larger one
        larger = np.arange(prod(whole)).reshape(whole)[tuple(slice(n) for n in small)]
        index = larger.ravel()[index] if isinstance(index, np.ndarray) else picked(tracer, node, larger.astype(np.float32), index)
    empty = np.zeros(whole, np.float32)
    return put(tracer, node, empty, index, x, "set")


@lowers("TopK", reads="axis largest sorted k", kinds="int")
def top_k(tracer: Tracer, node: Node, values: list) -> Value:
    x, count = values[0], values[1] if len(values) > 1 else np.array(node.attr("k"))
    axis = node.attr("axis", -1) % len(x.shape)
    if not isinstance(count, np.ndarray) or not isinstance(x, Planes):
        raise unsupported(node, "How many are taken is known only at run time.")
    k, width = int(count.ravel()[0]), x.shape[axis]
    if not 0 <= k <= width:
        raise unsupported(node, "More are taken than there are.", expected=f"at most {width}", got=k)
    rows = np.moveaxis(cells_of(node, x), axis, -1)
    lead = rows.shape[:-1]
    source = tracer.plain(tracer.move(rows.reshape(-1, 1, width)))
    frame = tracer.add(ir_values.Rank(*tracer.place(), source, bool(node.attr("largest", 1))), (source.channels, 1, k))
    found = ir.cell(frame.planes()[:, None], np.arange(k)).reshape(*lead, k)
    places = gathered(tracer, np.moveaxis(found, -1, axis))
    places.kind = "int"
    sides = [side for i, side in enumerate(_grid(*places.shape)) if i != axis]
    best = picked(tracer, node, x, _on_axis(tracer, x.shape, places, axis, sides))
    return [best, places]  # type: ignore[return-value]


@lowers("OneHot", reads="axis", kinds="int")
def one_hot(tracer: Tracer, node: Node, values: list) -> Value:
    index, depth, ends = values
    if not isinstance(depth, np.ndarray):
        raise unsupported(node, "How many classes there are is known only at run time.")
    count = int(depth.ravel()[0])
    axis = node.attr("axis", -1) % (len(index.shape) + 1)
    side = np.arange(count, dtype=np.float32).reshape([-1 if i == axis else 1 for i in range(len(index.shape) + 1)])
    inside = _inside(tracer, tracer.emit("Unsqueeze", _float(index), np.array([axis])), count)
    off, on = (tracer.emit("Gather", ends, np.array([k]), axis=0) for k in (0, 1))
    return tracer.emit("Where", tracer.emit("Equal", inside, side), on, off)


@lowers("Col2Im", reads="dilations pads strides")
def col2im(tracer: Tracer, node: Node, values: list) -> Value:
    """Columns added up where their windows overlap."""
    x, size, kernel = values
    if not isinstance(size, np.ndarray) or not isinstance(kernel, np.ndarray):
        raise unsupported(node, "Its sizes are known only at run time.")
    sizes, block = size.ravel().tolist(), kernel.ravel().tolist()
    dims = len(sizes)
    strides, dilations = (node.attr(name) or [1] * dims for name in ("strides", "dilations"))
    pads = node.attr("pads") or [0] * 2 * dims
    batch, channels = x.shape[0], x.shape[1] // prod(block)
    counts = [
        (n + a + b - (k - 1) * d - 1) // s + 1
        for n, a, b, k, d, s in zip(sizes, pads, pads[dims:], block, dilations, strides, strict=False)
    ]
    places, inside = np.zeros((*block, *counts), np.int64), np.ones((*block, *counts), bool)
    for i, positions in enumerate(_grid(*block, *counts)[:dims]):
        at = positions * dilations[i] + _grid(*block, *counts)[dims + i] * strides[i] - pads[i]
        places, inside = places * sizes[i] + at, inside & (at >= 0) & (at < sizes[i])
    planes = np.arange(batch * channels).reshape(-1, 1) * prod(sizes)
    index = np.where(inside.ravel(), planes + places.ravel(), -1)
    whole = np.zeros((batch, channels, *sizes), np.float32)
    return put(tracer, node, whole, index, tracer.emit("Reshape", x, np.array(index.shape)), "add")
