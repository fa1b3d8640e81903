"""Features beside the classifier's own input: means over time of wires inside a step network, which its metadata names.

Each wire's newest frames are kept in a state of its own, and one counter says how many there are yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from everyframe.modelfile.schema import Metadata, StateSpec

_NAME = "features"


@dataclass(frozen=True, eq=False)
class Means:
    """What computes the features: nodes and constants behind the network's own, states of theirs; output (1, width)."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]
    states: tuple[StateSpec, ...]
    output: str
    width: int


#: Min takes whole numbers from it on
_OPSET = 12


def means(metadata: Metadata, shapes: Mapping[str, tuple[int, ...]], opset: int) -> Means | None:
    """None where the metadata names no wires, or the graph has them no longer or is older (it was rewritten for a board)."""
    specs = metadata.features
    if not specs or opset < _OPSET or any(len(shapes.get(spec.wire, ())) < 2 or shapes[spec.wire][0] != 1 for spec in specs):
        return None
    longest = max(spec.window for spec in specs)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray] = {}

    def emit(op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [f"{_NAME}.{name}"], f"{_NAME}.{name}", **attributes))
        return f"{_NAME}.{name}"

    def const(value: object, name: str, kind: type = np.int64) -> str:
        constants[f"{_NAME}.{name}"] = np.asarray(value, kind)
        return f"{_NAME}.{name}"

    counter = StateSpec(input=f"state.{_NAME}.t.in", output=f"state.{_NAME}.t.out", shape=(1,), dtype="int64")
    states, made = [counter], []
    emit("Min", [emit("Add", [counter.input, const([1], "one")], "t.next"), const([longest], "t.last")], "t.out")
    nodes[-1].output[0] = counter.output
    for number, spec in enumerate(specs):
        width, n, own = prod(shapes[spec.wire]), spec.window, str(number)
        flat = emit("Reshape", [spec.wire, const([1, width], f"{own}.shape")], f"{own}.flat")
        if n > 1:
            state = StateSpec(
                input=f"state.{_NAME}.{own}.in", output=f"state.{_NAME}.{own}.out", shape=(n - 1, width), frames=n - 1
            )
            states.append(state)
            past = emit("Concat", [state.input, flat], f"{own}.past", axis=0)
            emit("Slice", [past, *(const([v], f"int.{v}") for v in (1, n, 0, 1))], f"{own}.keep")
            nodes[-1].output[0] = state.output
            total = emit("MatMul", [const(np.ones((1, n)), f"{own}.band", np.float32), past], f"{own}.sum")
            at = emit("Min", [counter.input, const([n - 1], f"int.{n - 1}")], f"{own}.up_to")
            table = const(1 / np.arange(1, n + 1)[:, None], f"{own}.share", np.float32)
            flat = emit("Mul", [total, emit("Gather", [table, at], f"{own}.of", axis=0)], f"{own}.mean")
        made.append(flat)
    output = emit("Concat", made, "all", axis=1)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return Means(nodes, tensors, tuple(states), output, sum(prod(shapes[spec.wire]) for spec in specs))


def longer(metadata: Metadata, found: Means | None) -> Metadata:
    """What longer windows change in the metadata, whose table is used up."""
    if found is None:
        return metadata.model_copy(update={"features": ()})
    more = max(0, max(spec.window for spec in metadata.features) - metadata.window)
    return metadata.model_copy(
        update={
            "features": (), "delay": metadata.delay + more, "receptive_field": metadata.receptive_field + more,
        }
    )  # fmt: skip
