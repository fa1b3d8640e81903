"""What `compile` compares before it writes anything: planted faults that noise alone would not show are found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from everyframe.errors import ConversionMismatch, ModelError
from everyframe.modelfile import Metadata, Preprocess, StateSpec
from everyframe.native.build import link
from everyframe.native.check import check
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import target
from native.operators import Sketch
from native.test_int8 import Quantized

SHAPE = (1, 3, 24, 32)


def difference_network() -> tuple[onnx.ModelProto, Metadata]:
    """The difference to the last frame, of two taps whose steps are half as wide as those of their sum: on what stands still it
    lies between two steps at every other brightness. Its mean decides."""
    sketch = Quantized(SHAPE)
    taps = []
    for tensor, sign, scale, zero in (("frames", 1, 0.0697167739, 115), ("state.last", -1, 0.0766884461, 127)):
        weight = sketch.weight(np.full((3, 1, 1, 1), sign * 127, np.int8), 4 / 127)
        taps.append(sketch.grid(sketch.op("Conv", sketch.grid(tensor, 0.0174291935, 115), weight, group=3), scale, zero))
    coarse = sketch.grid(taps[1], 0.1394335479, 128)
    change = sketch.grid(sketch.op("Add", taps[0], coarse), 0.1394335479, 128)
    mean = sketch.op("Flatten", sketch.op("GlobalAveragePool", change))
    both = sketch.constant(np.array([[9.0, -9.0]] * 3)), sketch.constant([-0.05, 0.05])
    sketch.answer(sketch.op("Gemm", mean, *both))
    sketch.nodes.append(helper.make_node("Identity", ["frames"], ["new.last"]))
    model = sketch.model()
    model.graph.output.append(helper.make_tensor_value_info("new.last", TensorProto.FLOAT, SHAPE))
    model.graph.input.append(helper.make_tensor_value_info("state.last", TensorProto.FLOAT, SHAPE))
    states = (StateSpec(input="state.last", output="new.last", shape=SHAPE),)
    preprocess = Preprocess(resize=SHAPE[2:], mean=(0.45,) * 3, std=(0.225,) * 3)
    return model, Metadata(kind="step", frames=8, window=8, states=states, preprocess=preprocess)


def library(model: onnx.ModelProto, metadata: Metadata, folder: Path, change: tuple[str, str] = ("", "")) -> Library:
    """change: what of the C is planted as what."""
    source, _, fitting = generate(model, metadata.states, target("native"))
    assert change[0] in source.text
    text = source.text.replace(*change) if change[0] else source.text
    return Library(link(dataclasses.replace(source, text=text), fitting, model, folder / "net.so"))


def test_what_is_right_passes(tmp_path: Path) -> None:
    model, metadata = difference_network()
    assert check(model, metadata, library(model, metadata, tmp_path)) < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        ("if (!UNLIKELY(lanes)) continue;", "continue;"),  # floats alone decide between two steps
        ("splat((float)places)", "splat((float)places + 99)"),
    ],
    ids=["between two steps", "a mean"],
)
def test_what_is_wrong_does_not(change: tuple[str, str], tmp_path: Path) -> None:
    model, metadata = difference_network()
    with pytest.raises(ConversionMismatch, match="exact arithmetic"):
        check(model, metadata, library(model, metadata, tmp_path, change))


def test_what_is_no_number_is_the_models_own(tmp_path: Path) -> None:
    """The logarithm of frames that are dark somewhere."""
    sketch = Sketch(SHAPE)
    sketch.answer(sketch.op("Log", sketch.op("ReduceMean", "frames", sketch.constant([2, 3], np.int64), keepdims=0)))
    metadata = Metadata(kind="step", frames=1, preprocess=Preprocess(resize=SHAPE[2:], mean=(0.5,) * 3, std=(0.5,) * 3))
    with pytest.raises(ModelError, match=r"NaN or infinities(.|\n)*output logits at step 0") as raised:
        check(sketch.model(), metadata, library(sketch.model(), metadata, tmp_path))
    assert "defect" not in str(raised.value)
