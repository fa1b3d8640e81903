"""What a model is made of, read from its file: multiply-adds, weights and states by layer, and how deep it is."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from everyframe.conversion.account import layer_of, layers
from everyframe.errors import EveryframeError
from everyframe.modelfile.file import load, metadata_of
from everyframe.modelfile.graph import static_shapes
from everyframe.modelfile.manifest import is_split
from everyframe.native import artifact
from everyframe.runtime.program import BUILTIN

#: operators that are a layer, and those that bend
LAYERS = ("Conv", "Gemm", "MatMul")
BENDS = ("Relu", "Clip", "HardSwish", "LeakyRelu", "Tanh", "Elu", "Gelu")
JOINS = ("Add", "Concat")


def costs(path: Path | str) -> dict[str, Any]:
    """macs, of which those whose weights are zero are none; rate: how many times fewer that makes; layers: name, op, output,
    macs,
    weights and state in values; depth: (layers, non-linearities, skip connections); outputs: sizes of what leaves its nodes,
    without the batch. Raises ModelError.
    """
    model = load(path)
    made = layers(model, metadata_of(model, path))
    sizes = {"x".join(map(str, shape[1:])) for shape in static_shapes(model).values() if len(shape) == 5}
    whole = sum(one.macs for one in made)
    left = sum(one.macs * share for one, share in zip(made, _density(model, [one.name for one in made]), strict=True))
    return {
        "macs": round(left), "rate": round(whole / left, 3) if left else 1.0, "depth": list(depth(model)),
        "outputs": sorted(sizes),
        "layers": [
            {
                "name": one.name, "op": one.op, "output": list(one.output), "macs": one.macs, "weights": one.params,
                "state": one.state_floats,
            }
            for one in made
        ],
    }  # fmt: skip


def costs_of(name: str) -> dict[str, Any] | None:
    """`costs` of what can be benchmarked; None where no single ONNX file says it, or it cannot be read."""
    path = str(BUILTIN) if name == "builtin" else name
    with contextlib.suppress(EveryframeError):
        return None if is_split(path) or artifact.is_library(path) else costs(path)
    return None


def _density(model: onnx.ModelProto, names: list[str]) -> list[float]:
    """The share of its weights that is not zero, by layer: what sparse code has to compute."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) > 2}
    shares = {
        layer_of(node.name or node.output[0]): float(np.count_nonzero(array) / max(array.size, 1))
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in weights
        for array in [numpy_helper.to_array(weights[node.input[1]])]
    }
    return [shares.get(name, 1.0) for name in names]


def depth(model: onnx.ModelProto) -> tuple[int, int, int]:
    """Layers and non-linearities on the longest way from input to answer, and skip connections: joins of branches that have
    unlike numbers of layers behind where they part.
    """
    known: dict[str, tuple[int, int]] = {value.name: (0, 0) for value in model.graph.input}
    skips = 0
    for node in model.graph.node:
        before = [known[name] for name in node.input if name in known]
        deepest = max(before, default=(0, 0))
        if node.op_type in JOINS and len(before) > 1 and len({layers for layers, _ in before}) > 1:
            skips += 1
        more = (deepest[0] + (node.op_type in LAYERS), deepest[1] + (node.op_type in BENDS))
        known.update(dict.fromkeys(node.output, more))
    layers_, bends = known[model.graph.output[0].name]
    return layers_, bends, skips
