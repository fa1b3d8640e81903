"""Idioms of time: axes that hold it and something else, shifts, edges, windows, picked frames; and inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from laws.drafts import C, Draft, S, T
from laws.idioms import headed, idiom

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


@idiom((T, C, S, S), layout="TCHW")
def the_mean_of_all_tokens(d: Draft) -> str:
    x = d.op("Reshape", d.op("Transpose", "clip", perm=[0, 2, 3, 1]), d.ints(1, T * S * S, C))
    return d.mean(d.op("Relu", d.op("MatMul", x, d.random(C, 5))), 1, keep=False)


@idiom()
def the_largest_of_all_tokens_positions_first(d: Draft) -> str:
    x = d.op("Reshape", d.op("Transpose", d.conv(), perm=[0, 3, 4, 2, 1]), d.ints(1, S * S * T, C))
    return d.op("ReduceMax", x, d.ints(1), keepdims=0)


@idiom()
def tokens_of_all_frames_as_output(d: Draft) -> None:
    d.op("Reshape", d.op("Transpose", d.conv(), perm=[0, 3, 4, 2, 1]), d.ints(1, S * S * T, C))


@idiom((1, T, S, S, 3), kind=TensorProto.UINT8, layout="NTHWC")
def bytes_with_channels_last(d: Draft) -> None:
    x = d.op("Cast", d.op("Transpose", "clip", perm=[0, 4, 1, 2, 3]), to=TensorProto.FLOAT)
    d.op("Conv", d.op("Div", x, d.const(255.0)), d.random(C, 3, 3, 1, 1), pads=[1, 0, 0, 1, 0, 0])


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
def mirrored_at_its_first_frame(d: Draft) -> None:
    x = d.conv()
    d.conv(d.op("Concat", _cut(d, x, 2, 3), _cut(d, x, 1, 2), x, axis=2), pads=[0] * 6)


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


@idiom()
def padding_of_dilated_windows_that_is_not_said(d: Draft) -> None:
    x = d.op("Conv", "clip", d.random(C, C, 3, 2, 3), auto_pad="SAME_UPPER", dilations=[2, 2, 1])
    d.op("MaxPool", x, kernel_shape=[2, 2, 2], dilations=[2, 1, 2], strides=[1, 2, 1], auto_pad="SAME_LOWER")


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
