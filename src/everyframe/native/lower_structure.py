"""Operators that only rearrange: nothing is computed and, as long as pictures stay whole, nothing is copied."""

from __future__ import annotations

from math import prod

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.ir import Planes, Scalars, Value
from everyframe.native.tracer import Tracer, lowers, unsupported


def ints(node: Node, values: list, index: int, attr: str) -> list[int] | None:
    """Integers from an attribute (old opsets) or a constant input (new ones)."""
    if attr in node.attrs:
        made = node.attrs[attr]
        return [int(v) for v in made] if isinstance(made, list | tuple) else [int(made)]
    if index < len(values) and values[index] is not None:
        if not isinstance(values[index], np.ndarray):
            raise unsupported(node, f"Its {attr} are computed at run time.")
        return [int(v) for v in np.asarray(values[index]).ravel()]
    return None


def reshaped(tracer: Tracer, node: Node, value: Value, shape: tuple[int, ...]) -> Value:
    """The tensor in another shape. Pictures may be flattened as a whole, but not cut."""
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
        raise unsupported(node, "A reshape cuts pictures apart.", got=f"{value.shape} -> {shape}")
    if len(shape) >= 3 and shape[-2:] == (1, 1):
        return Planes(value.array.reshape(shape[:-2]), (1, 1))
    return Planes(value.array.reshape(shape), None)  # a picture made of vectors is refused by what reads pictures


