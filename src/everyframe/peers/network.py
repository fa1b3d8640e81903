"""A network on another system, and what every system needs to know of its file."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from everyframe.errors import EngineError


@dataclass(frozen=True)
class Network:
    """A network on a peer. kind: `clip`, or `step` for one that takes frame by frame. shape: of what a call takes. start: a new
    stream, whose calls give logits, or None while they wait for frames.
    """

    kind: str
    shape: tuple[int, ...]
    start: Callable[[], Callable[[np.ndarray], np.ndarray | None]]
    reason: str = ""


def module(name: str) -> Any:
    """An optional package, of which nothing is known to the type checker."""
    return importlib.import_module(name)


def input_shape(model: onnx.ModelProto) -> tuple[int, ...]:
    """Of the one input. Raises EngineError."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    sizes = tuple(size.dim_value for size in inputs[0].type.tensor_type.shape.dim) if len(inputs) == 1 else ()
    if len(sizes) != 5 or not all(sizes[1:]):
        raise EngineError("Peers run clip networks of one input of fixed size.", got=f"{len(inputs)} inputs, {sizes}")
    return (sizes[0] or 1, *sizes[1:])
