"""Element-wise operators, over frames (one Map each) or over counters (C expressions), and Where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from onnx import TensorProto, helper

from everyframe.modelfile.graph import Node
from everyframe.native import ir
from everyframe.native.broadcast import apply, channel_axis
from everyframe.native.ir import Planes, Scalars, Value
from everyframe.native.lower_structure import constant_planes
from everyframe.native.tracer import Tracer, lowers, unsupported

#: ONNX operator -> function of `maps`, both arguments frames or numbers
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max", "Min": "min", "Pow": "pow", "PRelu": "prelu"}
NARY = {"Sum": "add", "Max": "max", "Min": "min", "Mean": "add"}
UNARY = {
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Abs": "abs", "Neg": "neg", "Sqrt": "sqrt", "Reciprocal": "reciprocal",
    "Log": "log", "Erf": "erf", "HardSwish": "hardswish", "Softplus": "softplus", "Softsign": "softsign", "Mish": "mish",
    "Floor": "floor", "Ceil": "ceil", "Sin": "sin", "Cos": "cos", "Round": "round", "Tan": "tan", "Asin": "asin", "Acos": "acos",
    "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh",
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
_PAIR = (("in", 0), ("in", 1))
#: what makes 0 or 1 of floats: the steps of a map
COMPARED: dict[str, list[ir.Step]] = {
    "Less": [("less", _PAIR)],
    "LessOrEqual": [("lessequal", _PAIR)],
    "Equal": [("equal", _PAIR)],
    "Greater": [("less", _PAIR[::-1])],
    "GreaterOrEqual": [("lessequal", _PAIR[::-1])],
    "And": [("mul", _PAIR)],
    "Or": [("max", _PAIR)],
    "Xor": [("sub", _PAIR), ("mul", (("tmp", 0), ("tmp", 0)))],
    "Not": [("equal", (("in", 0), ("num", 0.0)))],
    "IsNaN": [("equal", (("in", 0), ("in", 0))), ("equal", (("tmp", 0), ("num", 0.0)))],
}


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


@lowers(*COMPARED, kinds="bool int")
def compare(tracer: Tracer, node: Node, values: list) -> Value:
    if any(isinstance(v, Planes) for v in values):
        made = apply(tracer, node, COMPARED[node.op], values)
        made.kind = "bool"
        return made
    if node.op == "Not":
        return negated(values[0])
    if node.op not in SCALAR:
        raise unsupported(node, "This comparison of counters cannot be compiled.")
    return scalar_operation(node, values)


@lowers("IsInf", reads="detect_negative detect_positive")
def infinite(tracer: Tracer, node: Node, values: list) -> Value:
    ends = [end for end, name in ((np.inf, "detect_positive"), (-np.inf, "detect_negative")) if node.attr(name, 1)]
    steps: list[ir.Step] = [("equal", (("in", 0), ("num", end))) for end in ends]
    steps += [("max", (("tmp", 0), ("tmp", 1)))] if len(ends) > 1 else []
    if not ends or not isinstance(values[0], Planes):
        raise unsupported(node, "It looks for nothing, or at counters.")
    made = apply(tracer, node, steps, values)
    made.kind = "bool"
    return made


@lowers("Sign", kinds="int", keeps=True)
def sign(tracer: Tracer, node: Node, values: list) -> Value:
    zero = ("num", 0.0)
    steps: list[ir.Step] = [("less", (zero, ("in", 0))), ("less", (("in", 0), zero)), ("sub", (("tmp", 0), ("tmp", 1)))]
    return apply(tracer, node, steps, _frames(node, values))


@lowers("Mod", reads="fmod", kinds="int", keeps=True)
def modulo(tracer: Tracer, node: Node, values: list) -> Value:
    """With the sign of the first (fmod), or else of the second."""
    steps: list[ir.Step] = [("mod", _PAIR)]
    if not node.attr("fmod", 0):
        steps += [
            ("mul", (("tmp", 0), ("in", 1))), ("less", (("tmp", 1), ("num", 0.0))), ("add", (("tmp", 0), ("in", 1))),
            ("where", (("tmp", 2), ("tmp", 3), ("tmp", 0))),
        ]  # fmt: skip
    return apply(tracer, node, steps, _frames(node, values))


#: whole numbers of ONNX: type -> the range that what is larger is taken into, bits and sign, None for those that hold all
_INTEGERS: dict[int, tuple[int, bool] | None] = {
    TensorProto.UINT8: (8, False), TensorProto.INT8: (8, True), TensorProto.UINT16: (16, False), TensorProto.INT16: (16, True),
    TensorProto.INT32: None, TensorProto.INT64: None, TensorProto.UINT32: None, TensorProto.UINT64: None,
}  # fmt: skip
_KINDS = {
    TensorProto.FLOAT: "float", TensorProto.DOUBLE: "float", TensorProto.FLOAT16: "half", TensorProto.BOOL: "bool",
    **dict.fromkeys(_INTEGERS, "int"),
}  # fmt: skip


@lowers("Cast", reads="to saturate round_mode", kinds="bool int uint8 int8 half")
def cast(tracer: Tracer, node: Node, values: list) -> Value:
    """double is computed in float32; float16 is only stored."""
    to = node.attr("to")
    kind = _KINDS.get(to)
    if kind is None:
        got = TensorProto.DataType.Name(to).lower()
        raise unsupported(node, "What is known only at run time cannot be cast to this type.", got=got)
    x = values[0]
    if isinstance(x, Planes):
        if x.kind == "half" and kind != "half":
            x = _each_frame(tracer, x, tracer.plain, "float")
        x = integers(tracer, node, x)
        if kind == "half" and x.kind != "half":
            return _each_frame(tracer, x, tracer.halved, "half")
        steps: list[ir.Step] = []
        if kind == "int" and x.kind == "float":
            steps = [("trunc", (("in", 0),))]
        elif kind == "bool" and x.kind != "bool":
            steps = [("equal", (("in", 0), ("num", 0.0))), ("equal", (("tmp", 0), ("num", 0.0)))]
        elif kind == "int" and x.kind == "int" and (most := _INTEGERS[to]):
            steps = _wrapped(*most)
        return replace(apply(tracer, node, steps, [x]) if steps else x, kind=kind)
    text = {"float": "(float)({})", "int": "(int64_t)({})", "bool": "(({}) != 0)"}.get(kind)
    if text is None:
        raise unsupported(node, "A number that is known only at run time cannot be rounded to float16.")
    return Scalars(_each(lambda each: text.format(each), x.array), kind)


def _each_frame(tracer: Tracer, x: Planes, make: Callable[[ir.Frame], ir.Frame], kind: str) -> Planes:
    """The same values in frames that are stored in another way."""
    made = {number: make(frame) for number, frame in tracer.used(x.array).items()}
    return replace(x, array=ir.retarget(x.array, made), kind=kind)


def _wrapped(bits: int, signed: bool) -> list[ir.Step]:
    """The lowest bits of a whole number."""
    span, low = 2.0**bits, -(2.0 ** (bits - 1)) if signed else 0.0
    return [
        ("sub", (("in", 0), ("num", low))), ("mul", (("tmp", 0), ("num", 1 / span))), ("floor", (("tmp", 1),)),
        ("mul", (("tmp", 2), ("num", span))), ("sub", (("in", 0), ("tmp", 3))),
    ]  # fmt: skip


def integers(tracer: Tracer, node: Node, x: Planes) -> Planes:
    """Quantized values as the whole numbers that they are stored as; anything else as it is."""
    if x.kind not in ("uint8", "int8"):
        return x
    quant = ir.common_quant(tracer.used(x.array).values())
    if quant is None:
        raise unsupported(node, "Its integers are of several scales, or all alike.")
    zero = float(quant.zero - (128 if x.kind == "int8" else 0))
    steps: list[ir.Step] = [
        ("mul", (("in", 0), ("num", quant.inverse))), ("round", (("tmp", 0),)), ("add", (("tmp", 1), ("num", zero)))
    ]  # fmt: skip
    return replace(apply(tracer, node, steps, [x]), kind="int")


@lowers("CastLike", reads="saturate round_mode", kinds="bool int uint8 int8")
def cast_like(tracer: Tracer, node: Node, values: list) -> Value:
    like = values[1]
    types = {"float": 1, "int": 7, "bool": 9}
    to = int(helper.np_dtype_to_tensor_dtype(like.dtype)) if isinstance(like, np.ndarray) else types[like.kind]
    x = values[0]
    if isinstance(x, np.ndarray):
        return x.astype(helper.tensor_dtype_to_np_dtype(to))
    return cast(tracer, replace(node, attrs={"to": to}), [x])


def _each(function: Callable[[str], str], array: np.ndarray) -> np.ndarray:
    made = np.empty(array.shape, object)
    made.ravel()[:] = [function(x) for x in array.ravel()]
    return made


def _frames(node: Node, values: list) -> list:
    if not any(isinstance(value, Planes) for value in values):
        raise unsupported(node, "This arithmetic on counters cannot be compiled.")
    return values


def negated(value: Scalars) -> Scalars:
    return Scalars(_each(lambda x: f"(!({x}))", value.array), "bool")


@lowers(*BINARY, "Sum", "Mean", kinds="int", keeps=True)
def arithmetic(tracer: Tracer, node: Node, values: list) -> Value:
    if not any(isinstance(v, Planes) for v in values):
        if node.op not in SCALAR:
            raise unsupported(node, "This arithmetic on counters cannot be compiled.")
        return scalar_operation(node, values)
    if len(values) == 1:
        return values[0]
    function = BINARY.get(node.op) or NARY[node.op]
    steps: list[ir.Step] = [(function, (("in", 0), ("in", 1)))]
    if function == "div" and any(isinstance(v, Planes) and v.kind == "int" for v in values):
        steps.append(("trunc", (("tmp", 0),)))
    result = apply(tracer, node, steps, values[:2])
    for more in values[2:]:
        result = apply(tracer, node, [(function, (("in", 0), ("in", 1)))], [result, more])
    if node.op == "Mean":
        result = apply(tracer, node, [("mul", (("in", 0), ("num", 1 / len(values))))], [result])
    return result


@lowers("Abs", "Neg", kinds="int", keeps=True)
@lowers(*(op for op in UNARY if op not in ("Abs", "Neg")))
def unary(tracer: Tracer, node: Node, values: list) -> Value:
    return apply(tracer, node, [(UNARY[node.op], (("in", 0),))], _frames(node, values[:1]))


@lowers(*WITH_PARAMETERS, reads="alpha beta gamma")
def with_parameters(tracer: Tracer, node: Node, values: list) -> Value:
    function, parameters = WITH_PARAMETERS[node.op]
    numbers = tuple(("num", float(node.attr(name, default))) for name, default in parameters)
    return apply(tracer, node, [(function, (("in", 0), *numbers))], _frames(node, values[:1]))


@lowers("Gelu", reads="approximate")
def gelu(tracer: Tracer, node: Node, values: list) -> Value:
    form = node.attr("approximate", b"none")
    exact = (form.decode() if isinstance(form, bytes) else form) == "none"
    return apply(tracer, node, [("gelu" if exact else "gelutanh", (("in", 0),))], _frames(node, values[:1]))


@lowers("Relu", kinds="int", keeps=True)
def relu(tracer: Tracer, node: Node, values: list) -> Value:
    return apply(tracer, node, [("max", (("in", 0), ("num", 0.0)))], _frames(node, values[:1]))


@lowers("Clip", reads="max min", kinds="int", keeps=True)
def clip(tracer: Tracer, node: Node, values: list) -> Value:
    result = _frames(node, values[:1])[0]
    for i, name, function in ((1, "min", "max"), (2, "max", "min")):
        bound = values[i] if len(values) > i and values[i] is not None else node.attr(name)
        if isinstance(bound, Planes | Scalars):
            result = apply(tracer, node, [(function, _PAIR)], [result, bound])
        elif bound is not None:
            result = apply(tracer, node, [(function, (("in", 0), ("num", float(np.asarray(bound).ravel()[0]))))], [result])
    return result


@lowers("BatchNormalization", reads="epsilon momentum")  # momentum: of training only
def batch_normalization(tracer: Tracer, node: Node, values: list) -> Value:
    x, scale, shift, mean, variance = values[:5]
    if not all(isinstance(v, np.ndarray) for v in values[1:5]):
        raise unsupported(node, "A normalization needs constant statistics.")
    gain = scale / np.sqrt(variance + np.float32(node.attr("epsilon", 1e-5)))
    axes = (-1,) + (1,) * (len(x.shape) - 2)
    gain, offset = gain.reshape(axes), (shift - mean * gain.ravel()).reshape(axes)
    return apply(tracer, node, [("mul", (("in", 0), ("in", 1))), ("add", (("tmp", 0), ("in", 2)))], [x, gain, offset])


@lowers("Where", kinds="bool int")
def where(tracer: Tracer, node: Node, values: list) -> Value:
    condition, yes, no = values
    kinds = {_kind(value) for value in (yes, no)}
    if any(isinstance(v, Planes) for v in values) and len(kinds) > 1:
        raise unsupported(node, "The branches of Where have different types.", got=" and ".join(sorted(kinds)))
    if not isinstance(condition, Scalars):
        if any(isinstance(v, Scalars) for v in values):
            raise unsupported(node, "A condition on pictures chooses between counters.")
        chosen = apply(tracer, node, [("where", (("in", 0), ("in", 1), ("in", 2)))], values)
        return replace(chosen, kind=kinds.pop())
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


def _kind(value: Value) -> str:
    return {"b": "bool", "f": "float"}.get(value.dtype.kind, "int") if isinstance(value, np.ndarray) else value.kind


def _picked(tracer: Tracer, node: Node, value: Value, like: Planes, axis: int) -> np.ndarray:
    """References of one branch, channels last; a number becomes a fill, other constants (what a cell makes of its first state)
    frames."""
    if isinstance(value, Planes):
        if value.space != like.space:
            raise unsupported(node, "The branches of Where have different picture sizes.")
        return np.moveaxis(np.broadcast_to(value.array, like.array.shape), axis, -1)
    if not isinstance(value, np.ndarray):
        raise unsupported(node, "A branch of Where is a counter.")
    if value.size > 1:
        frames = constant_planes(tracer, np.broadcast_to(value, like.shape), like.space is not None)
        return np.moveaxis(frames.array, axis, -1)
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
