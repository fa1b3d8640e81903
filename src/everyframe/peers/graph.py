"""An ONNX network in torch, node by node: for eager torch, its compiler, and continual-inference, with the file's weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import Tensor, nn

from everyframe.errors import EngineError

Attributes = dict[str, Any]
#: a node's attributes and its constant inputs (None where an input is computed) -> what computes it from the others
Maker = Callable[[Attributes, list[np.ndarray | None]], Callable[..., Tensor]]


class Node:
    """inputs: names of what it is given when it runs. weights: constants among them."""

    def __init__(self, node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> None:
        self.kind, self.outputs = node.op_type, list(node.output)
        self.attributes: Attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        self.constants = [constants.get(name) for name in node.input]
        self.names = list(node.input)

    def is_setting(self, place: int) -> bool:
        """Is this input an argument of the operator, such as axes, and no tensor to compute with?"""
        return place > 0 and self.kind in SETTINGS


def nodes(model: onnx.ModelProto) -> list[Node]:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return [Node(node, constants) for node in model.graph.node if node.op_type != "Constant"]


class Network(nn.Module):
    """clip (1, C, T, H, W) -> logits (1, classes). Raises EngineError for an operator that is not in `MAKERS`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self._input, self._output = model.graph.input[0].name, model.graph.output[0].name
        self._steps: list[tuple[Callable[..., Any], list[str], list[str]]] = []
        self._weights: dict[str, str] = {}
        for node in nodes(model):
            tensors = [i for i, name in enumerate(node.names) if name and not node.is_setting(i)]
            for i in tensors:
                value = node.constants[i]
                if value is not None and node.names[i] not in self._weights:
                    self._weights[node.names[i]] = name = f"weight{len(self._weights)}"
                    self.register_buffer(name, torch.from_numpy(value.copy()))
            self._steps.append((made(node), [node.names[i] for i in tensors], node.outputs))

    def forward(self, clip: Tensor) -> Tensor:
        values = {self._input: clip, **{name: getattr(self, kept) for name, kept in self._weights.items()}}
        for run, inputs, outputs in self._steps:
            found = run(*[values[name] for name in inputs])
            values.update(zip(outputs, found if isinstance(found, tuple) else (found,), strict=False))
        return values[self._output]


def made(node: Node) -> Callable[..., Any]:
    if node.kind not in MAKERS:
        raise EngineError("This operator has no counterpart in torch here.", got=node.kind)
    return MAKERS[node.kind](node.attributes, node.constants)


