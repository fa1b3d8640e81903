"""Networks in exact arithmetic: what a quantized model (QDQ) says when nothing is rounded but where it says so.

Runtimes round on the way: onnxruntime adds products of bytes in 16 bits on processors without VNNI and saturates there, float32
decides by its last bit between two steps that a value lies exactly between. This evaluator is what they are held against.

- A sum of products of bytes is an exact integer. Its value is that integer times the scales, in float64, where a value that lies
  exactly between two steps of the result is found to lie there: QuantizeLinear takes the even one of two, then saturates.
- Everything else is float64 too. Only what QuantizeLinear reads straight from a float32 input of the model is divided in float32,
  as ONNX defines it.

Slow (float64 products by BLAS), and without limits on operators: what is not written here is evaluated by onnx's reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx.reference
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper

from everyframe.errors import EngineError
from everyframe.modelfile.padding import same

#: operators that only move values, so that a float32 input stays one
_MOVES = frozenset({
    "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Concat", "Gather", "Expand", "Pad",
})  # fmt: skip
_COLUMNS = 1 << 23  # values that a convolution lays out at once
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class _Levels:
    """A constant that was quantized: integers (as float64) times scale, which already has the integers' number of axes."""

    integers: np.ndarray
    scale: np.ndarray

    @property
    def value(self) -> np.ndarray:
        return self.integers * self.scale


