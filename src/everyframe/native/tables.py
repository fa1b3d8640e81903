"""Functions of one byte as tables of 256 bytes: whatever the function, each result is the nearest step to its exact value."""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any

import numpy as np

from everyframe.native.ir import Graph, Map

_ERF = np.vectorize(erf, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> Any:
    return 1 / (1 + np.exp(-x))


def _softplus(x: np.ndarray) -> Any:
    return np.logaddexp(0, x)


def _elu(x: np.ndarray, a: float) -> Any:
    return np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x)


def _hard_sigmoid(x: np.ndarray, a: float, b: float) -> Any:
    return np.clip(a * x + b, 0, 1)


#: function of `maps` -> the same in float64
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power, "keep": lambda x: x,
    "max": np.maximum, "min": np.minimum, "abs": np.abs, "neg": np.negative, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "reciprocal": np.reciprocal, "erf": _ERF, "floor": np.floor, "ceil": np.ceil, "round": np.rint, "sin": np.sin, "cos": np.cos,
    "sigmoid": _sigmoid, "tanh": np.tanh, "silu": lambda x: x * _sigmoid(x), "swish": lambda x, a: x * _sigmoid(a * x),
    "relu6": lambda x: np.clip(x, 0, 6), "hardsigmoid": _hard_sigmoid, "hardswish": lambda x: x * _hard_sigmoid(x, 1 / 6, 0.5),
    "softplus": _softplus, "softsign": lambda x: x / (1 + np.abs(x)), "mish": lambda x: x * np.tanh(_softplus(x)),
    "gelu": lambda x: 0.5 * x * (1 + _ERF(x / np.sqrt(2))),
    "gelutanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "prelu": lambda x, a: np.where(x < 0, a * x, x), "leakyrelu": lambda x, a: np.where(x < 0, a * x, x), "elu": _elu,
    "celu": lambda x, a: np.where(x < 0, a * np.expm1(np.minimum(x, 0) / a), x), "selu": lambda x, a, g: g * _elu(x, a),
    "thresholdedrelu": lambda x, a: np.where(x > a, x, 0),
    "less": lambda x, y: np.where(x < y, 1.0, 0.0), "lessequal": lambda x, y: np.where(x <= y, 1.0, 0.0),
    "equal": lambda x, y: np.where(x == y, 1.0, 0.0), "where": lambda c, x, y: np.where(c != 0, x, y), "mod": np.fmod,
    "trunc": np.trunc, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
}  # fmt: skip


#: not worth a table of their own: what makes their operand does them on the way
_CHEAP = frozenset({"add", "sub", "mul", "keep", "max", "min", "abs", "neg", "grid"})


def dear_function_of_a_byte(graph: Graph, op: Map) -> bool:
    """Is it a function of one byte and not a cheap one?"""
    return _of_one_byte(graph, op) and any(function not in _CHEAP for function, _ in op.steps)


def _of_one_byte(graph: Graph, op: Map) -> bool:
    if len(op.inputs) != 1 or op.inputs[0].quant is None or op.inputs[0].shape != graph.out(op).shape:
        return False
    kinds = {operand[0] for _, operands in op.steps for operand in operands}
    return kinds <= {"in", "tmp", "num", "par"} and all(f == "grid" or f in _FUNCTIONS for f, _ in op.steps)


def table_of(graph: Graph, op: Map) -> np.ndarray | None:
    """The results of all bytes; None if the operator is no function of one byte whose result is one."""
    out, given = graph.out(op), next((frame.quant for frame in op.inputs), None)
    if given is None or out.quant is None or not _of_one_byte(graph, op):
        return None
    values: list[np.ndarray] = []
    byte = (np.arange(256) - given.zero) * np.float64(given.scale)
    with np.errstate(all="ignore"):
        for function, operands in op.steps:
            read = [{"in": lambda _: byte, "tmp": lambda n: values[n]}.get(kind, np.float64)(value) for kind, value in operands]
            if function == "grid":
                x, scale, _, zero = read
                values.append(np.clip(np.rint(x / scale), -zero, 255 - zero) * scale)
            else:
                values.append(np.asarray(_FUNCTIONS[function](*read)))
        steps = np.clip(np.rint(values[-1] / np.float64(out.quant.scale)) + out.quant.zero, 0, 255)
    return np.nan_to_num(steps).astype(np.uint8)
