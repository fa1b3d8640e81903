"""What is linear: matrix products, and sums of values with constant weights along an axis."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from string import ascii_letters

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.broadcast import apply
from everyframe.native.cells import cells_of, gathered, products
from everyframe.native.constants import computed
from everyframe.native.ir import Frame, Planes, Scalars, Value
from everyframe.native.lower_compute import conv
from everyframe.native.lower_quantized import exact, in_integers, rows_of
from everyframe.native.lower_structure import constant_planes
from everyframe.native.quants import Levels
from everyframe.native.tracer import Tracer, lowers, stack, unsupported

# N batch or frames, C channels, H height, W width; M, N, K of a matrix product


def linear(
    tracer: Tracer, node: Node, row: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, key: tuple,
    levels: Levels | None = None,
) -> Frame:  # fmt: skip
    """A fully connected layer of one row; over a flattened picture a convolution of that size. weight: (Cout, Cin)."""
    frame, shape = tracer.of(row[0]), (1, 1)
    if isinstance(frame.op, ir.Flatten) and np.array_equal(frame.planes(), row):
        source = frame.op.source
        row, shape = source.planes(), (source.height, source.width)
    kernel = np.ascontiguousarray(weight.reshape(len(weight), len(row), *shape), np.float32)
    tap = ir.Tap(kernel, key, row)
    if levels is not None:
        tap.integers, tap.scale = levels.integers.reshape(kernel.shape), np.broadcast_to(levels.scale, len(weight))
    quant = in_integers(tracer, [tap])
    op = ir.Conv(*tracer.place(), [tap], exact(tracer, node.input(2), bias, quant), (node.input(2), *key), quant=quant)
    op.frames = tracer.used(tap.planes)
    return tracer.add(op, (len(weight), 1, 1))


@lowers("Gemm", reads="alpha beta transA transB")
def gemm(tracer: Tracer, node: Node, values: list) -> Value:
    a, b = values[0], values[1]
    c = values[2] if len(values) > 2 else None
    plain = isinstance(a, Planes) and isinstance(b, np.ndarray) and a.array.ndim == 2 and not isinstance(c, Planes | Scalars)
    if not plain or (c is not None and c.ndim > 1 and len(c) > 1):
        return _gemm_of_parts(tracer, node, a, b, c)
    weight = (b if node.attr("transB", 0) else b.T) * np.float32(node.attr("alpha", 1.0))  # (Cout, Cin)
    array = a.array.T if node.attr("transA", 0) else a.array
    levels = rows_of(tracer.levels.get(node.inputs[1]), bool(node.attr("transB", 0))) if node.attr("alpha", 1.0) == 1 else None
    bias = None
    if c is not None:
        bias = np.ascontiguousarray(np.broadcast_to(c.ravel(), len(weight)) * np.float32(node.attr("beta", 1.0)), np.float32)
    made = np.empty(len(array), object)
    for i, row in enumerate(array):
        made[i] = linear(tracer, node, row, weight, bias, (node.inputs[1], "gemm"), levels)
    return stack(made, None)


def _gemm_of_parts(tracer: Tracer, node: Node, a: Value, b: Value, c: Value | None) -> Value:
    """Of what is no constant matrix, or with another row added to each row."""
    a, b = (
        tracer.emit("Transpose", part, perm=[1, 0]) if node.attr(name, 0) else part
        for part, name in ((a, "transA"), (b, "transB"))
    )
    made = tracer.emit("Mul", tracer.emit("MatMul", a, b), float(node.attr("alpha", 1.0)))
    if c is None:
        return made  # type: ignore[no-any-return]
    return tracer.emit("Add", made, tracer.emit("Mul", c, float(node.attr("beta", 1.0))))


#: more rows than that meet a constant matrix together, not as a layer each
_ROWS = 32


@lowers("MatMul", kinds="int", keeps=True)
def matmul(tracer: Tracer, node: Node, values: list) -> Value:
    a, b = values
    if isinstance(a, Planes) and isinstance(b, np.ndarray) and b.ndim == 2 and (a.space is None or a.space == (1, 1)):
        array = a.array if a.space is None else a.array.reshape(a.shape)
        levels = rows_of(tracer.levels.get(node.inputs[1]), False)
        few = array.size <= _ROWS * array.shape[-1] or levels is not None
        if array.ndim >= 2 and array.shape[-1] == b.shape[0] and few:
            flat = array.reshape(-1, array.shape[-1])
            made = [linear(tracer, node, row, b.T, None, (node.inputs[1], "matmul"), levels).planes() for row in flat]
            return Planes(np.stack(made).reshape(*array.shape[:-1], -1), None)
    if isinstance(b, Planes) and isinstance(a, np.ndarray) and a.ndim == 2 and b.array.ndim == 2 and b.space is None:
        made = [_weighted(tracer, row, [tracer.frame(r, None) for r in b.array]).planes() for row in a]
        return Planes(np.stack(made), None)
    left, right = _cells(tracer, node, a), _cells(tracer, node, b)
    if not left.ndim or not right.ndim:
        raise unsupported(node, "A matrix product of single numbers.")
    vector_a, vector_b = left.ndim == 1, right.ndim == 1
    left, right = left[None] if vector_a else left, right[:, None] if vector_b else right
    lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left, right = (np.broadcast_to(part, (*lead, *part.shape[-2:])) for part in (left, right.swapaxes(-1, -2)))
    made_all = products(tracer, left, right)
    kept = tuple(n for n, dropped in zip(made_all.shape[len(lead) :], (vector_a, vector_b), strict=True) if not dropped)
    return gathered(tracer, made_all.reshape((*lead, *kept)))


def _cells(tracer: Tracer, node: Node, value: Value) -> np.ndarray:
    if isinstance(value, np.ndarray):
        value = constant_planes(tracer, value.astype(np.float32), value.ndim >= 4)
    if not isinstance(value, Planes):
        raise unsupported(node, "Counters are multiplied as matrices.")
    return cells_of(node, value)


@lowers("Einsum", reads="equation")
def einsum(tracer: Tracer, node: Node, values: list) -> Value:
    """Two tensors at a time: a matrix product for each index that both have and that is read later."""
    terms, result = _letters(node, node.attr("equation").decode().replace(" ", ""), [len(v.shape) for v in values])
    parts = []
    for i, (term, value) in enumerate(zip(terms, values, strict=True)):
        alone = "".join(dict.fromkeys(term))  # of an index named twice, the diagonal
        cells = np.einsum(f"{term}->{alone}", _cells(tracer, node, value))
        read = {*result}.union(*(other for j, other in enumerate(terms) if j != i))
        if lost := [axis for axis, letter in enumerate(alone) if letter not in read]:
            summed = tracer.emit("ReduceSum", gathered(tracer, cells), np.array(lost), keepdims=0)
            cells, alone = _cells(tracer, node, summed), "".join(letter for letter in alone if letter in read)
        parts.append((alone, cells))
    while len(parts) > 1:
        later = {*result}.union(*(term for term, _ in parts[2:]))
        parts[:2] = [_contracted(tracer, *parts[0], *parts[1], later)]
    term, cells = parts[0]
    return gathered(tracer, cells.transpose([term.index(c) for c in result]))


def _letters(node: Node, equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Terms and result with letters in place of dots; without an arrow, what is named once is the result."""
    given, arrow, result = equation.partition("->")
    terms = given.split(",")
    wide = max((rank - len(term) + 3 for term, rank in zip(terms, ranks, strict=True) if "..." in term), default=0)
    names = [c for c in ascii_letters if c not in equation][:wide]
    fits = [len(term) - 3 <= rank if "..." in term else len(term) == rank for term, rank in zip(terms, ranks, strict=True)]
    if not all(fits):
        raise unsupported(node, "The equation does not fit its tensors.", got=equation)
    made = [term.replace("...", "".join(names[wide - (rank - len(term) + 3) :])) for term, rank in zip(terms, ranks, strict=True)]
    if not arrow:
        once = sorted(c for c in {*"".join(terms)} - {"."} if "".join(terms).count(c) == 1)
        return made, "".join([*names, *once])
    return made, result.replace("...", "".join(names))


