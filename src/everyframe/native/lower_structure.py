"""Operators that only rearrange: nothing is computed and, as long as pictures stay whole, nothing is copied."""

from __future__ import annotations

from math import prod

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.cells import cells_of, gathered
from everyframe.native.constants import computed
from everyframe.native.ir import Planes, Scalars, Value
from everyframe.native.tracer import Tracer, lowers, unsupported


def ints(node: Node, values: list, index: int, attr: str) -> list[int] | None:
    """Integers from an attribute (old opsets) or a constant input (new ones)."""
    if attr in node.attrs:
        made = node.attrs[attr]
        return [int(v) for v in made] if isinstance(made, list | tuple) else [int(made)]
    if index < len(values) and values[index] is not None:
        if not isinstance(values[index], np.ndarray):
            raise unsupported(node, f"Its {attr} would have to be known before it runs.")
        return [int(v) for v in np.asarray(values[index]).ravel()]
    return None


def reshaped(tracer: Tracer, node: Node, value: Value, shape: tuple[int, ...]) -> Value:
    """The tensor in another shape. Pictures may be flattened as a whole, but not cut."""
    if prod(shape) != prod(value.shape) or min(shape, default=1) < 0:
        raise unsupported(node, "The new shape does not fit.", got=f"{value.shape} -> {shape}")
    if isinstance(value, Scalars):
        return Scalars(value.array.reshape(shape), value.kind)
    if not isinstance(value, Planes):
        return value.reshape(shape)
    h, w = value.space or (1, 1)
    if h * w > 1:
        if shape[-2:] == (h, w) and (len(shape) > 2 or h > 1):
            return Planes(value.array.reshape(shape[:-2]), (h, w))
        outer = value.array.shape
        if shape and any(prod(outer[k:]) * h * w == shape[-1] for k in range(len(outer))):
            return flattened(tracer, value, shape)
        if shape and shape[-1] == h * w:
            return Planes(value.array.reshape(shape[:-1]), (h, w), merged=True)
        return gathered(tracer, cells_of(node, value).reshape(shape))
    if len(shape) >= 3 and shape[-2:] == (1, 1):
        return Planes(value.array.reshape(shape[:-2]), (1, 1))
    return Planes(value.array.reshape(shape), None)  # what reads pictures makes them of it