class Exact:
    """A model that is ready to run. Raises EngineError for one that onnx's reference cannot load."""

    def __init__(self, model: onnx.ModelProto, where: object = "model") -> None:
        self._where = where
        self._opsets: Any = {o.domain: o.version for o in model.opset_import}
        self._functions = list(model.functions)
        self._outputs = [value.name for value in model.graph.output]
        self._constants: dict[str, Any] = {t.name: _wide(numpy_helper.to_array(t)) for t in model.graph.initializer}
        self._nodes: list[tuple[onnx.NodeProto, Callable[..., Any]]] = []
        for node in model.graph.node:
            run = self._prepared(node)
            if node.op_type != "If" and all(name in self._constants for name in node.input if name):
                self._constants.update(self._results(node, run, self._constants))
            else:
                self._nodes.append((node, run))

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """{name: value} of `outputs` (default: the model's), any tensors of the graph; floats as float64."""
        names = list(outputs or self._outputs)
        values: dict[str, Any] = {**self._constants, **feeds}
        for node, run in self._nodes:
            values.update(self._results(node, run, values))
        return {name: _plain(values[name]) for name in names}

    def _prepared(self, node: onnx.NodeProto) -> Callable[..., Any]:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in _OPERATORS and len(node.output) == 1:
            return partial(_OPERATORS[node.op_type], attributes)
        if node.op_type == "Cast" and attributes["to"] in _FLOATS:
            return lambda x: x.astype(np.float64)
        try:
            evaluator = onnx.reference.ReferenceEvaluator(node, opsets=self._opsets, functions=self._functions or None)
        except Exception as error:
            raise EngineError("The reference cannot load an operator.", where=self._at(node), got=str(error)) from None
        moves = node.op_type in _MOVES
        names = [name for name in node.input if name]

        def evaluate(*given: Any) -> list[Any]:
            inputs = dict(zip(names, (x for x in given if x is not None), strict=True))
            same = moves and len({x.dtype for x in inputs.values() if x.dtype.kind == "f"}) == 1
            found: Any = evaluator.run(None, inputs if same else {name: _wide(x) for name, x in inputs.items()})
            return [x if same or not isinstance(x, np.ndarray | np.generic) else _wide(np.asarray(x)) for x in found]

        return evaluate

    def _results(self, node: onnx.NodeProto, run: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
        given = [values[name] if name else None for name in node.input]
        if node.op_type not in _ON_LEVELS:
            given = [x.value if isinstance(x, _Levels) else x for x in given]
        try:
            found = run(*given)
        except Exception as error:
            raise EngineError("The reference failed at an operator.", where=self._at(node), got=str(error)) from None
        return dict(zip(node.output, found if isinstance(found, list) else [found], strict=False))

    def _at(self, node: onnx.NodeProto) -> str:
        return f"{self._where}, {node.op_type} {(node.name or node.output[0])!r}"


def _wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if x.dtype.kind == "f" or x.dtype.name == "bfloat16" else x


def _plain(x: Any) -> Any:
    return x.value if isinstance(x, _Levels) else x if isinstance(x, list) else np.asarray(x)


# -- integers ----------------------------------------------------------------------------------------------------------------


def _along(attributes: dict[str, Any], x: np.ndarray, numbers: Any) -> np.ndarray:
    """Scales or zero points as they meet x: one for all, one an index of `axis`, or one a block along it."""
    numbers = np.asarray(numbers)
    if numbers.size == 1:
        return numbers.reshape((1,) * x.ndim)
    axis = int(attributes.get("axis", 1)) % x.ndim
    if numbers.ndim == x.ndim and numbers.ndim > 1:
        return np.repeat(numbers, -(-x.shape[axis] // numbers.shape[axis]), axis).take(range(x.shape[axis]), axis)
    shape = [1] * x.ndim
    shape[axis] = -1
    return numbers.reshape(shape)


def _quantize(attributes: dict[str, Any], x: np.ndarray, scale: Any, zero: Any = None) -> np.ndarray:
    unsaid = helper.tensor_dtype_to_np_dtype(attributes.get("output_dtype") or TensorProto.UINT8)
    kind = unsaid if zero is None else zero.dtype
    info = np.iinfo(kind)
    step = _along(attributes, x, scale)
    steps = np.rint(x / step.astype(np.float32)) if x.dtype == np.float32 else np.rint(x / step)
    offset = 0 if zero is None else _along(attributes, x, zero).astype(np.float64)
    return np.clip(np.nan_to_num(steps.astype(np.float64)) + offset, info.min, info.max).astype(kind)


def _dequantize(attributes: dict[str, Any], x: np.ndarray, scale: Any, zero: Any = None) -> _Levels:
    offset = 0 if zero is None else _along(attributes, x, zero).astype(np.float64)
    return _Levels(x.astype(np.float64) - offset, _along(attributes, x, scale).astype(np.float64))


def _weight(weight: Any, per: int) -> tuple[np.ndarray, np.ndarray | None]:
    """What to multiply with, and the scale of each index of axis `per` to multiply the sums with; None where it is no such
    constant."""
    if not isinstance(weight, _Levels) or any(n != 1 for i, n in enumerate(weight.scale.shape) if i != per):
        return _plain(weight), None
    return weight.integers, weight.scale.ravel()


def _input(x: Any) -> tuple[np.ndarray, float]:
    """The same for what is multiplied with it: one scale for all."""
    if isinstance(x, _Levels) and x.scale.size == 1:
        return x.integers, float(x.scale.ravel()[0])
    return _plain(x).astype(np.float64), 1.0


def _scaled(sums: np.ndarray, step: float, scale: np.ndarray | None, axis: int) -> np.ndarray:
    factor = np.asarray(step if scale is None else step * scale)  # exact: two numbers of 24 bits
    shape = [1] * sums.ndim
    if factor.size > 1:
        shape[axis] = -1
    return sums * factor.reshape(shape)


# -- products ----------------------------------------------------------------------------------------------------------------


def _window(attributes: dict[str, Any], sizes: Sequence[int], kernel: Sequence[int]) -> dict[str, Any]:
    """Strides, dilations, (begin, end) padding of each axis, and output sizes."""
    dims = len(kernel)
    strides, dilations = list(attributes.get("strides") or [1] * dims), list(attributes.get("dilations") or [1] * dims)
    pads = list(attributes.get("pads") or [0] * 2 * dims)
    mode = attributes.get("auto_pad", b"NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if mode == "VALID":
        pads = [0] * 2 * dims
    elif mode != "NOTSET":
        pads = same(mode, sizes, kernel, strides, dilations)
    out = []
    for i, n in enumerate(sizes):
        room = n + pads[i] + pads[i + dims] - reach[i]
        count = room // strides[i] + 1
        if attributes.get("ceil_mode", 0):
            count = -(-room // strides[i]) + 1
            count -= (count - 1) * strides[i] >= n + pads[i]  # the last window may not begin in the padding
        out.append(count)
    return {"strides": strides, "dilations": dilations, "pads": pads, "out": out, "reach": reach}


def _windows(x: np.ndarray, kernel: Sequence[int], form: dict[str, Any], fill: float) -> np.ndarray:
    """(N, C, *out, *kernel): what each window sees."""
    dims = len(kernel)
    ends = [
        max(0, (o - 1) * s + r - n - p)
        for o, s, r, n, p in zip(form["out"], form["strides"], form["reach"], x.shape[2:], form["pads"], strict=False)
    ]
    padded = np.pad(x, [(0, 0), (0, 0), *zip(form["pads"][:dims], ends, strict=True)], constant_values=fill)
    seen = sliding_window_view(padded, form["reach"], tuple(range(2, 2 + dims)))  # type: ignore[call-overload]
    places = tuple(slice(None, (o - 1) * s + 1, s) for o, s in zip(form["out"], form["strides"], strict=True))
    inside = tuple(slice(None, None, d) for d in form["dilations"])
    return seen[(slice(None), slice(None), *places, *inside)]  # type: ignore[no-any-return]


def _conv(attributes: dict[str, Any], x: Any, weight: Any, bias: Any = None) -> np.ndarray:
    (values, step), (kernel, scale) = _input(x), _weight(weight, 0)
    group, size = int(attributes.get("group", 1)), kernel.shape[2:]
    seen = _windows(values, size, _window(attributes, values.shape[2:], size), 0.0)
    batch, places, dims = values.shape[0], seen.shape[2 : 2 + len(size)], len(size)
    if group == values.shape[1] == len(kernel):  # depthwise: a sum of products in place
        taps = kernel.reshape(len(kernel), *[1] * dims, *size)
        return _added(_scaled((seen * taps).sum(tuple(range(-dims, 0))), step, scale, 1), bias, 1)
    sums, kernels = np.empty((batch, len(kernel), *places)), np.split(kernel, group)
    rows_at_once = max(1, _COLUMNS * places[0] // max(1, batch * prod(places) * kernel[0].size))
    for first in range(0, places[0], rows_at_once):
        block = seen[:, :, first : first + rows_at_once]
        done = 0
        for part, rows in zip(np.split(block, group, 1), kernels, strict=True):  # (N, C/g, *out, *k), (K/g, C/g, *k)
            columns = np.moveaxis(part, 1, 1 + dims).reshape(-1, rows[0].size)  # (N * places, C/g * k)
            made = (columns @ rows.reshape(len(rows), -1).T).reshape(batch, *block.shape[2 : 2 + dims], len(rows))
            sums[:, done : done + len(rows), first : first + rows_at_once] = np.moveaxis(made, -1, 1)
            done += len(rows)
    return _added(_scaled(sums, step, scale, 1), bias, 1)


def _added(values: np.ndarray, bias: Any, axis: int) -> np.ndarray:
    if bias is None:
        return values
    shape = [1] * values.ndim
    shape[axis] = -1
    return values + _plain(bias).reshape(shape)


def _matmul(attributes: dict[str, Any], a: Any, b: Any) -> np.ndarray:
    (values, step), (columns, scale) = _input(a), _weight(b, _plain(b).ndim - 1)
    return _scaled(np.matmul(values, columns), step, scale, -1)


def _gemm(attributes: dict[str, Any], a: Any, b: Any, c: Any = None) -> np.ndarray:
    turned = bool(attributes.get("transB", 0))
    (values, step), (matrix, scale) = _input(a), _weight(b, 0 if turned else 1)
    values = values.T if attributes.get("transA", 0) else values
    made = _scaled(values @ (matrix.T if turned else matrix), step, scale, 1) * attributes.get("alpha", 1.0)
    return made if c is None else made + _plain(c) * attributes.get("beta", 1.0)


# -- pools -------------------------------------------------------------------------------------------------------------------


def _max_pool(attributes: dict[str, Any], x: np.ndarray) -> np.ndarray:
    kernel = attributes["kernel_shape"]
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    seen = _windows(x, kernel, _window(attributes, x.shape[2:], kernel), least)
    return seen.max(tuple(range(-len(kernel), 0)))  # type: ignore[no-any-return]


def _average_pool(attributes: dict[str, Any], x: Any) -> np.ndarray:
    kernel = attributes["kernel_shape"]
    (values, step), axes = _input(x), tuple(range(-len(kernel), 0))
    form = _window(attributes, values.shape[2:], kernel)
    sums = _windows(values, kernel, form, 0.0).sum(axes)
    ones = np.ones((1, 1, *values.shape[2:]))
    if attributes.get("count_include_pad", 0):  # what ceil_mode looks at beyond the padding does not count
        dims = len(kernel)
        ones = np.pad(ones, [(0, 0), (0, 0), *zip(form["pads"][:dims], form["pads"][dims:], strict=True)], constant_values=1.0)
        form = {**form, "pads": [0] * 2 * dims}
    return sums / _windows(ones, kernel, form, 0.0).sum(axes) * step  # type: ignore[no-any-return]


def _global_average_pool(attributes: dict[str, Any], x: Any) -> np.ndarray:
    values, step = _input(x)
    axes = tuple(range(2, values.ndim))
    return values.sum(axes, keepdims=True) / prod(values.shape[2:]) * step  # type: ignore[no-any-return]


_OPERATORS: dict[str, Callable[..., Any]] = {
    "QuantizeLinear": _quantize, "DequantizeLinear": _dequantize, "Conv": _conv, "MatMul": _matmul, "Gemm": _gemm,
    "MaxPool": _max_pool, "AveragePool": _average_pool, "GlobalAveragePool": _global_average_pool,
}  # fmt: skip
#: operators that take constants as integers and scales
_ON_LEVELS = frozenset({"Conv", "MatMul", "Gemm", "AveragePool", "GlobalAveragePool"})
