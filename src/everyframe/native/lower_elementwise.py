"""Element-wise operators, over frames (one Map each) or over counters (C expressions), and Where."""

from __future__ import annotations

import numpy as np

from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.ir import Frame, Planes, Scalars, Value
from everyframe.native.tracer import Tracer, lowers, unsupported

#: ONNX operator -> function of `maps`, both arguments frames or numbers
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max", "Min": "min", "Pow": "pow", "PRelu": "prelu"}
NARY = {"Sum": "add", "Max": "max", "Min": "min", "Mean": "add"}
UNARY = {
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Abs": "abs", "Neg": "neg", "Sqrt": "sqrt", "Reciprocal": "reciprocal",
    "Log": "log", "Erf": "erf", "HardSwish": "hardswish", "Softplus": "softplus", "Softsign": "softsign", "Mish": "mish",
    "Floor": "floor", "Ceil": "ceil", "Sin": "sin", "Cos": "cos", "Round": "round",
}  # fmt: skip
#: ONNX operator -> function with parameters, and their (attribute, default)
WITH_PARAMETERS = {
    "LeakyRelu": ("leakyrelu", (("alpha", 0.01),)), "Elu": ("elu", (("alpha", 1.0),)), "Celu": ("celu", (("alpha", 1.0),)),
    "Selu": ("selu", (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875))),
    "HardSigmoid": ("hardsigmoid", (("alpha", 0.2), ("beta", 0.5))), "Swish": ("swish", (("alpha", 1.0),)),
    "ThresholdedRelu": ("thresholdedrelu", (("alpha", 1.0),)),
}  # fmt: skip
SCALAR = {
    "Add": ("(({}) + ({}))", None), "Sub": ("(({}) - ({}))", None), "Mul": ("(({}) * ({}))", None),
    "Min": ("MIN({}, {})", None), "Max": ("MAX({}, {})", None),
    "GreaterOrEqual": ("(({}) >= ({}))", "bool"), "Greater": ("(({}) > ({}))", "bool"),
    "LessOrEqual": ("(({}) <= ({}))", "bool"), "Less": ("(({}) < ({}))", "bool"), "Equal": ("(({}) == ({}))", "bool"),
    "And": ("(({}) && ({}))", "bool"), "Or": ("(({}) || ({}))", "bool"),
}  # fmt: skip


def text_of(number: object, kind: str = "int") -> str:
    """A number as a C expression. kind: of the expressions it meets."""
    if isinstance(number, str):
        return number
    if isinstance(number, float | np.floating):
        return c_float(float(number))
    return f"INT64_C({int(number)})" if kind == "int" else str(int(number))  # type: ignore[call-overload]


def c_float(value: float) -> str:
    """The float32 value as a C literal."""
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = repr(float(np.float32(value))) if value == int(value) and abs(value) < 1e7 else f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def scalar_operation(node: Node, values: list) -> Scalars:
    arrays = [v.array if isinstance(v, Scalars) else np.asarray(v) for v in values]
    kind = next(v.kind for v in values if isinstance(v, Scalars))
    form, result = SCALAR[node.op]
    shaped = np.broadcast_arrays(*arrays)
    made = np.empty(shaped[0].shape, object)
    for index in np.ndindex(*made.shape):
        text = text_of(shaped[0][index], kind)
        for other in shaped[1:]:
            text = form.format(text, text_of(other[index], kind))
        made[index] = text
    return Scalars(made, result or kind)


@lowers("GreaterOrEqual", "Greater", "LessOrEqual", "Less", "Equal", "And", "Or")
def compare(tracer: Tracer, node: Node, values: list) -> Value:
    if any(isinstance(v, Planes) for v in values):
        raise unsupported(node, "Pictures are compared; only counters can be.")
    return scalar_operation(node, values)


@lowers("Not")
def negate(tracer: Tracer, node: Node, values: list) -> Value:
    if not isinstance(values[0], Scalars):
        raise unsupported(node, "Only conditions on counters can be negated.")
    made = np.empty(values[0].array.shape, object)
    made.ravel()[:] = [f"(!({x}))" for x in values[0].array.ravel()]
    return Scalars(made, "bool")


