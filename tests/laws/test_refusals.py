"""What cannot be streamed is refused, by the operator's name and place; nothing is converted by guessing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from everyframe.conversion.step import Options, convert
from everyframe.errors import ModelError, UnsupportedOperator
from laws.drafts import C, Draft, S, T

REFUSED: dict[str, Callable[[Draft], Any]] = {}


def refused(row: Callable[[Draft], Any]) -> Callable[[Draft], Any]:
    """A network that must be refused. Its name says why; the error names its last node (or the one returned)."""
    REFUSED[row.__name__] = row
    return row


# -- operators that there is no rule for -------------------------------------------------------------------------------


@refused
def an_assignment_to_frames(d: Draft) -> None:
    d.op("ScatterND", "clip", d.const([[[0, 0, 0]]], np.int64), d.random(1, 1, S, S))


@refused
def interpolation(d: Draft) -> None:
    d.op("Resize", "clip", "", d.const([1, 1, 1.5, 1, 1]))


@refused
def repeated_frames(d: Draft) -> None:
    d.op("Tile", "clip", d.ints(1, 1, 2, 1, 1))


@refused
def a_layer_norm(d: Draft) -> None:
    d.op("LayerNormalization", "clip", d.random(T, S, S), axis=2)


@refused
def an_einsum(d: Draft) -> None:
    d.op("Einsum", "clip", "clip", equation="nctxy,ncsxy->nts")


# -- rules that do not cover this use ----------------------------------------------------------------------------------


@refused
def a_constant_that_changes_along_time(d: Draft) -> None:
    d.op("Add", "clip", d.random(1, 1, T, 1, 1))


@refused
def a_position_embedding_beside_channels(d: Draft) -> None:
    d.op("Concat", "clip", d.random(1, 1, T, S, S), axis=1)


@refused
def a_reflection_in_time(d: Draft) -> None:
    d.op("Pad", "clip", d.ints(0, 0, 1, 0, 0, 0, 0, 1, 0, 0), mode="reflect")


@refused
def frames_repeated_at_the_end(d: Draft) -> None:
    d.op("Pad", "clip", d.ints(0, 0, 0, 0, 0, 0, 0, 1, 0, 0), mode="edge")


@refused
def the_clips_end_in_front_and_its_begin_behind(d: Draft) -> str:
    """Circular padding, as exporters write it that have no other word for it."""
    end, begin = (d.op("Slice", "clip", d.ints(a), d.ints(b), d.ints(2)) for a, b in ((-1, 2**31), (0, 1)))
    joined = d.op("Concat", end, "clip", begin, axis=2)
    d.conv(joined, pads=[0] * 6)
    return joined


@refused
def the_clips_end_in_front_by_assignment(d: Draft) -> str:
    grid = [np.stack(np.meshgrid([0], range(C), range(a, b), indexing="ij"), -1) for a, b in ((1, T + 1), (0, 1))]
    x = d.op("ScatterND", d.const(np.zeros((1, C, T + 1, S, S))), d.const(grid[0], np.int64), "clip")
    end = d.op("Slice", x, d.ints(T), d.ints(T + 1), d.ints(2))
    joined = d.op("ScatterND", x, d.const(grid[1], np.int64), end)
    d.conv(joined, pads=[0] * 6)
    return joined


@refused
def the_clip_wrapped_around(d: Draft) -> None:
    d.opset = 19
    d.op("Pad", "clip", d.ints(0, 0, 1, 0, 0, 0, 0, 1, 0, 0), mode="wrap")


@refused
def frames_picked_unevenly(d: Draft) -> None:
    d.inputs = [helper.make_tensor_value_info("clip", TensorProto.FLOAT, (1, C, 32, S, S))]
    d.op("Gather", "clip", d.ints(0, 4, 8, 13, 17, 22, 26, 31), axis=2)


@refused
def frames_picked_backwards(d: Draft) -> None:
    d.op("Slice", "clip", d.ints(-1), d.ints(-(2**63)), d.ints(2), d.ints(-1))


@refused
def frames_shuffled(d: Draft) -> None:
    d.op("Gather", "clip", d.ints(1, 0, 3, 2, 5, 4, 7, 6), axis=2)


@refused
def softmax_over_time(d: Draft) -> None:
    d.op("Softmax", "clip", axis=2)


@refused
def attention(d: Draft) -> None:
    q = d.op("Transpose", d.mean("clip", 3, 4, keep=False), perm=[0, 2, 1])
    d.op("MatMul", q, d.op("Transpose", q, perm=[0, 2, 1]))


@refused
def a_linear_layer_along_time(d: Draft) -> None:
    d.op("MatMul", d.mean("clip", 3, 4, keep=False), d.random(T, 3))


@refused
def a_classifier_with_a_bias_a_frame(d: Draft) -> None:
    x = d.op("Squeeze", d.op("Transpose", d.mean("clip", 3, 4, keep=False), perm=[0, 2, 1]), d.ints(0))
    d.op("Gemm", x, d.random(C, 3), d.random(T, 3))


@refused
def a_bias_for_frames_as_channels(d: Draft) -> None:
    d.op("Add", d.op("Reshape", "clip", d.ints(1, C * T, S, S)), d.random(1, C * T, 1, 1))


@refused
def a_part_of_frames_as_channels(d: Draft) -> None:
    d.op("Slice", d.op("Reshape", "clip", d.ints(1, C * T, S, S)), d.ints(0), d.ints(C), d.ints(1))


@refused
def a_softmax_over_frames_as_channels(d: Draft) -> None:
    d.op("Softmax", d.op("Reshape", "clip", d.ints(1, C * T, S, S)), axis=1)


@refused
def normalized_frames_as_channels(d: Draft) -> None:
    x = d.op("Reshape", "clip", d.ints(1, C * T, S, S))
    d.op("BatchNormalization", x, *(d.const(np.linspace(1, 2, C * T)) for _ in range(4)))


@refused
def frames_as_channels_joined(d: Draft) -> None:
    x = d.op("Reshape", "clip", d.ints(1, C * T, S, S))
    d.op("Concat", x, x, axis=1)


@refused
def frames_beside_each_other(d: Draft) -> None:
    x = d.op("Reshape", d.op("Transpose", "clip", perm=[0, 1, 3, 2, 4]), d.ints(1, C, S, T * S))
    d.op("AveragePool", x, kernel_shape=[1, 2], strides=[1, 2])


@refused
def time_cut_in_two(d: Draft) -> None:
    d.op("Reshape", "clip", d.ints(1, C, 2, T // 2, S, S))


@refused
def instance_normalization_over_the_clip(d: Draft) -> None:
    d.op("InstanceNormalization", "clip", d.random(C), d.random(C))


@refused
def a_max_pool_with_indices(d: Draft) -> None:
    d.op("MaxPool", "clip", kernel_shape=[2, 1, 1], outputs=2)


@refused
def weights_that_depend_on_the_clip(d: Draft) -> None:
    d.op("Conv", "clip", d.op("Reshape", d.mean("clip", 0, 2, 3, 4, keep=False), d.ints(1, C, 1, 1, 1)))


@refused
def two_wires_one_after_the_other(d: Draft) -> None:
    d.op("Concat", d.conv(), "clip", axis=2)


@refused
def doubles(d: Draft) -> None:
    d.op("Cast", "clip", to=TensorProto.DOUBLE)
    d.result = TensorProto.DOUBLE


# -- wires that do not fit together ------------------------------------------------------------------------------------


@refused
def different_frame_rates(d: Draft) -> None:
    d.op("Add", d.conv(strides=[2, 1, 1]), d.op("Slice", "clip", d.ints(0), d.ints(T // 2), d.ints(2)))


@refused
def different_frame_rates_side_by_side(d: Draft) -> None:
    d.op("Concat", d.conv(strides=[2, 1, 1]), d.op("Slice", "clip", d.ints(0), d.ints(T // 2), d.ints(2)), axis=1)


@refused
def one_frame_for_all_others(d: Draft) -> None:
    d.op("Mul", "clip", d.op("Sigmoid", d.conv(k=T, pads=[0] * 6)))


@refused
def one_frame_for_all_others_from_a_slice(d: Draft) -> None:
    d.op("Sub", "clip", d.op("Slice", "clip", d.ints(0), d.ints(1), d.ints(2)))


@refused
def a_mean_over_time_alone_of_one_frame(d: Draft) -> str:
    """With --se frame the mean of one frame is the frame itself, and nothing would be left."""
    mean = d.mean("clip", 2)
    d.op("Sub", "clip", mean)
    return mean


@refused
def time_meets_height(d: Draft) -> None:
    d.inputs = [helper.make_tensor_value_info("clip", TensorProto.FLOAT, (1, C, T, T, S))]
    d.op("Add", "clip", d.op("Transpose", "clip", perm=[0, 1, 3, 2, 4]))


@refused
def time_beside_height(d: Draft) -> None:
    d.inputs = [helper.make_tensor_value_info("clip", TensorProto.FLOAT, (1, C, T, T, S))]
    d.op("Concat", "clip", d.op("Transpose", "clip", perm=[0, 1, 3, 2, 4]), axis=1)


@refused
def a_gate_for_frames_and_joints_at_once(d: Draft) -> str:
    """EfficientGCN: one layer makes gates of the means over joints and over time, side by side."""
    x = d.mean("clip", 4)
    joints = d.op("Transpose", d.mean(x, 2), perm=[0, 1, 3, 2, 4])
    joined = d.op("Concat", d.mean(x, 3), joints, axis=2)
    gates = d.op("Sigmoid", d.op("Conv", joined, d.random(C, C, 1, 1, 1)))
    d.op("Mul", x, d.op("Slice", gates, d.ints(0), d.ints(T), d.ints(2)))
    return joined


@refused
def a_kernel_made_of_the_clip(d: Draft) -> str:
    """TAM: a kernel over time that a linear layer generates from all frames."""
    means = d.op("Reshape", d.mean("clip", 3, 4, keep=False), d.ints(C, T))
    layer = d.op("MatMul", means, d.random(T, 3))
    kernel = d.op("Reshape", layer, d.ints(C, 1, 3, 1, 1))
    d.op("Conv", "clip", kernel, pads=[1, 0, 0, 1, 0, 0], group=C)
    return layer


@refused
def a_mean_that_comes_back_on_another_axis(d: Draft) -> str:
    mean = d.mean(d.mean("clip", 3, 4, keep=False), 2, keep=False)
    gate = d.op("Unsqueeze", d.op("Sigmoid", mean), d.ints(2, 3, 4))
    turned = d.op("Transpose", gate, perm=[0, 2, 1, 3, 4])
    return d.op("Mul", d.op("Transpose", "clip", perm=[0, 3, 1, 2, 4]), turned)


@refused
def a_mean_against_itself_turned(d: Draft) -> str:
    """CTR-GCN: every joint less every other, of features averaged over time."""
    mean = d.mean("clip", 2, 4, keep=False)
    differences = d.op("Sub", d.op("Unsqueeze", mean, d.ints(-1)), d.op("Unsqueeze", mean, d.ints(-2)))
    d.op("Mul", "clip", d.op("Unsqueeze", d.op("Tanh", differences), d.ints(2)))
    return differences


@refused
def windows_of_frames_by_a_table(d: Draft) -> str:
    return d.op("Gather", "clip", d.const([[0, 1, 2], [1, 2, 3]], np.int64), axis=2) and d.nodes[-1].name


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_by_name_and_place(row: Callable[[Draft], Any]) -> None:
    draft = Draft()
    name = row(draft) or draft.nodes[-1].name
    with pytest.raises(ModelError) as caught:
        convert(draft.model(), Options(layout="NCTHW"))
    error, culprit = caught.value, next(node for node in draft.nodes if node.name == name)
    assert type(error) is UnsupportedOperator or "meet" in error.what
    assert culprit.op_type in str(error.where) and culprit.name in str(error.where)
    assert " of " in str(error.where), "its place in the graph"
    assert error.hint and error.what.endswith(".")


# -- whole networks ----------------------------------------------------------------------------------------------------


def plain(shape: tuple[int | str, ...] = (1, C, T, S, S), kind: int = TensorProto.FLOAT, weight: float = 1.0) -> Draft:
    draft = Draft(shape, kind)
    draft.op("Conv", "clip", draft.const(np.full((C, C, 3, 1, 1), weight, helper.tensor_dtype_to_np_dtype(kind)), None))
    draft.result = kind
    return draft


def not_a_number_in_a_constant_node() -> onnx.ModelProto:
    draft = Draft()
    draft.op("Constant", "", value=numpy_helper.from_array(np.full((C, C, 1, 1, 1), np.nan, np.float32)))
    del draft.nodes[0].input[:]
    draft.op("Conv", "clip", draft.last)
    return draft.model()


def two_clips() -> onnx.ModelProto:
    draft = plain()
    draft.inputs.append(helper.make_tensor_value_info("flow", TensorProto.FLOAT, (1, C, T - 2, S, S)))
    draft.op("Add", draft.last, "flow")
    return draft.model()


def an_output_from_nowhere() -> onnx.ModelProto:
    draft = plain()
    draft.op("Identity", draft.random(1, 3))
    return draft.model()


@pytest.mark.parametrize(
    "model, says",
    [
        (plain((1, C, "T", S, S)).model(), ("dynamic shape", "T")),
        (plain((1, C, T, S, "W")).model(), ("dynamic shape", "--size")),
        (plain((1, C, T, "H", S)).model(), ("dynamic shape", "H")),
        (plain((2, C, T, S, S)).model(), ("not one clip", "(2, 2, 8, 4, 4)")),
        (plain(weight=np.nan).model(), ("NaN or infinite", "constant0", "12 of 12")),
        (plain(weight=np.inf).model(), ("NaN or infinite", "constant0")),
        (not_a_number_in_a_constant_node(), ("NaN or infinite",)),
        (plain(kind=TensorProto.DOUBLE).model(), ("float32",)),
        (two_clips(), ("do not fit each other", "flow")),
        (an_output_from_nowhere(), ("does not depend on the clip",)),
    ],
    ids=["dynamic time", "dynamic width", "dynamic size", "batch of two", "NaN", "infinity", "NaN in a node", "double",
         "two inputs", "constant output"],
)  # fmt: skip
def test_whole_networks_are_refused(model: onnx.ModelProto, says: tuple[str, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        convert(model)
    for words in says:
        assert words in str(caught.value)


def test_another_axis_order_has_to_be_said() -> None:
    folded = Draft((T, C, S, S))
    folded.op("Relu")
    with pytest.raises(ModelError, match="--layout"):
        convert(folded.model())
    assert convert(folded.model(), Options(layout="TCHW")).metadata.frames == T