def _contracted(tracer: Tracer, one: str, a: np.ndarray, two: str, b: np.ndarray, read: set[str]) -> tuple[str, np.ndarray]:
    """The product of two tensors of cells, summed over what both have and nobody reads later."""
    batch = [c for c in one if c in two and c in read]
    summed = [c for c in one if c in two and c not in read]
    own = [[c for c in term if c not in other] for term, other in ((one, two), (two, one))]
    sizes: dict[str, int] = {}
    for term, cells in ((one, a), (two, b)):
        sizes |= {c: max(n, sizes.get(c, 1)) for c, n in zip(term, cells.shape, strict=True)}
    parts = []
    for term, mine, cells in ((one, own[0], a), (two, own[1], b)):
        order = [*batch, *mine, *summed]
        turned = np.broadcast_to(cells.transpose([term.index(c) for c in order]), [sizes[c] for c in order])
        parts.append(turned.reshape(*(sizes[c] for c in batch), *(prod(sizes[c] for c in group) for group in (mine, summed))))
    made = [*batch, *own[0], *own[1]]
    return "".join(made), products(tracer, parts[0], parts[1]).reshape([sizes[c] for c in made])


@lowers("DFT", reads="axis inverse onesided")
def fourier(tracer: Tracer, node: Node, values: list) -> Value:
    """One axis and the last one, which holds real and imaginary parts, by the matrix that ONNX's reference has for them."""
    x, length, along_axis = [*values, None, None][:3]
    if not all(each is None or isinstance(each, np.ndarray) for each in (length, along_axis)):
        raise unsupported(node, "Its length is known only at run time.")
    default = -2 if tracer.opset >= 20 else 1
    rank = len(x.shape)
    axis = (node.attr("axis", default) if along_axis is None else int(along_axis.ravel()[0])) % rank
    n, parts = x.shape[axis], x.shape[-1]
    basis = np.eye(n * parts, dtype=np.float32).reshape(-1, n, parts)
    attrs = {name: node.attr(name, 0) for name in ("inverse", "onesided")}
    made = replace(node, attrs=attrs, inputs=("x", "length" if length is not None else "", "axis"))
    (matrix,) = computed(made, [basis, length, np.array(1)], 20)
    order = [i for i in range(rank - 1) if i != axis]
    rows = tracer.emit("Transpose", x, perm=[*order, axis, rank - 1])
    flat = tracer.emit("Reshape", rows, np.array([-1, n * parts]))
    product = tracer.emit("MatMul", flat, np.ascontiguousarray(matrix.reshape(n * parts, -1), np.float32))
    turned = tracer.emit("Reshape", product, np.array([*(x.shape[i] for i in order), *matrix.shape[1:]]))
    back = [*order, axis, rank - 1]
    return tracer.emit("Transpose", turned, perm=[back.index(i) for i in range(rank)])