@lowers(*BINARY, "Sum", "Mean")
def arithmetic(tracer: Tracer, node: Node, values: list) -> Value:
    if not any(isinstance(v, Planes) for v in values):
        if node.op not in SCALAR:
            raise unsupported(node, "This arithmetic on counters cannot be compiled.")
        return scalar_operation(node, values)
    if len(values) == 1:
        return values[0]
    function = BINARY.get(node.op) or NARY[node.op]
    result = apply(tracer, node, [(function, (("in", 0), ("in", 1)))], values[:2])
    for more in values[2:]:
        result = apply(tracer, node, [(function, (("in", 0), ("in", 1)))], [result, more])
    if node.op == "Mean":
        result = apply(tracer, node, [("mul", (("in", 0), ("num", 1 / len(values))))], [result])
    return result


@lowers(*UNARY)
def unary(tracer: Tracer, node: Node, values: list) -> Value:
    return apply(tracer, node, [(UNARY[node.op], (("in", 0),))], values[:1])


@lowers(*WITH_PARAMETERS)
def with_parameters(tracer: Tracer, node: Node, values: list) -> Value:
    function, parameters = WITH_PARAMETERS[node.op]
    numbers = tuple(("num", float(node.attr(name, default))) for name, default in parameters)
    return apply(tracer, node, [(function, (("in", 0), *numbers))], values[:1])


@lowers("Gelu")
def gelu(tracer: Tracer, node: Node, values: list) -> Value:
    form = node.attr("approximate", b"none")
    exact = (form.decode() if isinstance(form, bytes) else form) == "none"
    return apply(tracer, node, [("gelu" if exact else "gelutanh", (("in", 0),))], values[:1])


@lowers("Relu")
def relu(tracer: Tracer, node: Node, values: list) -> Value:
    return apply(tracer, node, [("max", (("in", 0), ("num", 0.0)))], values[:1])


@lowers("Clip")
def clip(tracer: Tracer, node: Node, values: list) -> Value:
    bounds = []
    for i, name in ((1, "min"), (2, "max")):
        value = values[i] if len(values) > i and values[i] is not None else node.attr(name)
        if isinstance(value, Planes | Scalars):
            raise unsupported(node, "The bounds of Clip are computed at run time.")
        bounds.append(None if value is None else float(np.asarray(value).ravel()[0]))
    result = values[0]
    for function, bound in zip(("max", "min"), bounds, strict=True):
        if bound is not None:
            result = apply(tracer, node, [(function, (("in", 0), ("num", bound)))], [result])
    return result


@lowers("BatchNormalization")
def batch_normalization(tracer: Tracer, node: Node, values: list) -> Value:
    x, scale, shift, mean, variance = values[:5]
    if not all(isinstance(v, np.ndarray) for v in values[1:5]):
        raise unsupported(node, "A normalization needs constant statistics.")
    gain = scale / np.sqrt(variance + np.float32(node.attr("epsilon", 1e-5)))
    axes = (-1,) + (1,) * (len(x.shape) - 2)
    gain, offset = gain.reshape(axes), (shift - mean * gain.ravel()).reshape(axes)
    return apply(tracer, node, [("mul", (("in", 0), ("in", 1))), ("add", (("tmp", 0), ("in", 2)))], [x, gain, offset])