def flattened(tracer: Tracer, value: Planes, shape: tuple[int, ...]) -> Planes:
    """Whole pictures, one after another, as vectors: the last axis of `shape` holds channels (and axes beside them), H and W."""
    h, w = value.space or (1, 1)
    frames = [tracer.frame(row, value.space) for row in value.array.reshape(-1, shape[-1] // (h * w))]
    return Planes(np.stack([_flat(tracer, frame).planes() for frame in frames]).reshape(shape), None)


def _flat(tracer: Tracer, frame: ir.Frame) -> ir.Frame:
    """Its values as one row; moved there at once, if they are moved anyway."""

    def made() -> ir.Frame:
        moved, place = frame.op, tracer.place()
        op = ir.Move(*place, moved.cells, moved.frames) if isinstance(moved, ir.Move) else ir.Flatten(*place, frame)
        return tracer.add(op, (frame.floats, 1, 1))

    return tracer.once(("flatten", frame.number), made)


@lowers("Reshape", reads="allowzero shape", keeps=True)
def reshape(tracer: Tracer, node: Node, values: list) -> Value:
    wanted = ints(node, values, 1, "shape") or []
    source = values[0].shape
    shape = [source[i] if n == 0 and not node.attr("allowzero", 0) else n for i, n in enumerate(wanted)]
    if -1 in shape:
        shape[shape.index(-1)] = prod(source) // max(1, -prod(shape))
    return reshaped(tracer, node, values[0], tuple(shape))


@lowers("Flatten", reads="axis", keeps=True)
def flatten(tracer: Tracer, node: Node, values: list) -> Value:
    shape, axis = values[0].shape, node.attr("axis", 1)
    axis += len(shape) if axis < 0 else 0
    return reshaped(tracer, node, values[0], (prod(shape[:axis]), prod(shape[axis:])))


@lowers("Squeeze", "Unsqueeze", reads="axes", keeps=True)
def squeeze(tracer: Tracer, node: Node, values: list) -> Value:
    shape, axes = values[0].shape, ints(node, values, 1, "axes")
    if node.op == "Squeeze":
        drop = {a % len(shape) for a in axes} if axes is not None else {i for i, n in enumerate(shape) if n == 1}
        return reshaped(tracer, node, values[0], tuple(n for i, n in enumerate(shape) if i not in drop))
    rank = len(shape) + len(axes or [])
    put, old = {a % rank for a in axes or []}, iter(shape)
    return reshaped(tracer, node, values[0], tuple(1 if i in put else next(old) for i in range(rank)))


@lowers("Transpose", reads="perm", keeps=True)
def transpose(tracer: Tracer, node: Node, values: list) -> Value:
    value, rank = values[0], len(values[0].shape)
    perm = tuple(node.attr("perm") or reversed(range(rank)))
    if isinstance(value, Scalars):
        return Scalars(value.array.transpose(perm), value.kind)
    if value.space is None:
        return Planes(value.array.transpose(perm), None)
    if value.merged and perm[-1] == rank - 1:
        return Planes(value.array.transpose(perm[:-1]), value.space, merged=True)
    if perm[-2:] == (rank - 2, rank - 1) and not value.merged:
        return Planes(value.array.transpose(perm[:-2]), value.space)
    if value.space == (1, 1):
        whole = value.array.reshape(value.shape).transpose(perm)
        return reshaped(tracer, node, Planes(whole, None), whole.shape)
    return gathered(tracer, cells_of(node, value).transpose(perm))


@lowers("Identity", kinds="bool int uint8 int8 half", keeps=True)
def identity(tracer: Tracer, node: Node, values: list) -> Value:
    return values[0]


@lowers("Dropout", reads="ratio seed")
def dropout(tracer: Tracer, node: Node, values: list) -> Value:
    training = values[2] if len(values) > 2 and values[2] is not None else np.array(False)
    if not isinstance(training, np.ndarray) or training.any():
        raise unsupported(node, "It is in training mode.")
    return [values[0], np.ones(values[0].shape, bool)]  # type: ignore[return-value]


@lowers("EyeLike", reads="dtype k", kinds="bool int")
def eye_like(tracer: Tracer, node: Node, values: list) -> Value:
    """Of its input only the shape is read."""
    rows, columns = values[0].shape
    return np.eye(rows, columns, node.attr("k", 0), np.float32)


@lowers("Shape", "Size", reads="start end", keeps=True)
def shape(tracer: Tracer, node: Node, values: list) -> Value:
    whole = np.array(values[0].shape, np.int64)
    return whole.prod() if node.op == "Size" else whole[slice(node.attr("start", 0), node.attr("end"))]


@lowers("Slice", reads="starts ends axes", keeps=True)
def slicing(tracer: Tracer, node: Node, values: list) -> Value:
    value = values[0]
    starts, ends = ints(node, values, 1, "starts") or [], ints(node, values, 2, "ends") or []
    axes = ints(node, values, 3, "axes") or list(range(len(starts)))
    steps = ints(node, values, 4, "steps") or [1] * len(starts)
    rank = len(value.shape)
    cut = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = value.shape[axis % rank]
        first, last, by = slice(start, end, step).indices(size)
        cut[axis % rank] = slice(first, last if last >= 0 else None, by)
    if isinstance(value, Scalars):
        return Scalars(value.array[tuple(cut)], value.kind)
    if value.space is None:
        return Planes(value.array[tuple(cut)], None)
    kept = Planes(value.array[tuple(cut[:-2])], value.space)
    return _windowed(tracer, node, kept, cut[-2], cut[-1])


def _windowed(tracer: Tracer, node: Node, value: Planes, rows: slice, columns: slice) -> Planes:
    """Part of every picture; the value itself if that is all of it."""
    ranges = [range(size)[cut] for size, cut in zip(value.space or (1, 1), (rows, columns), strict=True)]
    if all(len(r) == n and r.step == 1 for r, n in zip(ranges, value.space or (1, 1), strict=True)):
        return value
    if any(r.step < 0 for r in ranges):
        return gathered(tracer, cells_of(node, value)[..., rows, columns], pictures=True)
    return windows(tracer, value, tuple(r.start for r in ranges), tuple(r.step for r in ranges), tuple(map(len, ranges)), 0.0)


def windows(tracer: Tracer, value: Planes, origin, strides, size, fill: float) -> Planes:  # type: ignore[no-untyped-def]
    """Every picture through the same ir.Window; size: (H, W) of the result."""
    made: dict[int, ir.Frame] = {}
    for number, source in tracer.used(value.array).items():
        frame = source if source.quant and source.quant.nearest(fill) == fill else tracer.plain(source)
        shape = (frame.channels, *size)
        key = ("window", number, origin, strides, size, fill)
        made[number] = tracer.once(
            key,
            lambda frame=frame, shape=shape: tracer.add(ir.Window(*tracer.place(), frame, origin, strides, fill), shape),  # type: ignore[misc]
        )
    return Planes(ir.retarget(value.array, made), size)


@lowers("Pad", reads="mode pads value", keeps=True)
def pad(tracer: Tracer, node: Node, values: list) -> Value:
    value, mode = values[0], node.attr("mode", b"constant")
    fill = values[2] if len(values) > 2 and values[2] is not None else node.attr("value", 0.0)
    if not isinstance(value, Planes) or mode != b"constant" or isinstance(fill, Planes | Scalars):
        return moved(tracer, node, values)
    pads, rank = ints(node, values, 1, "pads") or [], len(value.shape)
    axes = [a % rank for a in ints(node, values, 3, "axes") or range(rank)]
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[i + len(axes)]
    number = float(np.asarray(fill).ravel()[0])
    outer = len(value.array.shape)
    if value.space is not None and any(before[outer:] + after[outer:]):
        h, w = value.space or (1, 1)
        top, left, bottom, right = before[outer], before[outer + 1], after[outer], after[outer + 1]
        value = windows(tracer, value, (-top, -left), (1, 1), (h + top + bottom, w + left + right), number)
    cut = tuple(slice(max(0, -b), n - max(0, -a)) for n, b, a in zip(value.array.shape, before, after, strict=False))
    widths = [(max(0, b), max(0, a)) for b, a in zip(before[:outer], after[:outer], strict=True)]
    edge = tracer.fill(number, (1, *(value.space or (1, 1)))).planes()[0]
    return Planes(np.pad(value.array[cut], widths, constant_values=edge), value.space)


@lowers("Concat", reads="axis", keeps=True)
def concat(tracer: Tracer, node: Node, values: list) -> Value:
    rank, values = len(values[0].shape), [v for v in values if 0 not in v.shape]
    axis = node.attr("axis", 0) % rank
    if any(isinstance(v, Scalars) for v in values) and not any(isinstance(v, Planes) for v in values):
        kind = next(v.kind for v in values if isinstance(v, Scalars))
        arrays = [v.array if isinstance(v, Scalars) else np.asarray(v).astype(object) for v in values]
        return Scalars(np.concatenate([np.vectorize(str, otypes=[object])(a) for a in arrays], axis), kind)
    spaces = {v.space for v in values if isinstance(v, Planes)}
    if len(spaces) > 1 or (None not in spaces and axis >= rank - 2) or any(isinstance(v, Scalars) for v in values):
        return moved(tracer, node, values)
    space = spaces.pop()
    parts = [v if isinstance(v, Planes) else constant_planes(tracer, v, space is not None) for v in values]
    return Planes(np.concatenate([part.array for part in parts], axis), space)


def constant_planes(tracer: Tracer, array: np.ndarray, pictures: bool) -> Planes:
    """A constant tensor as constant frames, channels on axis 1."""
    if array.ndim == 0:
        return Planes(tracer.constant(array.reshape(1, 1, 1)).planes().reshape(()), None)
    outer = array.shape[:-2] if pictures else array.shape
    space = array.shape[-2:] if pictures else (1, 1)
    if len(outer) < 2:
        frame = tracer.constant(array.reshape(-1, *space))
        return Planes(frame.planes().reshape(outer), space if pictures else None)
    moved = np.moveaxis(array.reshape(*outer, *space), 1, -3)  # (..., C, H, W)
    flat = moved.reshape(-1, *moved.shape[-3:])
    planes = np.stack([tracer.constant(data).planes() for data in flat]).reshape(*moved.shape[:-2])
    return Planes(np.moveaxis(planes, -1, 1), space if pictures else None)


@lowers("Split", reads="axis split num_outputs", keeps=True)
def split(tracer: Tracer, node: Node, values: list) -> Value:
    value = values[0]
    axis = node.attr("axis", 0) % len(value.shape)
    count = len(node.outputs)
    sizes = ints(node, values, 1, "split")
    if sizes is None:
        each = -(-value.shape[axis] // count)
        sizes = [min(each, value.shape[axis] - i * each) for i in range(count)]
    if not isinstance(value, Planes) or axis >= len(value.array.shape):
        return moved(tracer, node, values)
    ends = np.cumsum(sizes)
    parts = [value.array.take(range(end - size, end), axis) for size, end in zip(sizes, ends, strict=True)]
    return [Planes(part, value.space) for part in parts]  # type: ignore[return-value]


def moved(tracer: Tracer, node: Node, values: list) -> Value:
    """What an operator makes that only moves values: done by ONNX's reference with the numbers of the values instead of them."""
    data = [i for i in DATA.get(node.op, range(len(values))) if i < len(values) and values[i] is not None]
    for i in set(range(len(values))) - set(data):
        if not isinstance(values[i], np.ndarray | None):
            raise unsupported(node, "Where values go is computed at run time.", got=node.inputs[i])
    scalars = any(isinstance(values[i], Scalars) for i in data)
    if scalars and any(isinstance(values[i], Planes) for i in data):
        raise unsupported(node, "Counters and pictures meet.")
    given, known, first = list(values), [np.zeros(1, object if scalars else np.int64)], 1
    for i in data:
        own = values[i].array if scalars else cells_of(node, as_planes(tracer, values[i]))
        given[i] = np.arange(first, first + own.size).reshape(own.shape)
        known.append(own.ravel())
        first += own.size
    table, pictures = np.concatenate(known), any(isinstance(values[i], Planes) and values[i].space for i in data)
    made: list[Value] = []
    for found in computed(node, given, tracer.opset):
        if scalars and not found.all():
            raise unsupported(node, "Its result is padded.", got=f"shape {found.shape}")
        if not found.size:
            made.append(np.zeros(found.shape, np.float32))
        elif scalars:
            made.append(Scalars(table[found], next(values[i].kind for i in data if isinstance(values[i], Scalars))))
        else:
            made.append(gathered(tracer, table[found], pictures=found.ndim >= 4 or (found.ndim == 3 and pictures)))
    return made if len(made) > 1 else made[0]  # type: ignore[return-value]


def as_planes(tracer: Tracer, value: Value) -> Planes:
    return value if isinstance(value, Planes) else constant_planes(tracer, np.asarray(value, np.float32), len(value.shape) >= 4)


#: which inputs of an operator are moved; the others say where to (all of them where it is not listed)
DATA = {
    **dict.fromkeys(
        ("Expand", "Tile", "Gather", "GatherElements", "GatherND", "DepthToSpace", "SpaceToDepth", "ReverseSequence", "Compress",
         "Trilu", "Split", "CenterCropPad", "Reshape", "Slice", "Squeeze", "Unsqueeze"), (0,),
    ),
    **dict.fromkeys(("Pad", "ScatterND", "ScatterElements", "Scatter"), (0, 2)), "TensorScatter": (0, 1),
}  # fmt: skip
lowers(
    "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "ReverseSequence", "Compress", "Trilu",
    "CenterCropPad",
    reads="axes blocksize mode batch_axis time_axis upper axis", keeps=True,
)(moved)  # fmt: skip