@lowers("STFT", reads="onesided")
def windowed_fourier(tracer: Tracer, node: Node, values: list) -> Value:
    x, step, window, length = [*values, None, None][:4]
    if not all(each is None or isinstance(each, np.ndarray) for each in (step, length)):
        raise unsupported(node, "Its lengths are known only at run time.")
    size = int(length.ravel()[0]) if length is not None else window.shape[0]
    first = np.arange(0, x.shape[1] - size + 1, int(step.ravel()[0]))
    frames = tracer.emit("Gather", x, first[:, None] + np.arange(size), axis=1)  # (batch, frames, size, parts)
    if window is not None:
        frames = tracer.emit("Mul", frames, tracer.emit("Reshape", window, np.array([size, 1])))
    return tracer.emit("DFT", frames, None, np.array(2), onesided=node.attr("onesided", 1))


@lowers("CumProd", reads="exclusive reverse", kinds="int", keeps=True)
def cumulative_product(tracer: Tracer, node: Node, values: list) -> Value:
    x, axis = values
    if not isinstance(axis, np.ndarray):
        raise unsupported(node, "Its axis is computed at run time.")
    at = int(axis.ravel()[0]) % len(x.shape)
    rows = [tracer.emit("Gather", x, np.array([i]), axis=at) for i in range(x.shape[at])]
    rows = rows[::-1] if node.attr("reverse", 0) else rows
    made: list[Value] = [np.ones(rows[0].shape, np.float32)]
    for row in rows:
        made.append(tracer.emit("Mul", made[-1], row))
    made = made[:-1] if node.attr("exclusive", 0) else made[1:]
    return tracer.emit("Concat", *(made[::-1] if node.attr("reverse", 0) else made), axis=at)


