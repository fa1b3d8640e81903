"""What exporters write in ways of their own: the same network, or a refusal that says what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from everyframe.conversion.step import stream
from everyframe.errors import ConversionMismatch, EngineError, ModelError
from everyframe.modelfile.file import Held
from everyframe.runtime.program import open as open_program
from laws.drafts import C, Draft, S, T


def streamed(d: Draft) -> Any:
    return stream(Held(d.model()), None, layout="NCTHW")


def test_an_open_axis_may_be_called_minus_one() -> None:
    d = Draft((-1, C, T, S, S))
    d.mean(d.conv(), 2, 3, 4)
    assert streamed(d).difference < 1e-5


def test_onnx_operators_may_say_their_domain() -> None:
    d = Draft()
    d.conv()
    model = d.model()
    for entry in (*model.graph.node, *model.opset_import):
        entry.domain = "ai.onnx"
    assert stream(Held(model), None, layout="NCTHW").difference < 1e-5


@pytest.mark.parametrize("axis", [3, 4])
@pytest.mark.parametrize("operator", ["Hardmax", "Softmax", "LogSoftmax"])
def test_of_old_opsets_over_all_axes_behind(operator: str, axis: int) -> None:
    d = Draft(opset=11)
    d.op(operator, d.conv(), axis=axis)
    assert streamed(d).difference < 1e-5


def _dropout(d: Draft, x: str, *ratio: str) -> None:
    d.op("Dropout", x, *ratio or ("",), d.const(True, bool))


TRAINING: dict[str, Callable[[Draft, str], Any]] = {
    "Dropout": _dropout,
    "Dropout of a half": lambda d, x: _dropout(d, x, d.const(0.5)),
    "BatchNormalization": lambda d, x: d.op(
        "BatchNormalization", x, *(d.const([1.5, 0.5]) for _ in range(4)), outputs=3, training_mode=1
    ),
}


@pytest.mark.parametrize("name", TRAINING)
def test_training_mode_is_said(name: str) -> None:
    d = Draft()
    TRAINING[name](d, d.conv())
    with pytest.raises(ModelError, match="exported in training mode") as refused:
        streamed(d)
    assert name.split()[0] in str(refused.value)


def test_dropout_of_nothing_trains_nothing() -> None:
    d = Draft()
    _dropout(d, d.conv(), d.const(0.0))
    assert streamed(d).difference < 1e-5


def test_a_network_that_does_not_run_is_said_to_be_it() -> None:
    d = Draft()
    d.op("Conv", "clip", d.random(C, C, 1, 3, 3), dilations=[1, 2, 2], auto_pad="VALID")  # reaches over 5 of 4
    with pytest.raises((ModelError, ConversionMismatch)) as refused:
        streamed(d)
    assert "The step network" not in str(refused.value)


def test_sequences_are_refused_by_name() -> None:
    d = Draft()
    d.op("ConcatFromSequence", d.op("SequenceConstruct", d.conv(), "clip"), axis=1)
    with pytest.raises(ModelError, match="SequenceConstruct"):
        streamed(d)


def _average(d: Draft, **attrs: Any) -> None:
    d.op("AveragePool", d.conv(), **{"kernel_shape": [1, 3, 3], "strides": [1, 2, 2], "pads": [0, 1, 1, 0, 1, 1], **attrs})


def _smaller(d: Draft, **attrs: Any) -> None:
    d.op("Resize", d.conv(), "", d.const([0.5, 0.5]), mode="linear", axes=[3, 4], **attrs)


@pytest.mark.parametrize(
    ("make", "attrs", "refused"),
    [
        (_average, {"ceil_mode": 1, "count_include_pad": 1}, True),
        (_average, {"ceil_mode": 1}, False),
        (_average, {"count_include_pad": 1}, False),
        (_smaller, {"antialias": 1}, True),
        (_smaller, {}, False),
    ],
)
def test_what_openvino_computes_in_another_way(make: Callable[..., None], attrs: dict[str, int], refused: bool) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'everyframe[openvino]'")
    d = Draft()
    make(d, **attrs)
    step: onnx.ModelProto = streamed(d).step
    if refused:
        with pytest.raises(EngineError, match="in another way"):
            open_program(Held(step), "openvino")
        return
    frames = np.random.default_rng(0).standard_normal((4, 1, C, S, S)).astype(np.float32)
    runs = [open_program(Held(step), engine).start() for engine in ("openvino", "ort")]
    for frame in frames:
        np.testing.assert_allclose(*(run.step(frame) for run in runs), atol=1e-5)
