"""Weights with structured zeros, in the patterns of `everyframe prune`. Which are zero is random."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from everyframe.pruning.pattern import Pattern

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


def pruned(model: onnx.ModelProto, rates: dict[str, float], pattern: Pattern) -> onnx.ModelProto:
    """A copy in which the convolutions named (by their weights) keep 1 / rate of their weights."""
    made, rng = onnx.ModelProto.FromString(model.SerializeToString()), np.random.default_rng(0)
    for tensor in made.graph.initializer:
        if tensor.name in rates:
            weight = numpy_helper.to_array(tensor)
            left = pattern.keep(rng.random(pattern.units(weight.shape)), 1 - 1 / rates[tensor.name])
            sparse = (weight * pattern.spread(left, weight.shape)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(sparse, tensor.name))
    return made
