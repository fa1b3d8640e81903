"""What strangers' networks are made of: each idiom streams and passes its own comparison with the clip, wherever it stands."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from everyframe.conversion.step import stream
from everyframe.errors import EveryframeError, ModelError
from everyframe.modelfile.file import Held
from laws import idioms_in_frames, idioms_over_time
from laws.drafts import C, Draft, S, T
from laws.idioms import STREAMS, written

IDIOMS = Path(__file__).resolve().parents[3] / "shared" / "idioms"
assert idioms_in_frames and idioms_over_time  # they fill the table


def _shared() -> list[dict[str, str]]:
    return list(csv.DictReader((IDIOMS / "idioms.csv").read_text().splitlines())) if IDIOMS.exists() else []


def behind_a_stride(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network at half the rate: a convolution with a stride of 2 in time in front."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    graph, weight = made.graph, np.random.default_rng(5).standard_normal((C, C, 2, 1, 1)).astype(np.float32)
    graph.input[0].CopyFrom(helper.make_tensor_value_info("video", TensorProto.FLOAT, (1, C, 2 * T, S, S)))
    graph.initializer.append(numpy_helper.from_array(weight, "first.weight"))
    first = helper.make_node("Conv", ["video", "first.weight"], ["clip"], name="first", strides=[2, 1, 1])
    nodes = [first, *(onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)
    return made


def before_a_stride(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The same network with two frames a step, if it still has frames: a pool with a stride of 2 in time behind it."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    out = onnx.shape_inference.infer_shapes(made, data_prop=True).graph.output[0]
    dims = [dim.dim_value for dim in out.type.tensor_type.shape.dim]
    if len(dims) != 5 or dims[1] == T or dims[2] < 4 or dims[2] % 2:
        return None
    made.graph.node.append(
        helper.make_node("MaxPool", [out.name], ["halved"], name="last", kernel_shape=[2, 1, 1], strides=[2, 1, 1])
    )
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("halved", TensorProto.FLOAT, None))
    return made


@pytest.mark.parametrize("name", STREAMS)
def test_it_streams(name: str) -> None:
    row, draft, options = STREAMS[name]
    options = {"layout": "NCTHW", **options}
    model = written(row, draft)
    made = stream(Held(model), None, **options)
    assert made.difference is not None and made.difference < 1e-5
    stream(Held(model), None, **{**options, "rate": "dense"})
    if (draft["shape"], draft["kind"], options["layout"]) == ((1, C, T, S, S), TensorProto.FLOAT, "NCTHW"):
        stream(Held(behind_a_stride(model)), None, **options)
        if (halved := before_a_stride(model)) is not None:
            stream(Held(halved), None, **options)


@pytest.mark.skipif(not IDIOMS.exists(), reason="the shared idioms are not beside the checkout")
@pytest.mark.parametrize("row", _shared(), ids=lambda row: row["name"])
def test_shared_idioms(row: dict[str, str]) -> None:
    words = row["options"].split()
    options = {key[2:]: value for key, value in zip(words[::2], words[1::2], strict=True)}
    try:
        stream(IDIOMS / f"{row['name']}.onnx", None, layout=row["layout"], **options)
        got = "stream"
    except EveryframeError as error:
        got = f"refuse: {error}"
    assert got.startswith(row["want"])


# -- what is asked or said about an input ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 32, 31, 3), (1, 8, 16, 20, 1), (1, 16, 3, 32, 32)], ids=str)
def test_a_shape_that_reads_like_another_order_is_a_question(shape: tuple[int, ...]) -> None:
    draft = Draft(shape)
    draft.op("Relu")
    with pytest.raises(ModelError, match="order of the input's axes is not clear") as caught:
        stream(Held(draft.model()), None)
    assert "--layout" in str(caught.value.hint) and str(shape) in str(caught.value.got)
    assert stream(Held(draft.model()), None, layout="NCTHW").metadata.frames == shape[2]


@pytest.mark.parametrize("shape", [(1, 3, 8, 6, 4), (1, 2, 8, 4, 4), (1, 64, 8, 1, 1), (1, 1, 8, 6, 3)], ids=str)
def test_a_shape_that_reads_like_the_usual_order_is_not(shape: tuple[int, ...]) -> None:
    draft = Draft(shape)
    draft.op("Relu")
    assert stream(Held(draft.model()), None).metadata.frames == 8


def test_sizes_that_are_fixed_cannot_be_asked_otherwise() -> None:
    draft = Draft()
    draft.op("Relu")
    with pytest.raises(ModelError, match="another size") as caught:
        stream(Held(draft.model()), None, frames=T + 1)
    assert (caught.value.expected, caught.value.got) == (f"T = {T}", f"T = {T + 1}")


def test_bytes_stay_bytes_for_the_host() -> None:
    row, draft, options = STREAMS["bytes_in"]
    made = stream(Held(written(row, draft)), None, layout="NCTHW", **options)
    assert made.metadata.preprocess.scale == 1


def test_what_a_stream_does_otherwise_is_noted() -> None:
    row, draft, options = STREAMS["rolled_by_two"]
    assert any("zeros in a stream" in note for note in stream(Held(written(row, draft)), None, layout="NCTHW", **options).notes)
    row, draft, options = STREAMS["halves_inside"]
    assert any("float32" in note for note in stream(Held(written(row, draft)), None, layout="NCTHW", **options).notes)


def test_open_sizes_are_asked_for() -> None:
    row, draft, _ = STREAMS["everything_open"]
    with pytest.raises(ModelError, match="dynamic shape") as caught:
        stream(Held(written(row, draft)), None, layout="NCTHW", frames=T)
    assert "--size" in str(caught.value.hint)
