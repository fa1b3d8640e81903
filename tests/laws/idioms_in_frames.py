"""Idioms that stay inside a frame: reductions, products, sizes, comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from laws.drafts import C, Draft, S, T
from laws.idioms import idiom

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
def channels_picked_by_a_table(d: Draft) -> None:
    d.op("ReduceSum", d.op("Gather", d.conv(), d.const([[0, 1], [1, -1], [0, 0]], np.int64), axis=1), d.ints(2), keepdims=0)


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
