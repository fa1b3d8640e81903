"""Models of one node for the tests of devices, what they answer, and the command line."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from everyframe.cli import main
from everyframe.modelfile.session import run

F32 = TensorProto.FLOAT


def graph(op: str, shapes: list[tuple], out: tuple, *, at: int = 18, weights: Any = (), inputs: Any = None, **attrs: Any) -> Any:
    """A model of one node. weights: constants that follow its inputs, as (name, array)."""
    names = [f"x{i}" for i in range(len(shapes))]
    node = helper.make_node(op, inputs or [*names, *(name for name, _ in weights)], ["y"], name=op, **attrs)
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        [node], "one", [info(name, F32, shape) for name, shape in zip(names, shapes, strict=True)], [info("y", F32, out)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in weights],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", at)], ir_version=8)


def outputs(model: onnx.ModelProto) -> np.ndarray:
    rng = np.random.default_rng(0)
    feeds = {v.name: 3 * rng.standard_normal([d.dim_value for d in v.type.tensor_type.shape.dim]).astype(np.float32)
             for v in model.graph.input}  # fmt: skip
    if model.graph.node[0].op_type == "ReduceLogSum":
        feeds = {name: abs(array) for name, array in feeds.items()}
    return next(iter(run(model, feeds).values()))


def ops(model: onnx.ModelProto) -> Counter:
    return Counter(node.op_type for node in model.graph.node)


def cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as done:
        main.run([str(argument) for argument in arguments])
    return int(done.value.code or 0)