def flattened(tracer: Tracer, value: Planes, shape: tuple[int, ...]) -> Planes:
    """Whole pictures, one after another, as vectors: the last axis of `shape` holds channels (and axes beside them), H and W."""
    made = []
    h, w = value.space or (1, 1)
    for row in value.array.reshape(-1, shape[-1] // (h * w)):
        frame = tracer.frame(row, value.space)
        size = frame.floats
        made.append(
            tracer.once(
                ("flatten", frame.number),
                lambda frame=frame, size=size: tracer.add(ir.Flatten(*tracer.place(), frame), (size, 1, 1)),  # type: ignore[misc]
            ).planes()
        )
    return Planes(np.stack(made).reshape(shape), None)


@lowers("Reshape")
def reshape(tracer: Tracer, node: Node, values: list) -> Value:
    wanted = ints(node, values, 1, "shape") or []
    source = values[0].shape
    shape = [source[i] if n == 0 and not node.attr("allowzero", 0) else n for i, n in enumerate(wanted)]
    if -1 in shape:
        shape[shape.index(-1)] = prod(source) // max(1, -prod(shape))
    return reshaped(tracer, node, values[0], tuple(shape))


@lowers("Flatten")
def flatten(tracer: Tracer, node: Node, values: list) -> Value:
    axis = node.attr("axis", 1) % (len(values[0].shape) + 1)
    shape = values[0].shape
    return reshaped(tracer, node, values[0], (prod(shape[:axis]), prod(shape[axis:])))


@lowers("Squeeze", "Unsqueeze")
def squeeze(tracer: Tracer, node: Node, values: list) -> Value:
    shape, axes = values[0].shape, ints(node, values, 1, "axes")
    if node.op == "Squeeze":
        drop = {a % len(shape) for a in axes} if axes is not None else {i for i, n in enumerate(shape) if n == 1}
        return reshaped(tracer, node, values[0], tuple(n for i, n in enumerate(shape) if i not in drop))
    rank = len(shape) + len(axes or [])
    put, old = {a % rank for a in axes or []}, iter(shape)
    return reshaped(tracer, node, values[0], tuple(1 if i in put else next(old) for i in range(rank)))


@lowers("Transpose")
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
    raise unsupported(node, "A transpose moves the height or width of pictures.", got=f"perm {perm}")


@lowers("Identity", "Dropout")
def identity(tracer: Tracer, node: Node, values: list) -> Value:
    return values[0]


@lowers("Cast")
def cast(tracer: Tracer, node: Node, values: list) -> Value:
    kind = {1: "float", 6: "int", 7: "int", 9: "bool"}.get(node.attr("to"))
    if isinstance(values[0], Planes):
        if kind != "float":
            raise unsupported(node, "Only float32 tensors can be compiled.", got=f"a cast to ONNX type {node.attr('to')}")
        return values[0]
    if kind is None:
        raise unsupported(node, "A counter is cast to a type that is not known here.", got=f"ONNX type {node.attr('to')}")
    text = {"float": "(float)({})", "int": "(int64_t)({})", "bool": "(({}) != 0)"}[kind]
    return Scalars(_each(lambda x: text.format(x), values[0].array), kind)


def _each(function, array: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    made = np.empty(array.shape, object)
    made.ravel()[:] = [function(x) for x in array.ravel()]
    return made


@lowers("Slice")
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
    if any(r.step < 0 or not len(r) for r in ranges):
        raise unsupported(node, "A slice of pictures is empty or runs backwards.")
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


@lowers("Pad")
def pad(tracer: Tracer, node: Node, values: list) -> Value:
    value, mode = values[0], node.attr("mode", b"constant")
    if not isinstance(value, Planes) or (mode.decode() if isinstance(mode, bytes) else mode) != "constant":
        raise unsupported(node, "Only padding with a constant can be compiled.", got=f"mode {mode!r}")
    pads, rank = ints(node, values, 1, "pads") or [], len(value.shape)
    fill = values[2] if len(values) > 2 and values[2] is not None else node.attr("value", 0.0)
    axes = [a % rank for a in ints(node, values, 3, "axes") or range(rank)]
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[i + len(axes)]
    number = float(np.asarray(fill).ravel()[0])
    outer = len(value.array.shape)
    if any(before[outer:] + after[outer:]):
        h, w = value.space or (1, 1)
        top, left, bottom, right = before[outer], before[outer + 1], after[outer], after[outer + 1]
        value = windows(tracer, value, (-top, -left), (1, 1), (h + top + bottom, w + left + right), number)
    cut = tuple(slice(max(0, -b), n - max(0, -a)) for n, b, a in zip(value.array.shape, before, after, strict=False))
    widths = [(max(0, b), max(0, a)) for b, a in zip(before[:outer], after[:outer], strict=True)]
    edge = tracer.fill(number, (1, *(value.space or (1, 1)))).planes()[0]
    return Planes(np.pad(value.array[cut], widths, constant_values=edge), value.space)


@lowers("Concat")
def concat(tracer: Tracer, node: Node, values: list) -> Value:
    rank = len(values[0].shape)
    axis = node.attr("axis", 0) % rank
    if any(isinstance(v, Scalars) for v in values):
        kind = next(v.kind for v in values if isinstance(v, Scalars))
        arrays = [v.array if isinstance(v, Scalars) else np.asarray(v).astype(object) for v in values]
        return Scalars(np.concatenate([_each(str, a) for a in arrays], axis), kind)
    space = next(v.space for v in values if isinstance(v, Planes))
    parts = [v if isinstance(v, Planes) else constant_planes(tracer, v, space is not None) for v in values]
    if space is not None and axis >= rank - 2:
        raise unsupported(node, "Pictures are joined along height or width.", got=f"axis {axis}")
    return Planes(np.concatenate([part.array for part in parts], axis), space)


def constant_planes(tracer: Tracer, array: np.ndarray, pictures: bool) -> Planes:
    """A constant tensor as constant frames, channels on axis 1."""
    outer = array.shape[:-2] if pictures else array.shape
    space = array.shape[-2:] if pictures else (1, 1)
    if len(outer) < 2:
        frame = tracer.constant(array.reshape(-1, *space))
        return Planes(frame.planes().reshape(outer), space if pictures else None)
    moved = np.moveaxis(array.reshape(*outer, *space), 1, -3)  # (..., C, H, W)
    flat = moved.reshape(-1, *moved.shape[-3:])
    planes = np.stack([tracer.constant(data).planes() for data in flat]).reshape(*moved.shape[:-2])
    return Planes(np.moveaxis(planes, -1, 1), space if pictures else None)


@lowers("Split")
def split(tracer: Tracer, node: Node, values: list) -> Value:
    value = values[0]
    axis = node.attr("axis", 0) % len(value.shape)
    count = len(node.outputs)
    sizes = ints(node, values, 1, "split")
    if sizes is None:
        each = -(-value.shape[axis] // count)
        sizes = [min(each, value.shape[axis] - i * each) for i in range(count)]
    if not isinstance(value, Planes) or axis >= len(value.array.shape):
        raise unsupported(node, "Only frames and channels can be split.", got=f"axis {axis}")
    ends = np.cumsum(sizes)
    parts = [value.array.take(range(end - size, end), axis) for size, end in zip(sizes, ends, strict=True)]
    return [Planes(part, value.space) for part in parts]  # type: ignore[return-value]


@lowers("Gather")
def gather(tracer: Tracer, node: Node, values: list) -> Value:
    source, index = values[0], values[1]
    axis = node.attr("axis", 0)
    if isinstance(index, Scalars):
        if not isinstance(source, np.ndarray) or axis % source.ndim:
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
    wanted = np.asarray(index)
    if isinstance(source, Scalars):
        return Scalars(source.array.take(wanted, axis), source.kind)
    axis %= len(source.shape)
    if axis >= source.array.ndim:
        raise unsupported(node, "Rows or columns of pictures are gathered.", got=f"axis {axis}")
    return Planes(source.array.take(wanted, axis), source.space)
