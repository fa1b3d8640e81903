"""Layers as graphs whose time is measured: hundreds of one search, so they are written down and not exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe.nas.task import Part
from everyframe.pruning.pattern import Pattern
from everyframe.recipes.pruning import usual_group

OPSET = 18
#: operators and their attributes; the second kind are multiplied with what they are given
ACTIVATIONS = {"relu": ("Relu", {}), "leaky_relu": ("LeakyRelu", {"alpha": 0.1})}
GATES = {"silu": ("Sigmoid", {}), "hard_swish": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5})}


@dataclass(frozen=True)
class Layer:
    """kind: `conv`, a block, a way up, of which kernel is how many times larger, `time`, of which it is the taps of a step over
    what it remembers, or `whole`, a convolution over all that is left of a map. given, made: channels.
    """

    kind: str
    given: int
    made: int
    kernel: int
    stride: int = 1
    activation: str = ""
    scheme: str = "none"
    rate: float = 0.0

    def active_at(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of the map that its activation is computed on. size: of what it is given."""
        return size if self.kind == "nearest" else self.answers(size)

    def answers(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of its map."""
        larger = self.kernel if self.kind in ("transposed", "nearest") else 1
        return (1, 1) if self.kind == "whole" else (-(-size[0] // self.stride) * larger, -(-size[1] // self.stride) * larger)

    def __str__(self) -> str:
        pruned = "" if self.scheme == "none" else f" {self.scheme} {self.rate:g}"
        step = f" stride {self.stride}" if self.stride > 1 else ""
        return f"{self.kind}{self.kernel} {self.given}-{self.made}{step} {self.activation or 'linear'}{pruned}"


class _Graph:
    """Nodes one behind another; weights are random."""

    def __init__(self, value: str, size: tuple[int, int]) -> None:
        self.size = size
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.value, self.rng = value, np.random.default_rng(0)

    def node(self, op: str, *others: str, **attributes: Any) -> str:
        made = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.value, *others], [made], **attributes))
        self.value = made
        return made

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def random(self, *shape: int, scheme: str = "none", rate: float = 0.0) -> str:
        weight = self.rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        if rate:
            pattern = Pattern(scheme, usual_group(scheme))  # type: ignore[arg-type]
            if pattern.fits(shape):
                weight *= pattern.spread(pattern.keep(pattern.scores(weight), rate), shape)
        return self.constant(weight)

    def conv(self, layer: Layer, given: int, kernel: int, groups: int = 1) -> None:
        weight = self.random(layer.made, given // groups, kernel, kernel, scheme=layer.scheme, rate=layer.rate)
        self.node(
            "Conv", weight, self.constant(np.zeros(layer.made, np.float32)), kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4,
            strides=[layer.stride] * 2, group=groups,
        )  # fmt: skip
        self.active(layer.activation)

    def active(self, name: str) -> None:
        before = self.value
        if name:
            op, attributes = {**ACTIVATIONS, **GATES}[name]
            self.node(op, **attributes)
        if name in GATES:
            self.node("Mul", before)

    def model(self, given: tuple[str, Sequence[int]], answer: Sequence[int]) -> onnx.ModelProto:
        graph = helper.make_graph(
            [*self.nodes, helper.make_node("Identity", [self.value], ["logits"])], "layers",
            [helper.make_tensor_value_info(given[0], TensorProto.FLOAT, given[1])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, answer)], self.weights,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _residual(graph: _Graph, layer: Layer) -> None:
    before = graph.value
    graph.conv(layer, layer.given, layer.kernel)
    graph.node("Add", before)


def _time(graph: _Graph, layer: Layer) -> None:
    before = graph.value
    graph.nodes.append(helper.make_node("Concat", [before] * layer.kernel, [f"v{len(graph.nodes)}"], axis=1))
    graph.value = f"v{len(graph.nodes) - 1}"
    graph.conv(layer, layer.given * layer.kernel, 1)
    graph.node("Add", before)


def _whole(graph: _Graph, layer: Layer) -> None:
    weight, bias = graph.random(layer.made, layer.given, *graph.size), graph.constant(np.zeros(layer.made, np.float32))
    graph.node("Conv", weight, bias, kernel_shape=[*graph.size])
    graph.active(layer.activation)


def _separable(graph: _Graph, layer: Layer) -> None:
    graph.conv(layer, layer.given, layer.kernel, layer.given)
    graph.conv(layer, layer.given, 1)


def _transposed(graph: _Graph, layer: Layer) -> None:
    times = layer.kernel
    weight, bias = graph.random(layer.given, layer.made, times, times), graph.constant(np.zeros(layer.made, np.float32))
    graph.node("ConvTranspose", weight, bias, kernel_shape=[times] * 2, strides=[times] * 2)
    graph.active(layer.activation)


def _nearest(graph: _Graph, layer: Layer) -> None:
    graph.conv(layer, layer.given, 1)
    scales = graph.constant(np.array([1, 1, layer.kernel, layer.kernel], np.float32))
    graph.node(
        "Resize", "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )  # fmt: skip


KINDS: dict[str, Callable[[_Graph, Layer], None]] = {
    "conv": lambda graph, layer: graph.conv(layer, layer.given, layer.kernel),
    "plain": lambda graph, layer: graph.conv(layer, layer.given, layer.kernel),
    "residual": _residual, "separable": _separable, "time": _time, "whole": _whole, "transposed": _transposed,
    "nearest": _nearest,
}  # fmt: skip


def chain(layers: Sequence[Layer], size: tuple[int, int]) -> onnx.ModelProto:
    """(1, C, rows, columns) `clip` through layers one behind another."""
    graph = _Graph("clip", size)
    for layer in layers:
        KINDS[layer.kind](graph, layer)
        graph.size = layer.answers(graph.size)
    return graph.model(("clip", (1, layers[0].given, *size)), (1, layers[-1].made, *graph.size))


def behind(layer: Layer, size: tuple[int, int]) -> Part:
    """A layer behind a 1x1, less the 1x1. size: of the map that it is given."""
    before = Layer("conv", layer.given, layer.given, 1)
    return _part(f"{layer} of {_sized(size)}", (before, layer), before, size)


def instead(layer: Layer, activation: str, size: tuple[int, int]) -> Part:
    """What another activation behind a layer takes more than ReLU."""
    at, plain = layer.active_at(size), Layer("conv", layer.made, layer.made, 1, activation="relu")
    return _part(f"{activation} of {layer.made}x{_sized(at)}", (replace(plain, activation=activation),), plain, at)


def _part(name: str, whole: tuple[Layer, ...], without: Layer, size: tuple[int, int]) -> Part:
    return Part(name, (("layers", whole), ("size", size)), (("layers", (without,)), ("size", size)))


def _sized(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
