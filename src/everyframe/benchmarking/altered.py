"""Networks altered for measuring: several clips at once, and weights with structured zeros, kernel groups of RT3D (KGS) and whole
groups (vanilla), of which random ones are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

# M, N output and input channels; gM, gN of a group; k kernel places


def kept(
    shape: tuple[int, ...], group: tuple[int, int], rate: float, rng: np.random.Generator, whole: bool = False
) -> np.ndarray:
    """Boolean mask (M, N, k...) that keeps 1 / rate of the weights. whole: drop whole groups, else kernel places within them."""
    (m, n), (gm, gn) = shape[:2], group
    places = 1 if whole else int(np.prod(shape[2:]))
    grid = np.zeros((-(-m // gm), -(-n // gn), places), bool)
    grid.ravel()[rng.permutation(grid.size)[: round(grid.size / rate)]] = True
    full = grid.repeat(gm, 0)[:m].repeat(gn, 1)[:, :n]
    return np.broadcast_to(full.reshape(m, n, places), (m, n, int(np.prod(shape[2:])))).reshape(shape)


def pruned(
    model: onnx.ModelProto, rates: Mapping[str, float], mask: Callable[[tuple[int, ...], float, np.random.Generator], np.ndarray]
) -> onnx.ModelProto:
    """A copy in which the convolutions named (by their weights) keep 1 / rate of their weights: those that mask(shape, rate, rng)
    says."""
    made, rng = onnx.ModelProto.FromString(model.SerializeToString()), np.random.default_rng(0)
    for tensor in made.graph.initializer:
        if tensor.name in rates:
            weight = numpy_helper.to_array(tensor)
            sparse = (weight * mask(weight.shape, rates[tensor.name], rng)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(sparse, tensor.name))
    return made


def batched(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Several clips at once, as a network without metadata."""
    shapes = set()
    for node in model.graph.node:
        if node.op_type == "Reshape":
            shapes.add(node.input[1])
            for attribute in [each for each in node.attribute if each.name == "allowzero"]:
                node.attribute.remove(attribute)  # no axis is empty, and torch says that 0 would be meant
    for tensor in model.graph.initializer:
        if tensor.name in shapes:
            shape = numpy_helper.to_array(tensor).copy()
            shape[0] = 0 if shape[0] == 1 else shape[0]  # as many as came in
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del model.graph.value_info[:]
    del model.metadata_props[:]
    return model
