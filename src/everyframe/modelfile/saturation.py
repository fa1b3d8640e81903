"""Sums of products of bytes that are cut off at 16 bits: in which layers of a quantized model that can happen, and whether
this processor does it.

x86 processors without VNNI multiply unsigned bytes with signed ones and add two neighboring products in one instruction,
vpmaddubsw, whose 16 bits hold 255 * (w1 + w2) only where the sum of the two weights is at most 128. Which weights are neighbors
is up to an engine's layout, so any two of one sign that one output adds count. What engines do with products of the largest
bytes was measured as a Haswell (AVX2; onnxruntime 1.31, OpenVINO 2026.4):

    operator                  activations x weights   onnxruntime   OpenVINO
    Conv, Gemm, MatMul        any 8 bits x int8       saturates     saturates   (QDQ; signed activations are shifted to unsigned)
    ConvTranspose             any 8 bits x int8       float         saturates
    the same                  any x uint8             exact         float
    QLinearConv, -MatMul      uint8 x int8            saturates     saturates
                              int8 x int8             exact         saturates
    MatMulInteger             uint8 x int8            saturates     float
    ConvInteger               int8 x uint8            saturates     float       (the weights come first there)

All others are exact, and so are depthwise convolutions (one channel in, one out), which both multiply in 32 bits. Assumed is
that activations reach 255, that a layer which an engine may leave in float (onnxruntime's Conv whose result is not
quantized) is not left, and that onnxruntime's fused operators of its own domain do what their parts do. Activations and
weights of 16 bits or 4 do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe.modelfile import ort

#: the largest sum of two weights that 16 bits hold next to an unsigned byte: 255 * 128 < 2**15
PAIR = 128
#: the same for unsigned weights next to a signed byte: 128 * 256 = 2**15, whose negative 16 bits hold
UNSIGNED_PAIR = 256

ORT, OPENVINO = "ort", "openvino"
NAMES: Mapping[str, str] = MappingProxyType({ORT: "onnxruntime", OPENVINO: "OpenVINO"})

#: operators that leave bytes what they are, so that engines look through them for a DequantizeLinear
_MOVES = frozenset({
    "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Concat", "Gather", "Expand", "Pad",
    "MaxPool", "Relu", "Clip", "Dropout", "Tile", "DepthToSpace", "SpaceToDepth",
})  # fmt: skip
_BYTES: Mapping[str, str] = MappingProxyType({"int8": "s", "uint8": "u"})
_BOTH = (ORT, OPENVINO)


@dataclass(frozen=True, slots=True)
class _Form:
    """x, w: places of the activations and the weights among a node's inputs; x_zero, w_zero: of their zero points, None for QDQ,
    where a DequantizeLinear says it. engines: (activations, weights), each u(nsigned) or s(igned) -> those that saturate.
    """

    engines: Mapping[tuple[str, str], tuple[str, ...]]
    w: int = 1
    x_zero: int | None = None
    w_zero: int | None = None


_QDQ = {("u", "s"): _BOTH, ("s", "s"): _BOTH}
_QLINEAR = {("u", "s"): _BOTH, ("s", "s"): (OPENVINO,)}
_FORMS: Mapping[str, _Form] = MappingProxyType({
    "Conv": _Form(_QDQ), "Gemm": _Form(_QDQ), "MatMul": _Form(_QDQ),
    "ConvTranspose": _Form({("u", "s"): (OPENVINO,), ("s", "s"): (OPENVINO,)}),
    "QLinearConv": _Form(_QLINEAR, 3, 2, 5), "QLinearMatMul": _Form(_QLINEAR, 3, 2, 5), "QGemm": _Form(_QLINEAR, 3, 2, 5),
    "MatMulInteger": _Form({("u", "s"): (ORT,)}, 1, 2, 3), "MatMulIntegerToFloat": _Form({("u", "s"): (ORT,)}, 1, 4, 5),
    "ConvInteger": _Form({("s", "u"): (ORT,)}, 1, 2, 3),
})  # fmt: skip

#: operators that multiply bytes by definition, not as a way to compute what is written in floats (QDQ)
INTEGER = frozenset(op for op, form in _FORMS.items() if form.x_zero is not None)


@dataclass(frozen=True, slots=True)
class SaturatingLayer:
    """A layer that can saturate. engines: those that let it. pair: the largest sum of two of its weights, None where they are
    computed.
    """

    name: str
    op: str
    engines: tuple[str, ...]
    pair: int | None


def layers(model: onnx.ModelProto, engine: str | None = None) -> list[SaturatingLayer]:
    """Those of a quantized model that can saturate, on a given engine or on any; none of a float model."""
    graph = _Graph(model)
    found = (graph.layer(node) for node in model.graph.node if node.op_type in _FORMS)
    return [layer for layer in found if layer is not None and (engine is None or engine in layer.engines)]


def quantized(model: onnx.ModelProto) -> bool:
    """It holds numbers of 8 bits that something is multiplied with."""
    return any(node.op_type == "DequantizeLinear" or node.op_type in INTEGER for node in model.graph.node)


def pairs(rows: np.ndarray) -> np.ndarray:
    """The largest sum of two of one sign in each row."""
    if rows.shape[1] < 2:
        return np.abs(rows).sum(1)
    sides = (np.partition(np.maximum(sign * rows, 0), -2, axis=1)[:, -2:].sum(1) for sign in (1, -1))
    return np.maximum(*sides)  # type: ignore[no-any-return]


def pair(integers: np.ndarray, axis: int | None) -> int:
    """The same for the weights of each index of `axis`, or for all of them: the largest there is."""
    wide = integers.astype(np.int32)
    rows = wide.reshape(1, -1) if axis is None else np.moveaxis(wide, axis, 0).reshape(wide.shape[axis], -1)
    return int(pairs(rows).max(initial=0)) if rows.size else 0


def depthwise(node: onnx.NodeProto, weight: np.ndarray) -> bool:
    """A convolution with one channel in and one out in each group."""
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    return "Conv" in node.op_type and weight.shape[1] == 1 and weight.shape[0] == groups


def output_axis(op: str, rank: int, transposed: bool) -> int | None:
    """The axis of a weight along which each index belongs to other outputs; None where there is none."""
    if "Conv" in op:
        return 1 if op == "ConvTranspose" else 0
    if rank < 2:
        return None
    return 0 if transposed else rank - 1


# -- this processor -------------------------------------------------------------------------------------------------


@cache
def here() -> bool:
    """Does this processor saturate? Unknown counts as yes.

    onnxruntime is asked: it multiplies the largest bytes. It knows every system and instruction set that it has kernels for,
    where /proc/cpuinfo is Linux's alone and speaks of the host under an emulator, and numpy does not know AVX-VNNI. OpenVINO
    chooses by the same instructions.
    """
    size = 16
    weights = numpy_helper.from_array(np.full((size, size), 127, np.int8), "w")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "largest",
        [info("x", TensorProto.UINT8, [size, size])], [info("y", TensorProto.INT32, [size, size])], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    try:
        (found,) = ort.create(model, threads=1).run(None, {"x": np.full((size, size), 255, np.uint8)})
    except Exception:  # onnxruntime raises many private types; one that cannot say what it does is not trusted
        return True
    return bool(np.any(np.asarray(found) != size * 255 * 127))


#: how an engine avoids it, in words
AS_UNSIGNED = "weights as uint8, since int8 would saturate on this processor (x86 without VNNI)"
AS_FLOATS = "in float32, since integers would saturate on this processor (x86 without VNNI)"


def hits(model: onnx.ModelProto, engine: str | None = None) -> list[SaturatingLayer]:
    """The layers that do saturate on this processor."""
    return layers(model, engine) if quantized(model) and here() else []


def warning(found: list[SaturatingLayer], engine: str) -> str:
    """One line about layers that saturate here, for who runs the model on `engine`."""
    names = [layer.name for layer in found]
    some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return (
        f"{NAMES[engine]} cuts off sums of products at 16 bits on this processor (x86 without VNNI): {len(names)} "
        f"layer{'s' * (len(names) != 1)} ({some}) may answer otherwise than elsewhere; --engine native computes them exactly, "
        "and a file made by `everyframe quantize --overflow-fix all` is right on every engine"
    )


# -- reading a graph -----------------------------------------------------------------------------------------------------


class _Graph:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._made = {name: node for node in model.graph.node for name in node.output}
        self._inputs = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}

    @cached_property
    def _constants(self) -> dict[str, onnx.TensorProto]:
        found = {tensor.name: tensor for tensor in self._model.graph.initializer}
        for node in self._model.graph.node:
            if node.op_type == "Constant":
                found.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
        return found

    def layer(self, node: onnx.NodeProto) -> SaturatingLayer | None:
        form = _FORMS[node.op_type]
        if len(node.input) <= form.w:
            return None
        integers: np.ndarray | None
        if form.x_zero is None and form.w_zero is None:
            x, w = self._dequantized(node.input[0]), self._dequantized(node.input[form.w])
            if x is None or w is None:
                return None
            x_kind, (w_kind, integers, moved) = x[0], w
        else:
            x_kind = self._kind(node.input[0], _at(node, form.x_zero))
            w_kind = self._kind(node.input[form.w], _at(node, form.w_zero))
            tensor, moved = self._constants.get(node.input[form.w]), False
            integers = None if tensor is None else numpy_helper.to_array(tensor)
        if x_kind not in _BYTES or w_kind not in _BYTES:
            return None
        engines = form.engines.get((_BYTES[x_kind], _BYTES[w_kind]), ())
        if not engines or (integers is not None and not moved and depthwise(node, integers)):
            return None
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        axis = None if integers is None or moved else output_axis(node.op_type, integers.ndim, turned)
        largest = None if integers is None else pair(integers, axis)
        if largest is not None and largest <= (PAIR if w_kind == "int8" else UNSIGNED_PAIR):
            return None
        return SaturatingLayer(node.name or node.output[0], node.op_type, engines, largest)

    def _dequantized(self, name: str) -> tuple[str, np.ndarray | None, bool] | None:
        """(kind of the integers, themselves where they are constant, were they moved since) of what a DequantizeLinear gives."""
        moved = False
        while (node := self._made.get(name)) is not None and node.op_type in _MOVES:
            name, moved = node.input[0], moved or node.op_type != "Identity"
        if node is None or node.op_type != "DequantizeLinear":
            return None
        kind = self._kind(node.input[0], _at(node, 2))
        tensor, before = self._constants.get(node.input[0]), self._made.get(node.input[0])
        if tensor is not None:
            return kind, numpy_helper.to_array(tensor), moved
        if before is not None and before.op_type == "QuantizeLinear" and before.input[0] in self._constants:
            return kind, self._quantized(before, kind), moved  # weights that stay float in the file
        return kind, None, moved

    def _quantized(self, node: onnx.NodeProto, kind: str) -> np.ndarray | None:
        numbers = [self._constants.get(name) for name in node.input[:3]]
        if kind not in _BYTES or any(tensor is None for tensor in numbers):
            return None
        x, *rest = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in numbers if tensor is not None)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [1] * x.ndim
        if rest[0].size > 1:
            shape[axis] = -1
        scale, zero = (part.reshape(shape if part.size > 1 else [1] * x.ndim) for part in (*rest, np.zeros(1))[:2])
        limits = np.iinfo(kind)
        return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(kind)

    def _kind(self, name: str, zero: str) -> str:
        """Of integers with a zero point: int8, uint8, or whatever else; what nothing says is uint8, as ONNX has it."""
        for each in (zero, name):
            if each in self._constants:
                return helper.tensor_dtype_to_np_dtype(self._constants[each].data_type).name
        node = self._made.get(name)
        while node is not None and node.op_type in _MOVES:
            name = node.input[0]
            node = self._made.get(name)
        if node is not None and node.op_type == "QuantizeLinear":
            kind = next((a.i for a in node.attribute if a.name == "output_dtype" and a.i), TensorProto.UINT8)
            return self._kind(_at(node, 2), "") if _at(node, 2) else helper.tensor_dtype_to_np_dtype(kind).name
        if name in self._inputs:
            return helper.tensor_dtype_to_np_dtype(self._inputs[name]).name
        return "uint8"


def _at(node: onnx.NodeProto, place: int | None) -> str:
    return node.input[place] if place is not None and place < len(node.input) else ""
