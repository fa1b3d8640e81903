"""What strangers' networks are made of: each idiom streams and passes its own comparison with the clip, wherever it stands."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from everyframe.conversion.step import stream
from everyframe.errors import EveryframeError
from everyframe.modelfile.file import Held
from laws.drafts import C, Draft, S, T

IDIOMS = Path(__file__).resolve().parents[3] / "shared" / "idioms"
STREAMS: dict[str, tuple[Callable[[Draft], Any], dict[str, Any], dict[str, Any]]] = {}


def idiom(shape: tuple[int | str, ...] = (1, C, T, S, S), kind: int = TensorProto.FLOAT, opset: int = 18, **options: Any) -> Any:
    """A network that has to stream. It gets its mean over time where it does not end it itself (by returning a name)."""

    def add(row: Callable[[Draft], Any]) -> Callable[[Draft], Any]:
        STREAMS[row.__name__] = (row, {"shape": shape, "kind": kind, "opset": opset}, options)
        return row

    return add


def written(row: Callable[[Draft], Any], draft: dict[str, Any]) -> onnx.ModelProto:
    made = Draft(**draft)
    if made.opset < 18:  # axes of a reduction became an input
        made.mean = lambda x, *axes, keep=True: made.op("ReduceMean", x, axes=list(axes), keepdims=int(keep))
    made.last = row(made) or made.last
    return made.model()


def headed(d: Draft, *axes: int) -> str:
    """A classifier behind a mean."""
    return d.op("Gemm", d.op("Flatten", d.mean(d.last, *axes)), d.random(C, 3))


# -- per frame: reductions, products, sizes, comparisons ---------------------------------------------------------------


def _reduced(op: str, axes: tuple[int, ...], keep: int) -> Callable[[Draft], Any]:
    def row(d: Draft) -> None:
        d.op(op, d.op("Abs", d.conv()), d.ints(*axes), keepdims=keep)

    row.__name__ = f"{op} of {axes}{' kept' if keep else ''}"
    return row


for op in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd",
           "ReduceLogSumExp"):  # fmt: skip
    for axes, keep in (((1,), 1), ((3, 4), 1), ((3, 4), 0), ((-1,), 0), ((1, 3), 0)):
        idiom()(_reduced(op, axes, keep))
for op in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean"):
    for axes, keep in (((2,), 1), ((2, 3, 4), 0), ((2, 3, 4), 1), ((2,), 0)):
        idiom()(_reduced(op, axes, keep))


def _inside(op: str, rank: int = 5, **attrs: Any) -> Callable[[Draft], Any]:
    def row(d: Draft) -> None:
        d.op(op, d.conv(), **attrs)

    row.__name__ = f"{op} {attrs}"
    return row


for made in (
    _inside("Softmax", axis=1), _inside("LogSoftmax", axis=-1), _inside("Hardmax", axis=1), _inside("LpNormalization", axis=1),
    _inside("LpNormalization", axis=3, p=1), _inside("Softplus"), _inside("Shrink"), _inside("ThresholdedRelu", alpha=0.3),
    _inside("MeanVarianceNormalization", axes=[1, 3, 4]), _inside("Round"), _inside("Sign"), _inside("Ceil"),
):  # fmt: skip
    idiom()(made)


@idiom((T, C, S, S), layout="TCHW")
def a_local_response_norm(d: Draft) -> None:
    d.op("LRN", "clip", size=3)


@idiom()
def the_place_of_the_largest(d: Draft) -> None:
    d.op("Cast", d.op("ArgMax", d.conv(), axis=1), to=TensorProto.FLOAT)
    d.op("Add", d.last, d.op("Cast", d.op("ArgMin", "clip", axis=4, keepdims=1), to=TensorProto.FLOAT))


@idiom((T, C, S, S), layout="TCHW")
def attention_among_positions(d: Draft) -> None:
    x = d.op("Transpose", d.op("Reshape", "clip", d.ints(T, C, S * S)), perm=[0, 2, 1])
    weights = d.op("Softmax", d.op("MatMul", x, d.op("Transpose", x, perm=[0, 2, 1])), axis=-1)
    d.op("MatMul", weights, x)


@idiom((1, C, T, S, S))
def attention_among_positions_with_heads(d: Draft) -> None:
    x = d.op("Transpose", d.op("Reshape", d.conv(), d.ints(1, C, T, S * S)), perm=[0, 2, 1, 3])  # (1, T, C, P)
    y = d.op("MatMul", d.op("Transpose", x, perm=[0, 1, 3, 2]), x)
    z = d.op("MatMul", x, d.op("Softmax", d.op("Mul", y, d.const(0.5)), axis=-1))
    d.op("Reshape", d.op("Transpose", z, perm=[0, 2, 1, 3]), d.ints(1, C, T, S, S))


@idiom((1, C, T, S, S))
def a_product_with_weights_on_the_left(d: Draft) -> None:
    d.op("MatMul", d.random(S, S), d.conv())


@idiom((1, C, T, S, S))
def a_product_with_weights_a_channel(d: Draft) -> None:
    d.op("MatMul", d.conv(), d.random(C, 1, S, 3))


@idiom((1, C, T, 5), layout="NCTV")
def a_product_with_a_batch_of_weights(d: Draft) -> None:
    d.op("MatMul", "clip", d.random(1, C, 5, 5))


@idiom((1, C, T, 5), layout="NCTV")
def a_graph_by_einsum(d: Draft) -> None:
    d.op("Einsum", "clip", d.random(5, 5), equation="nctv,vw->nctw")


@idiom((1, C, T, 5), layout="NCTV")
def several_graphs_by_einsum(d: Draft) -> None:
    x = d.op("Reshape", d.op("Concat", "clip", "clip", axis=1), d.ints(1, 2, C, T, 5))
    d.op("Einsum", x, d.random(2, 5, 5), equation="nkctv,kvw->nctw")


@idiom((1, C, T, 5), layout="NCTV")
def a_graph_that_is_computed_by_einsum(d: Draft) -> None:
    a = d.op("Einsum", "clip", "clip", equation="nctv,nctw->ntvw")
    d.op("Einsum", "clip", d.op("Softmax", a, axis=-1), equation="nctv,ntvw->nctw")


@idiom()
def a_linear_layer_by_einsum_without_output(d: Draft) -> None:
    d.op("Einsum", d.conv(), d.random(C, 3), equation="bcthw,cd->btdhw")


@idiom()
def a_gate_of_channels_expanded(d: Draft) -> None:
    x = d.conv()
    d.op("Mul", x, d.op("Expand", d.op("Sigmoid", d.mean(x, 3, 4)), d.ints(1, C, T, S, S)))


@idiom(se="window")
def a_gate_over_the_clip_expanded(d: Draft) -> None:
    x = d.conv()
    d.op("Mul", x, d.op("Expand", d.op("Sigmoid", d.mean(x, 2, 3, 4)), d.ints(1, C, T, S, S)))


@idiom()
def a_gate_over_the_clip_tiled(d: Draft) -> None:
    x = d.conv()
    d.op("Mul", x, d.op("Tile", d.op("Sigmoid", d.mean(x, 2, 3, 4)), d.ints(1, 1, T, S, S)))


@idiom()
def tiled_channels(d: Draft) -> None:
    d.op("Tile", d.conv(), d.ints(1, 2, 1, 1, 1))


@idiom(se="window")
def a_gate_of_the_largest(d: Draft) -> None:
    x = d.conv()
    d.op("Mul", x, d.op("Sigmoid", d.op("ReduceMax", x, d.ints(2, 3, 4), keepdims=1)))


@idiom(se="window")
def a_gate_of_sum_and_smallest(d: Draft) -> None:
    x = d.conv()
    both = d.op("Add", d.op("ReduceSum", x, d.ints(2, 3, 4)), d.op("ReduceMin", x, d.ints(2, 3, 4)))
    d.op("Mul", x, d.op("Sigmoid", both))


@idiom()
def a_head_of_mean_and_largest(d: Draft) -> None:
    x = d.conv()
    both = d.op("Concat", d.op("GlobalAveragePool", x), d.op("GlobalMaxPool", x), axis=1)
    d.op("Gemm", d.op("Flatten", both), d.random(2 * C, 3))


@idiom(window=12)
def a_head_of_the_largest_with_a_longer_window(d: Draft) -> None:
    d.op("Gemm", d.op("Flatten", d.op("GlobalMaxPool", d.conv())), d.random(C, 3))


@idiom()
def resized_by_scales(d: Draft) -> None:
    d.op("Resize", d.conv(), "", d.const([1, 1, 1, 2, 2]), mode="nearest")


@idiom((T, C, S, S), layout="TCHW")
def resized_to_sizes(d: Draft) -> None:
    d.op("Resize", "clip", "", "", d.const([T, C, 7, 6], np.int64), mode="linear", coordinate_transformation_mode="align_corners")


@idiom()
def resized_to_sizes_with_time(d: Draft) -> None:
    d.op("Resize", d.conv(), "", "", d.const([1, C, T, 7, 6], np.int64), mode="nearest")


@idiom((T, C, S, S), opset=9, layout="TCHW")
def upsampled_in_opset_9(d: Draft) -> None:
    d.op("Upsample", "clip", d.const([1, 1, 2, 2]), mode="nearest")


@idiom((T, 4, S, S), layout="TCHW")
def depth_to_space_and_back(d: Draft) -> None:
    d.op("SpaceToDepth", d.op("Relu", d.op("DepthToSpace", "clip", blocksize=2)), blocksize=2)


@idiom()
def a_layer_norm_over_channels_and_pictures(d: Draft) -> None:
    x = d.op("Transpose", d.conv(), perm=[0, 2, 1, 3, 4])
    d.op("LayerNormalization", x, d.random(C, S, S), d.random(C, S, S), axis=2)


@idiom((T, 4, S, S), opset=21, layout="TCHW")
def a_group_norm(d: Draft) -> None:
    d.op("GroupNormalization", "clip", d.random(4), d.random(4), num_groups=2)


@idiom((T, C, S, S), layout="TCHW")
def an_instance_norm_of_each_frame(d: Draft) -> None:
    d.op("InstanceNormalization", "clip", d.random(C), d.random(C))


@idiom()
def a_transposed_convolution_in_space(d: Draft) -> None:
    d.op("ConvTranspose", d.conv(), d.random(C, 3, 1, 2, 2), strides=[1, 2, 2], output_padding=[0, 1, 0])


@idiom((T, C, S, S), layout="TCHW")
def a_transposed_convolution_of_pictures(d: Draft) -> None:
    d.op("ConvTranspose", "clip", d.random(C, 1, 3, 3), d.random(2), group=2, pads=[1, 1, 0, 1])


@idiom()
def a_threshold_by_hand(d: Draft) -> None:
    x = d.conv()
    both = d.op("And", d.op("Greater", x, d.const(-0.5)), d.op("Not", d.op("LessOrEqual", x, d.const(-0.1))))
    d.op("Where", both, x, d.op("Mul", x, d.const(0.1)))


@idiom()
def a_mask_that_waits_for_a_convolution(d: Draft) -> None:
    d.op("Where", d.op("Equal", d.op("Sign", "clip"), d.const(1.0)), d.conv(), d.const(0.0))


@idiom()
def a_mask_as_numbers(d: Draft) -> None:
    d.op("Mul", d.conv(), d.op("Cast", d.op("Less", "clip", d.const(0.2)), to=TensorProto.FLOAT))


@idiom()
def whole_numbers(d: Draft) -> None:
    d.op("Cast", d.op("Cast", d.op("Mul", d.conv(), d.const(8.0)), to=TensorProto.INT64), to=TensorProto.FLOAT)


@idiom()
def the_largest_channels(d: Draft) -> str:
    d.op("TopK", d.mean(d.conv(), 3, 4), d.ints(1), axis=1, outputs=2)
    return d.mean(d.last, 2)


@idiom()
def mirrored_pictures(d: Draft) -> None:
    x = d.op("Slice", "clip", d.ints(-1, -1), d.ints(-(2**62), -(2**31)), d.ints(3, 4), d.ints(-1, -1))
    d.op("Add", d.conv(), d.conv(x))


@idiom()
def mirrored_pictures_in_the_batch(d: Draft) -> str:
    x = d.op("Slice", "clip", d.ints(-1), d.ints(-(2**62)), d.ints(4), d.ints(-1))
    both = d.conv(d.op("Concat", "clip", x, axis=0))
    return d.op("ReduceMean", d.mean(both, 2, 3, 4, keep=False), d.ints(0), keepdims=1)


@idiom()
def edges_of_pictures(d: Draft) -> None:
    x = d.op("Pad", "clip", d.ints(0, 0, 0, 1, 1, 0, 0, 0, 0, 1), mode="edge")
    d.op("Pad", d.conv(x), d.ints(0, 0, 0, 1, 0, 0, 0, 0, 1, 0), mode="reflect")


@idiom()
def a_pad_of_the_left_column_alone(d: Draft) -> None:
    d.conv(d.op("Pad", "clip", d.ints(0, 0, 0, 0, 2, 0, 0, 0, 0, 0), mode="edge"))


@idiom()
def a_single_channel_picked(d: Draft) -> None:
    d.op("Mul", d.conv(), d.op("Unsqueeze", d.op("Gather", "clip", d.const(1, np.int64), axis=1), d.ints(1)))


@idiom()
def a_single_column_picked(d: Draft) -> None:
    d.op("Gather", d.conv(), d.const(-1, np.int64), axis=4)


@idiom()
def stacked_on_a_new_axis_and_one_picked(d: Draft) -> None:
    parts = [d.op("Unsqueeze", x, d.ints(0)) for x in (d.conv(), "clip", d.op("Relu", "clip"))]
    d.op("Gather", d.op("Concat", *parts, axis=0), d.const(1, np.int64), axis=0)


@idiom()
def stacked_behind_and_averaged(d: Draft) -> None:
    parts = [d.op("Unsqueeze", x, d.ints(5)) for x in (d.conv(), "clip")]
    d.mean(d.op("Concat", *parts, axis=5), 5, keep=False)


@idiom()
def stacked_beside_channels_and_the_largest(d: Draft) -> None:
    parts = [d.op("Unsqueeze", x, d.ints(2)) for x in (d.conv(), "clip")]
    d.op("ReduceMax", d.op("Concat", *parts, axis=2), d.ints(2), keepdims=0)


@idiom(opset=11)
def a_softmax_over_all_classes_of_opset_11(d: Draft) -> None:
    d.op("Softmax", d.op("Transpose", d.conv(), perm=[0, 2, 1, 3, 4]), axis=2)


@idiom(opset=9)
def limits_in_opset_9(d: Draft) -> None:
    d.op("Clip", d.conv(), min=0.0, max=6.0)


@idiom(opset=9)
def slices_in_opset_9(d: Draft) -> None:
    x = d.op("Slice", "clip", axes=[2, 3], starts=[0, 1], ends=[T - 1, S])
    d.conv(d.op("Pad", x, pads=[0, 0, 1, 0, 0, 0, 0, 0, 0, 0]))


# -- axes that hold time and something else ----------------------------------------------------------------------------


def _positions(d: Draft, layer: Callable[[Draft, str], str]) -> None:
    """(1, C, T, S, S) -> (S*S, C, T), a layer, and back."""
    x = d.op("Reshape", d.op("Transpose", "clip", perm=[0, 3, 4, 1, 2]), d.ints(S * S, C, T))
    y = layer(d, x)
    d.op("Transpose", d.op("Reshape", y, d.ints(1, S, S, C, -1)), perm=[0, 3, 4, 1, 2])


@idiom()
def positions_in_the_batch(d: Draft) -> None:
    _positions(d, lambda d, x: d.op("Conv", x, d.random(C, C, 3), pads=[2, 0]))


@idiom(rate="dense")
def positions_in_the_batch_with_a_stride(d: Draft) -> None:
    _positions(d, lambda d, x: d.op("Conv", x, d.random(C, 1, 3), group=C, strides=[2], pads=[1, 1]))


@idiom()
def positions_in_the_batch_at_half_the_rate(d: Draft) -> None:
    _positions(d, lambda d, x: d.op("Conv", x, d.random(C, 1, 3), group=C, strides=[2], pads=[1, 1]))


@idiom()
def positions_in_the_batch_pooled(d: Draft) -> None:
    _positions(d, lambda d, x: d.op("MaxPool", d.op("Relu", x), kernel_shape=[3], pads=[2, 0]))


@idiom()
def positions_in_the_batch_averaged(d: Draft) -> None:
    _positions(d, lambda d, x: d.op("AveragePool", x, kernel_shape=[3], pads=[1, 1]))


@idiom()
def tokens_of_all_frames(d: Draft) -> None:
    x = d.op("Reshape", d.op("Transpose", d.conv(), perm=[0, 2, 3, 4, 1]), d.ints(T * S * S, C))
    x = d.op("Gemm", x, d.random(C, 3), d.random(3))
    d.op("LayerNormalization", x, d.random(3), d.random(3))
    d.op("Reshape", d.last, d.ints(1, T, S, S, 3))


@idiom()
def persons_and_joints(d: Draft) -> None:
    """(N, C, T, V, M) -> (N*M, V*C, T), normalized, and back: ST-GCN."""
    x = d.op("Reshape", d.op("Transpose", "clip", perm=[0, 4, 3, 1, 2]), d.ints(S, S * C, T))
    x = d.op("BatchNormalization", x, *(d.const(np.linspace(1, 2, S * C)) for _ in range(4)))
    x = d.op("Transpose", d.op("Reshape", x, d.ints(1, S, S, C, T)), perm=[0, 1, 3, 4, 2])
    x = d.op("Conv", d.op("Reshape", x, d.ints(S, C, T, S)), d.random(C, C, 3, 1), pads=[1, 0, 1, 0])
    d.mean(d.op("Reshape", x, d.ints(1, S, C, T, S)), 1, keep=False)


@idiom()
def groups_of_channels(d: Draft) -> None:
    x = d.op("Reshape", d.conv(), d.ints(1, 2, C // 2, T, S, S))
    d.op("BatchNormalization", d.op("Gather", x, d.const(0, np.int64), axis=1), *(d.const([1.5]) for _ in range(4)))


@idiom()
def frames_stacked_as_channels(d: Draft) -> str:
    x = d.op("Conv", d.op("Reshape", d.conv(), d.ints(1, C * T, S, S)), d.random(3, C * T, 3, 3), d.random(3), pads=[1] * 4)
    return d.op("Flatten", d.op("GlobalAveragePool", x))


@idiom((1, T, C, S, S), layout="NTCHW")
def frames_first_stacked_as_channels(d: Draft) -> None:
    x = d.op("Conv", d.op("Reshape", "clip", d.ints(1, T * C, S, S)), d.random(3, C * T, 2, 2), strides=[2, 2])
    d.op("Gemm", d.op("Flatten", d.op("Relu", x)), d.random(12, 3))


@idiom((1, C, T, S, S))
def a_classifier_on_all_frames(d: Draft) -> None:
    x = d.op("Gemm", d.op("Flatten", d.mean(d.conv(), 3, 4)), d.random(5, C * T), d.random(5), transB=1, alpha=0.5, beta=2.0)
    d.op("Gemm", d.op("Relu", x), d.random(5, 3))


@idiom((1, C, T, S, S))
def a_classifier_on_all_values(d: Draft) -> None:
    d.op("MatMul", d.op("Flatten", d.op("AveragePool", d.conv(), kernel_shape=[1, 2, 2])), d.random(C * T * 9, 3))


@idiom((1, C, T, S, S))
def a_classifier_on_all_frames_of_half_the_rate(d: Draft) -> None:
    d.op("Gemm", d.op("Flatten", d.mean(d.conv(strides=[2, 1, 1]), 3, 4)), d.random(C * T // 2, 3))


@idiom()
def a_gate_that_keeps_a_frame_in_the_batch(d: Draft) -> None:
    x = d.conv()
    g = d.op("Reshape", d.op("Transpose", d.mean(x, 2, 3, 4), perm=[0, 2, 1, 3, 4]), d.ints(1, C, 1, 1))
    g = d.op("Sigmoid", d.op("Conv", g, d.random(C, C, 1, 1)))
    d.op("Mul", x, d.op("Transpose", d.op("Reshape", g, d.ints(1, 1, C, 1, 1)), perm=[0, 2, 1, 3, 4]))


@idiom(se="window")
def a_gate_that_loses_its_time(d: Draft) -> None:
    x = d.conv()
    g = d.op("Gemm", d.op("Flatten", d.op("GlobalAveragePool", x)), d.random(C, C))
    d.op("Mul", x, d.op("Reshape", d.op("Sigmoid", g), d.ints(1, C, 1, 1, 1)))


# -- time itself -------------------------------------------------------------------------------------------------------


def _cut(d: Draft, x: str, start: int, end: int, axis: int = 2) -> str:
    return d.op("Slice", x, d.ints(start), d.ints(end), d.ints(axis))


@idiom()
def rolled_by_two(d: Draft) -> None:
    x = d.conv()
    d.conv(d.op("Concat", _cut(d, x, T - 2, T), _cut(d, x, 0, T - 2), axis=2))


@idiom()
def rolled_back(d: Draft) -> None:
    x = d.conv()
    d.conv(d.op("Concat", _cut(d, x, 1, T), _cut(d, x, 0, 1), axis=2))


@idiom()
def the_first_frame_repeated(d: Draft) -> None:
    x = d.conv()
    d.conv(d.op("Concat", _cut(d, x, 0, 1), _cut(d, x, 0, T - 1), axis=2))


@idiom()
def the_first_frame_then_differences(d: Draft) -> None:
    x = d.conv()
    difference = d.op("Sub", _cut(d, x, 1, T), _cut(d, x, 0, T - 1))
    d.conv(d.op("Concat", _cut(d, x, 0, 1), difference, axis=2))


@idiom(rate="dense")
def the_first_frame_repeated_behind_a_stride(d: Draft) -> None:
    x = d.conv(strides=[2, 1, 1])
    d.conv(d.op("Concat", _cut(d, x, 0, 1), _cut(d, x, 0, T // 2 - 1), axis=2))


@idiom()
def zeros_by_subtraction(d: Draft) -> None:
    x = d.conv()
    d.conv(d.op("Concat", d.op("Sub", _cut(d, x, 0, 1), _cut(d, x, 0, 1)), _cut(d, x, 0, T - 1), axis=2))


@idiom()
def zeros_of_a_wire_by_subtraction(d: Draft) -> None:
    x = d.conv()
    d.conv(d.op("Concat", _cut(d, d.op("Sub", x, x), 0, 1), _cut(d, x, 0, T - 1), axis=2))


@idiom()
def edges_of_time(d: Draft) -> None:
    d.conv(d.op("Pad", d.conv(), d.ints(0, 0, 2, 0, 0, 0, 0, 0, 0, 0), mode="edge"), pads=[0] * 6)


def _assigned(d: Draft, x: str, ranges: list[tuple[int, int]], values: str) -> str:
    """x[a:b, c:d, ...] = values, as exporters write it."""
    grid = np.stack(np.meshgrid(*(np.arange(*r) for r in ranges), indexing="ij"), axis=-1)
    return d.op("ScatterND", x, d.const(grid, np.int64), values)


@idiom((1, T, C, S, S), layout="NTCHW")
def a_shift_in_place(d: Draft) -> None:
    zeros = d.const(np.zeros((1, T, C, S, S)))
    y = _assigned(d, zeros, [(0, 1), (1, T), (0, 1)], d.op("Slice", "clip", d.ints(0, 0), d.ints(T - 1, 1), d.ints(1, 2)))
    y = _assigned(d, y, [(0, 1), (0, T), (1, C)], _cut(d, "clip", 1, C, 2))
    d.op("Transpose", y, perm=[0, 2, 1, 3, 4])


@idiom((1, T, C, S, S), layout="NTCHW")
def a_shift_in_place_to_both_sides(d: Draft) -> None:
    y = _assigned(d, "clip", [(0, 1), (1, T), (0, 1)], d.op("Slice", "clip", d.ints(0, 0), d.ints(T - 1, 1), d.ints(1, 2)))
    y = _assigned(d, y, [(0, 1), (0, T - 1), (1, 2)], d.op("Slice", "clip", d.ints(1, 1), d.ints(T, 2), d.ints(1, 2)))
    d.op("Transpose", y, perm=[0, 2, 1, 3, 4])


@idiom((S, C, T, S), layout="HCTW")
def a_column_in_place(d: Draft) -> None:
    d.op("ScatterND", "clip", d.const([[1]], np.int64), d.op("Mul", _cut(d, "clip", 1, 2, 0), d.const(1.5)))


@idiom()
def the_last_frame(d: Draft) -> None:
    x = d.conv(d.conv(), pads=[2, 0, 0, 0, 0, 0])
    d.op("Gemm", d.op("Gather", d.mean(x, 3, 4, keep=False), d.const(-1, np.int64), axis=2), d.random(C, 3))


@idiom()
def the_last_frame_as_a_slice(d: Draft) -> None:
    d.op("Gemm", d.op("Flatten", _cut(d, d.mean(d.conv(), 3, 4), T - 1, T)), d.random(C, 3))


@idiom()
def the_frame_in_the_middle(d: Draft) -> None:
    d.op("Gather", d.conv(), d.const(T // 2, np.int64), axis=2)


@idiom()
def a_frame_and_the_one_three_before(d: Draft) -> None:
    x = d.mean(d.conv(), 3, 4, keep=False)
    d.op("Sub", *(d.op("Gather", x, d.const(i, np.int64), axis=2) for i in (T - 1, T - 4)))


@idiom()
def an_average_that_leaves_padding_out(d: Draft) -> None:
    d.op("AveragePool", d.conv(), kernel_shape=[3, 3, 3], pads=[2, 1, 1, 1, 1, 1])


@idiom()
def an_average_that_leaves_padding_out_with_a_stride(d: Draft) -> None:
    d.op("AveragePool", d.conv(), kernel_shape=[3, 1, 1], pads=[1, 0, 0, 1, 0, 0], strides=[2, 1, 1])


@idiom()
def padding_that_is_not_said(d: Draft) -> None:
    x = d.op("Conv", "clip", d.random(C, C, 3, 2, 3), auto_pad="SAME_UPPER")
    d.op("MaxPool", x, kernel_shape=[2, 2, 2], auto_pad="SAME_LOWER")


@idiom(taps="all")
def a_pool_that_spans_the_clip_on_its_way(d: Draft) -> None:
    x = d.op("AveragePool", d.conv(strides=[4, 1, 1]), kernel_shape=[2, 2, 2], strides=[2, 2, 2])
    d.mean(d.conv(x), 2, 3, 4)


# -- inputs ------------------------------------------------------------------------------------------------------------


@idiom(("N", C, T, S, S))
def an_open_batch(d: Draft) -> str:
    return headed(d, 2, 3, 4)


@idiom(("N", C, "T", "H", "W"), frames=T, size=(S, S))
def everything_open(d: Draft) -> str:
    d.conv()
    return headed(d, 2, 3, 4)


@idiom(kind=TensorProto.UINT8)
def bytes_in(d: Draft) -> None:
    d.conv(d.op("Cast", "clip", to=TensorProto.FLOAT))


@idiom()
def halves_inside(d: Draft) -> None:
    x = d.op("Cast", "clip", to=TensorProto.FLOAT16)
    x = d.op("Conv", x, d.const(np.random.default_rng(0).standard_normal((C, C, 3, 1, 1)), np.float16), pads=[1, 0, 0, 1, 0, 0])
    d.op("Cast", x, to=TensorProto.FLOAT)


@idiom((1, C, T), layout="NCT")
def vectors(d: Draft) -> None:
    d.op("Conv", "clip", d.random(C, C, 3), pads=[2, 0])


@idiom((1, C, T, 5, 2), layout="NCTVM")
def joints_of_persons(d: Draft) -> None:
    d.op("Conv", "clip", d.random(C, C, 3, 1, 1), pads=[1, 0, 0, 1, 0, 0])


def _shared() -> list[dict[str, str]]:
    return list(csv.DictReader((IDIOMS / "idioms.csv").read_text().splitlines())) if IDIOMS.exists() else []


@pytest.mark.parametrize("name", STREAMS)
def test_it_streams(name: str) -> None:
    row, draft, options = STREAMS[name]
    made = stream(Held(written(row, draft)), None, **{"layout": "NCTHW", **options})
    assert made.difference is not None and made.difference < 1e-5
    assert onnx.checker.check_model(made.step, full_check=True) is None


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
    if row["name"] in ("cumsum_time", "gru_after_conv", "lstm") and got != "stream":
        pytest.skip("recurrences over time are not streamed yet")
    assert got.startswith(row["want"])