def pads(attributes: Attributes, rank: int) -> tuple[list[int], list[int]]:
    """(as torch's layers take them, what else is to be put around before: pairs from the last axis on)."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or attributes.get("ceil_mode", 0):
        raise EngineError("Only explicit padding has a counterpart in torch here.", got=attributes)
    begin, end = np.split(np.array(attributes.get("pads", [0] * 2 * rank)), 2)
    if (begin == end).all():
        return begin.tolist(), []
    return [0] * rank, np.stack([begin, end], 1)[::-1].ravel().tolist()


def _conv(attributes: Attributes, constants: list[np.ndarray | None]) -> Callable[..., Tensor]:
    weight = constants[1]
    if weight is None:
        raise EngineError("A convolution whose weights are computed has no counterpart here.")
    rank = weight.ndim - 2
    padding, around = pads(attributes, rank)
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    given = {
        "stride": attributes.get("strides", 1), "dilation": attributes.get("dilations", 1), "padding": padding,
        "groups": attributes.get("group", 1),
    }  # fmt: skip
    if not around:
        return lambda x, w, b=None: function(x, w, b, **given)
    return lambda x, w, b=None: function(F.pad(x, around), w, b, **given)


def _pool(greatest: bool) -> Maker:
    def make(attributes: Attributes, _: list[np.ndarray | None]) -> Callable[..., Tensor]:
        kernel = attributes["kernel_shape"]
        padding, around = pads(attributes, len(kernel))
        given: dict[str, Any] = {"stride": attributes.get("strides", 1)}
        if greatest:
            pool: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
            if around:
                return lambda x: pool(F.pad(x, around, value=float("-inf")), kernel, **given)
        else:
            pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
            given["count_include_pad"] = bool(attributes.get("count_include_pad", 0))
            if around:
                raise EngineError("An average pool with uneven padding has no counterpart here.")
        return lambda x: pool(x, kernel, padding=padding, **given)

    return make


def _reduced(attributes: Attributes, constants: list[np.ndarray | None]) -> Callable[..., Tensor]:
    axes = _setting(constants, 1, attributes.get("axes"))
    return lambda x: x.mean(axes if axes is not None else list(range(x.ndim)), keepdim=bool(attributes.get("keepdims", 1)))


def _reshaped(_: Attributes, constants: list[np.ndarray | None]) -> Callable[..., Tensor]:
    shape = _setting(constants, 1)
    if shape is None:
        raise EngineError("A shape that is computed has no counterpart here.")
    return lambda x: x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _sliced(attributes: Attributes, constants: list[np.ndarray | None]) -> Callable[..., Tensor]:
    starts, ends, axes, steps = (_setting(constants, i, attributes.get(name)) for i, name in _SLICE)
    if starts is None or ends is None or any(step != 1 for step in steps or ()):
        raise EngineError("This slice has no counterpart here.", got=f"{starts}, {ends}, steps {steps}")
    parts = list(zip(axes or range(len(starts)), starts, ends, strict=True))

    def run(x: Tensor) -> Tensor:
        for axis, start, end in parts:
            first, last, _ = slice(start, end).indices(x.shape[axis])
            x = x.narrow(axis, first, max(0, last - first))
        return x

    return run


def _padded(attributes: Attributes, constants: list[np.ndarray | None]) -> Callable[..., Tensor]:
    begin, end = np.split(np.array(_setting(constants, 1, attributes.get("pads"))), 2)
    if attributes.get("mode", b"constant") != b"constant" or len(constants) > 3 or (len(constants) > 2 and np.any(constants[2])):
        raise EngineError("Only zeros are put around here.")
    around = np.stack([begin, end], 1)[::-1].ravel().tolist()
    return lambda x: F.pad(x, around)


def _clipped(attributes: Attributes, constants: list[np.ndarray | None]) -> Callable[..., Tensor]:
    low, high = ((float(c) if c is not None else None) for c in (*constants[1:], None, None)[:2])
    return lambda x: x.clamp(attributes.get("min", low), attributes.get("max", high))


def _gemm(attributes: Attributes, _: list[np.ndarray | None]) -> Callable[..., Tensor]:
    if attributes.get("alpha", 1) != 1 or attributes.get("beta", 1) != 1 or attributes.get("transA", 0):
        raise EngineError("This matrix product has no counterpart here.", got=attributes)
    return lambda x, w, b=None: F.linear(x, w if attributes.get("transB", 0) else w.t(), b)


def _split(attributes: Attributes, constants: list[np.ndarray | None]) -> Callable[..., Any]:
    sizes = _setting(constants, 1, attributes.get("split"))
    axis, count = attributes.get("axis", 0), attributes.get("num_outputs")
    return lambda x: tuple(x.split(sizes if sizes else -(-x.shape[axis] // count), axis))


def _squeezed(attributes: Attributes, constants: list[np.ndarray | None]) -> Callable[..., Tensor]:
    axes = _setting(constants, 1, attributes.get("axes"))
    return lambda x: x.squeeze(tuple(axes)) if axes else x.squeeze()


def _unsqueezed(attributes: Attributes, constants: list[np.ndarray | None]) -> Callable[..., Tensor]:
    axes = _setting(constants, 1, attributes.get("axes")) or []

    def run(x: Tensor) -> Tensor:
        for axis in sorted(axes):
            x = x.unsqueeze(axis)
        return x

    return run


def _normed(attributes: Attributes, _: list[np.ndarray | None]) -> Callable[..., Tensor]:
    return lambda x, w, b, mean, var: F.batch_norm(x, mean, var, w, b, eps=attributes.get("epsilon", 1e-5))


def _plain(function: Callable[..., Any]) -> Maker:
    return lambda _attributes, _constants: function


def _setting(constants: list[np.ndarray | None], place: int, otherwise: Any = None) -> list[int] | None:
    """An argument that newer opsets give as an input, older ones as an attribute."""
    value = constants[place] if place < len(constants) else None
    return [int(each) for each in value.ravel()] if value is not None else otherwise


_SLICE = ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps"))
#: operators whose further inputs are arguments
SETTINGS = ("ReduceMean", "Reshape", "Slice", "Pad", "Clip", "Split", "Squeeze", "Unsqueeze")
MAKERS: dict[str, Maker] = {
    "Conv": _conv, "MaxPool": _pool(True), "AveragePool": _pool(False), "ReduceMean": _reduced, "Reshape": _reshaped,
    "Slice": _sliced, "Pad": _padded, "Clip": _clipped, "Gemm": _gemm, "Split": _split, "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed, "BatchNormalization": _normed,
    "GlobalAveragePool": _plain(lambda x: x.mean(list(range(2, x.ndim)), keepdim=True)),
    "Transpose": lambda attributes, _: lambda x: x.permute(attributes["perm"]),
    "Concat": lambda attributes, _: lambda *parts: torch.cat(parts, attributes["axis"]),
    "Flatten": lambda attributes, _: lambda x: x.flatten(attributes.get("axis", 1)),
    "Softmax": lambda attributes, _: lambda x: x.softmax(attributes.get("axis", -1)),
    "LeakyRelu": lambda attributes, _: lambda x: F.leaky_relu(x, attributes.get("alpha", 0.01)),
    "HardSigmoid": lambda attributes, _: lambda x: (x * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)).clamp(0, 1),
    "Relu": _plain(F.relu), "Sigmoid": _plain(torch.sigmoid), "HardSwish": _plain(F.hardswish), "Identity": _plain(lambda x: x),
    "Add": _plain(torch.add), "Sub": _plain(torch.sub), "Mul": _plain(torch.mul), "Div": _plain(torch.div),
    "MatMul": _plain(torch.matmul), "Tanh": _plain(torch.tanh), "Dropout": _plain(lambda x, *_: x),
}  # fmt: skip