@lowers("Where")
def where(tracer: Tracer, node: Node, values: list) -> Value:
    condition, yes, no = values
    if not isinstance(condition, Scalars):
        raise unsupported(node, "A condition that is computed from pictures cannot be compiled.")
    if not any(isinstance(v, Planes) for v in (yes, no)):
        parts = [v.array if isinstance(v, Scalars) else np.asarray(v) for v in (yes, no)]
        kind = next((v.kind for v in (yes, no) if isinstance(v, Scalars)), "float" if parts[0].dtype.kind == "f" else "int")
        shaped = np.broadcast_arrays(condition.array, *parts)
        made = np.empty(shaped[0].shape, object)
        for index in np.ndindex(*made.shape):
            made[index] = f"(({shaped[0][index]}) ? {text_of(shaped[1][index], kind)} : {text_of(shaped[2][index], kind)})"
        return Scalars(made, kind)
    planes = next(v for v in (yes, no) if isinstance(v, Planes))
    outer, rank = planes.array.shape, len(planes.shape)
    test = condition.array.reshape((1,) * (rank - condition.array.ndim) + condition.array.shape)
    if planes.space is not None:
        test = test[..., 0, 0]
    if len(test.shape) != len(outer) or condition.array.size != test.size:
        raise unsupported(node, "A condition differs within pictures.", got=f"shape {condition.shape}")
    tests = np.broadcast_to(test, outer)
    axis = channel_axis(planes.array)
    picked = [_picked(tracer, node, v, planes, axis) for v in (yes, no)]
    made_rows = []
    for index in np.ndindex(*[n for i, n in enumerate(outer) if i != axis]):
        texts = set(np.moveaxis(tests, axis, -1)[index])
        if len(texts) != 1:
            raise unsupported(node, "A condition differs from channel to channel.")
        made_rows.append(_selected(tracer, texts.pop(), picked[0][index], picked[1][index], planes.space))
    lead = [n for i, n in enumerate(outer) if i != axis]
    return Planes(np.moveaxis(np.stack(made_rows).reshape(*lead, outer[axis]), -1, axis), planes.space)


def _picked(tracer: Tracer, node: Node, value: Value, like: Planes, axis: int) -> np.ndarray:
    """References of one branch, channels last; a number becomes a fill."""
    if isinstance(value, Planes):
        if value.space != like.space:
            raise unsupported(node, "The branches of Where have different picture sizes.")
        return np.moveaxis(np.broadcast_to(value.array, like.array.shape), axis, -1)
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise unsupported(node, "A branch of Where is a constant that is no single number.")
    plane = tracer.fill(float(value.ravel()[0]), (1, *(like.space or (1, 1)))).planes()[0]
    return np.moveaxis(np.full(like.array.shape, plane), axis, -1)


def _selected(tracer: Tracer, condition: str, yes: np.ndarray, no: np.ndarray, space: tuple[int, int] | None) -> np.ndarray:
    """References (C,) to frames chosen at run time. With a fill in the other branch, the frames stay as they are stored."""
    fill = tracer.of(no[0])
    if isinstance(fill.op, ir.Fill) and len(set(no.tolist())) == 1:
        chosen = {
            number: tracer.select(condition, frame, tracer.fill(fill.op.value, frame.shape))
            for number, frame in tracer.used(yes).items()
        }
        return ir.retarget(yes, chosen)
    return tracer.select(condition, tracer.frame(yes, space), tracer.frame(no, space)).planes()


# -- maps -------------------------------------------------------------------------------------------------------------------


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
    pictures = any(isinstance(v, Planes) and v.space is not None for v in values)
    outer, space = (shape[:-2], (shape[-2], shape[-1])) if pictures else (shape, None)
    arrays = [_aligned(node, v, outer, space) if isinstance(v, Planes) else v for v in values]
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


def _aligned(node: Node, value: Planes, outer: tuple[int, ...], space: tuple[int, int] | None) -> Planes:
    """The value with its axes aligned to the result's from the right."""
    array, own = value.array, value.space
    if space is not None and own is None:
        if array.ndim < 2 or array.shape[-2:] != (1, 1):
            raise unsupported(node, "Vectors meet the height or width of pictures.", got=f"shape {value.shape}")
        array, own = array[..., 0, 0], (1, 1)
    if own not in (None, (1, 1), space):
        raise unsupported(node, "Pictures of different sizes meet.", got=f"{own} and {space}")
    return Planes(array.reshape((1,) * (len(outer) - array.ndim) + array.shape), own)


def _broadcast(value: Value, outer: tuple[int, ...], space: tuple[int, int] | None, axis: int) -> tuple:
    """(kind, array with the channels last, own space)."""
    if isinstance(value, Planes):
        return "planes", np.moveaxis(np.broadcast_to(value.array, outer), axis, -1), value.space
    array = value.array if isinstance(value, Scalars) else np.asarray(value, np.float32)
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
