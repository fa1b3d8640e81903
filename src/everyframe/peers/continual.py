"""continual-inference, the library of the paper Continual 3D CNNs, frame by frame, as its authors build CoX3D.

Convolutions over time are the library's, without temporal padding while streaming; the shorter of two branches waits in its
`Delay`; squeeze-and-excite sees one frame; the head's pool is over the clip's frames. Batch norms are in the convolutions
already, which the library does not do by itself: the peer is as fast as its users can make it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from everyframe.errors import EngineError
from everyframe.peers import graph
from everyframe.peers.network import Network, input_shape, module

#: computed as they are, on each frame
PLAIN = ("Relu", "Sigmoid", "Clip", "HardSwish", "HardSigmoid", "Mul", "Add", "Sub", "Identity", "Gemm", "Dropout")
Frame = Tensor | None


def load(model: onnx.ModelProto, threads: int) -> Network:
    shape = input_shape(model)
    torch.set_num_threads(threads)
    _Stream(model)  # what it cannot do is said now

    def start() -> Callable[[np.ndarray], np.ndarray | None]:
        stream = _Stream(model)

        def call(frame: np.ndarray) -> np.ndarray | None:
            logits = stream.step(torch.from_numpy(frame))
            return None if logits is None else logits.numpy()

        return call

    return Network("step", (1, shape[1], *shape[3:]), start)


class _Stream:
    """delays: of each tensor, in frames behind the newest."""

    @torch.no_grad()
    def __init__(self, model: onnx.ModelProto) -> None:
        self._co = module("continual")
        self._input, self._output = model.graph.input[0].name, model.graph.output[0].name
        self._nodes = graph.nodes(model)
        shapes = onnx.shape_inference.infer_shapes(model).graph
        known = [*shapes.input, *shapes.value_info, *shapes.output]
        self._shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in known}
        self._delays = {self._input: 0}
        self._steps: list[tuple[Callable[..., Frame], list[str | Tensor], str]] = []
        for node in self._nodes:
            self._add(node)

    @torch.inference_mode()
    def step(self, frame: Tensor) -> Frame:
        values: dict[str, Frame] = {self._input: frame}
        for run, inputs, output in self._steps:
            given = [values[one] if isinstance(one, str) else one for one in inputs]
            values[output] = None if any(one is None for one in given) else run(*given)
        return values[self._output]

    def _add(self, node: graph.Node) -> None:
        streams = [name for name in node.names if name in self._delays]
        behind = max(self._delays[name] for name in streams)
        run, more = self._made(node)
        inputs: list[str | Tensor] = []
        for i, name in enumerate(node.names):
            value = node.constants[i]
            if name in self._delays:
                inputs.append(self._delayed(name, behind - self._delays[name]))
            elif value is not None and node.kind not in ("Conv", "Reshape", *graph.SETTINGS):
                inputs.append(torch.from_numpy(value.copy()))
        self._steps.append((run, inputs, node.outputs[0]))
        self._delays[node.outputs[0]] = behind + more

    def _delayed(self, name: str, frames: int) -> str:
        if not frames:
            return name
        waits, delay = f"{name} {frames} later", self._co.Delay(frames)
        self._steps.append((delay.forward_step, [name], waits))
        return waits

    def _made(self, node: graph.Node) -> tuple[Callable[..., Frame], int]:
        """What computes a frame, and how many frames it is behind its inputs."""
        match node.kind:
            case "Conv":
                return self._conv(node)
            case "MaxPool" if node.attributes["kernel_shape"][0] == 1:
                flat = {key: value[1:] for key, value in node.attributes.items() if key in ("kernel_shape", "strides")}
                begin, end = np.split(np.array(node.attributes.get("pads", [0] * 6)), 2)
                return graph.MAKERS["MaxPool"]({**flat, "pads": [*begin[1:], *end[1:]]}, []), 0
            case "AveragePool" | "GlobalAveragePool" | "ReduceMean":
                return self._pool(node)
            case "Reshape" | "Flatten" | "Squeeze" if len(self._shapes.get(node.outputs[0], [])) == 2:
                return lambda x: x.flatten(1), 0
            case "Concat" if node.attributes["axis"] == 1:
                return lambda *parts: torch.cat(parts, 1), 0
            case kind if kind in PLAIN:
                return graph.made(node), 0
        raise EngineError("continual-inference has no layer for this.", got=node.kind)

    def _conv(self, node: graph.Node) -> tuple[Callable[..., Frame], int]:
        weight, bias = node.constants[1], node.constants[2] if len(node.constants) > 2 else None
        if weight is None or weight.ndim != 5:
            raise EngineError("continual-inference streams 3-D convolutions here.")
        padding, around = graph.pads(node.attributes, 3)
        stride, dilation = (tuple(node.attributes.get(name, (1, 1, 1))) for name in ("strides", "dilations"))
        if around or stride[0] != 1 or dilation[0] != 1:
            raise EngineError("continual-inference is given networks whose time is not strided.", got=f"strides {stride}")
        groups, kernel = node.attributes.get("group", 1), weight.shape[2:]
        layer: Any = self._co.Conv3d(
            weight.shape[1] * groups, weight.shape[0], kernel, stride, tuple(padding), dilation, groups, bias is not None
        )
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias.copy()))
        return layer.eval().forward_step, kernel[0] - 1 - padding[0]

    def _pool(self, node: graph.Node) -> tuple[Callable[..., Frame], int]:
        _, _, *sizes = self._shapes[node.names[0]]
        if not all(node.attributes.get("pads", [0])) and self._is_gate(node):
            return lambda x: x.mean((2, 3), keepdim=True), 0
        if node.kind == "AveragePool" and (node.attributes["kernel_shape"] != sizes or any(node.attributes.get("pads", ()))):
            raise EngineError("continual-inference is given pools over the whole clip alone.")
        pool: Any = self._co.AvgPool3d(tuple(sizes), stride=1)
        flat = len(self._shapes.get(node.outputs[0], sizes)) == 2

        def run(x: Tensor) -> Frame:
            found: Frame = pool.forward_step(x)
            return found.flatten(1) if flat and found is not None else found

        return run, sizes[0] - 1

    def _is_gate(self, pool: graph.Node) -> bool:
        """Does what is pooled come back as a factor?"""
        reached = set(pool.outputs)
        for node in self._nodes[self._nodes.index(pool) + 1 :]:
            if reached.intersection(node.names):
                if node.kind == "Mul" and not reached.issuperset(node.names):
                    return True
                reached.update(node.outputs)
        return False