def _weighted(tracer: Tracer, weights: np.ndarray, frames: list[Frame]) -> Frame:
    """sum of weights[i] * frames[i], zeros left out."""
    used = [(float(w), f) for w, f in zip(weights, frames, strict=True) if w != 0]
    if not used:
        return tracer.fill(0.0, frames[0].shape)
    steps: list[ir.Step] = []
    total: tuple | None = None
    for i, (w, _) in enumerate(used):
        term: tuple = ("in", i)
        if w != 1:
            steps.append(("mul", (term, ("num", w))))
            term = ("tmp", len(steps) - 1)
        if total is not None:
            steps.append(("add", (total, term)))
            term = ("tmp", len(steps) - 1)
        total = term
    if not steps:
        return used[0][1]
    return tracer.add(ir.Map(*tracer.place(), [f for _, f in used], steps), used[0][1].shape)


# -- along an axis --------------------------------------------------------------------------------------------------------

_FEW = 6


def along(tracer: Tracer, node: Node, x: Planes, matrix: np.ndarray, axis: int) -> Planes:
    """matrix (out, in) times x along an axis: a sum of a few weighted copies where its rows have few entries, else a product."""
    matrix = matrix.astype(np.float32)
    cells = np.moveaxis(cells_of(node, x), axis, 0)
    counts = (matrix != 0).sum(1)
    taps = int(counts.max())
    if taps > _FEW:
        moved = np.moveaxis(cells, 0, -1).reshape(-1, len(cells))  # (rows, in)
        right = cells_of(node, constant_planes(tracer, matrix, False))
        made = products(tracer, moved, right).reshape(*cells.shape[1:], len(matrix))
        return gathered(tracer, np.moveaxis(made, -1, axis))
    order = np.argsort(matrix == 0, axis=1, kind="stable")[:, : max(taps, 1)]  # where the entries are, zeros behind them
    weights = np.take_along_axis(matrix, order, 1)
    if taps == 1 and (weights == 1).all():
        return gathered(tracer, np.moveaxis(cells[order[:, 0]], 0, axis))
    side = [1] * cells.ndim
    side[axis] = -1
    steps: list[ir.Step] = []
    parts: list[Value] = []
    for tap in range(max(taps, 1)):
        parts += [gathered(tracer, np.moveaxis(cells[order[:, tap]], 0, axis)), weights[:, tap].reshape(side)]
        steps.append(("mul", (("in", 2 * tap), ("in", 2 * tap + 1))))
        if tap:
            steps.append(("add", (("tmp", len(steps) - 2), ("tmp", len(steps) - 1))))
    return apply(tracer, node, steps, parts)


