"""What strangers' networks are made of, behind and in front of a convolution over time, says the same on every engine."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.test_engines import ENGINES
from everyframe.conversion.step import stream
from everyframe.errors import ConversionMismatch, EngineError, UnsupportedOperator
from everyframe.modelfile.file import Held
from everyframe.modelfile.walk import Walk
from everyframe.runtime.program import open as open_program
from helpers import relative
from laws import idioms_in_frames, idioms_over_time
from laws.drafts import C, S, T
from laws.idioms import STREAMS, written

assert idioms_in_frames and idioms_over_time  # they fill the table
STEPS = 12  # beyond those that wait for frames


def _weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32) / 2


def behind(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto.FromString(model.SerializeToString())
    graph = made.graph
    graph.input[0].name = "video"
    graph.initializer.append(numpy_helper.from_array(_weight(C, C, 3, 1, 1), "first.weight"))
    graph.node.insert(0, helper.make_node("Conv", ["video", "first.weight"], ["clip"], name="first", pads=[1, 0, 0, 1, 0, 0]))
    return made


def before(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """None where it has no frames in the end."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    out = onnx.shape_inference.infer_shapes(made, data_prop=True).graph.output[0]
    dims = [dim.dim_value for dim in out.type.tensor_type.shape.dim]
    if len(dims) != 5 or min(dims) < 1:
        return None
    made.graph.initializer.append(numpy_helper.from_array(_weight(3, dims[1], 3, 1, 1), "last.weight"))
    last = helper.make_node("Conv", [out.name, "last.weight"], ["last"], name="last", pads=[2, 0, 0, 0, 0, 0])
    made.graph.node.append(last)
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("last", TensorProto.FLOAT, None))
    return made


@pytest.mark.soak
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [name for name, row in STREAMS.items() if row[1]["shape"] == (1, C, T, S, S)])
def test_all_engines_agree(name: str, engine: str) -> None:
    row, draft, options = STREAMS[name]
    if draft["kind"] != TensorProto.FLOAT or options.get("layout", "NCTHW") != "NCTHW":
        pytest.skip("a convolution takes floats, channels first")
    model = written(row, draft)
    first = behind(model)
    for made in filter(None, (first, before(model), before(first))):
        with contextlib.suppress(UnsupportedOperator, ConversionMismatch, EngineError):  # refused, which is no wrong answer
            _agree(made, engine, {"layout": "NCTHW", **options})


def _agree(model: onnx.ModelProto, engine: str, options: dict[str, Any]) -> None:
    made = stream(Held(model), None, **options)
    walk, run = Walk(made.step), open_program(Held(made.step), engine).start()
    (value,) = [each for each in made.step.graph.input if each.name in walk.frames]
    shape, rng = [dim.dim_value for dim in value.type.tensor_type.shape.dim], np.random.default_rng(0)
    silent = made.metadata.delay // made.metadata.hop + 1  # until then an engine may say anything
    for step in range(silent + STEPS):
        frames = rng.standard_normal(shape).astype(np.float32)
        expected, found = walk.step(frames)[walk.answers[0]], run.step(frames)
        if step >= silent:
            assert relative(found, expected) < 1e-4, f"step {step}"