@lowers(
    "Resize", "Upsample",
    reads="antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value "
    "keep_aspect_ratio_policy mode nearest_mode scales",
)  # fmt: skip
def resize(tracer: Tracer, node: Node, values: list) -> Value:
    """Axis by axis: what ONNX's reference makes of each single value of an axis is a column of the matrix."""
    x = values[0]
    if not isinstance(x, Planes) or not all(v is None or isinstance(v, np.ndarray) for v in values[1:]):
        raise unsupported(node, "Its sizes are computed at run time.")
    mode = node.attr("coordinate_transformation_mode", b"half_pixel")
    if mode == b"tf_crop_and_resize":
        raise unsupported(node, "Regions of interest cannot be compiled.", got=mode.decode())
    empty = np.zeros(x.shape, np.float32)
    (whole,) = computed(node, [np.broadcast_to(empty, x.shape), *values[1:]], tracer.opset)
    if whole.shape == x.shape and _sizes_only(values):
        return x
    rank = len(x.shape)
    axes = [a % rank for a in node.attr("axes") or range(rank)]
    scales = values[-2] if len(values) > 2 else values[-1] if len(values) > 1 else node.attr("scales")
    given = values[2] if len(values) > 2 and values[2] is not None and values[2].size else None
    for axis in range(rank):
        n, m = x.shape[axis], whole.shape[axis]
        factor = m / n
        if node.op == "Upsample":
            factor = float(np.asarray(scales).ravel()[axis])
        elif given is not None:
            factor = float(given.ravel()[axes.index(axis)]) if axis in axes else 1.0
        if n != m or factor != 1:
            x = along(tracer, node, x, _resizing(tracer, node, n, m, factor, given is not None), axis)
    return x


def _sizes_only(values: list) -> bool:
    return len(values) > 3 and values[3] is not None


def _resizing(tracer: Tracer, node: Node, n: int, m: int, factor: float, by_scale: bool) -> np.ndarray:
    """(m, n): the matrix of one axis."""
    attrs = {k: v for k, v in node.attrs.items() if k not in ("axes", "scales", "keep_aspect_ratio_policy")}
    one = np.eye(n, dtype=np.float32)  # (column, in)
    if node.op == "Upsample":
        attrs = {"mode": node.attr("mode", b"nearest")}
        attrs |= {"scales": [1.0, factor]} if "scales" in node.attrs else {}
        given: list[np.ndarray | None] = [one] if "scales" in node.attrs else [one, np.array([1, factor], np.float32)]
    elif tracer.opset < 11:
        given = [one, np.array([1, factor], np.float32)]
    elif by_scale:
        given = [one, None, np.array([1, factor], np.float32)]
    else:
        given = [one, None, None, np.array([n, m], np.int64)]
    names = tuple("x" if value is not None else "" for value in given)
    (made,) = computed(replace(node, attrs=attrs, inputs=names), given, tracer.opset)
    return made.T


@lowers("CumSum", reads="exclusive reverse", kinds="int", keeps=True)
def cumulative(tracer: Tracer, node: Node, values: list) -> Value:
    x, axis = values
    if not isinstance(x, Planes) or not isinstance(axis, np.ndarray):
        raise unsupported(node, "Its axis is computed at run time.")
    at = int(axis.ravel()[0]) % len(x.shape)
    matrix = np.tri(x.shape[at], k=-1 if node.attr("exclusive", 0) else 0)
    return along(tracer, node, x, matrix[::-1, ::-1] if node.attr("reverse", 0) else matrix, at)


@lowers("LRN", reads="alpha beta bias size")
def local_response(tracer: Tracer, node: Node, values: list) -> Value:
    """Divided by a power of the mean square of neighboring channels: a convolution with ones near the diagonal."""
    x, size = values[0], node.attr("size")
    if len(x.shape) < 3:
        raise unsupported(node, "It needs channels.", got=f"shape {x.shape}")
    distance = np.arange(x.shape[1])[:, None] - np.arange(x.shape[1])
    near = (distance <= (size - 1) // 2) & (distance >= -(size // 2))
    squares = apply(tracer, node, [("mul", (("in", 0), ("in", 0)))], [x])
    band = np.asarray(near, np.float32).reshape(*near.shape, *[1] * (len(x.shape) - 2))
    sums = conv(tracer, replace(node, attrs={}, inputs=("", f"{node.outputs[0]}/band")), [squares, band])
    gain = ("num", node.attr("alpha", 1e-4) / size)
    steps: list[ir.Step] = [
        ("mul", (("in", 1), gain)), ("add", (("tmp", 0), ("num", node.attr("bias", 1.0)))),
        ("pow", (("tmp", 1), ("num", node.attr("beta", 0.75)))), ("div", (("in", 0), ("tmp", 2))),
    ]  # fmt: skip
    return apply(tracer, node, steps, [x, sums])
