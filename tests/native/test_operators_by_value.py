"""Operators that move, compare or multiply single values, compiled for every processor that runs here, against onnxruntime."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from everyframe.errors import EngineError
from everyframe.native.build import write_sources
from everyframe.native.compilers import command
from everyframe.native.generate import BASE_FLAGS, generate
from everyframe.native.target import target
from native.operators import CPUS, Sketch, compiled, distance

CLOSE = 1e-5


def ints(sketch: Sketch, *values: int) -> str:
    return sketch.constant(values, np.int64)


@pytest.mark.parametrize("cpu", CPUS)
def test_moves_of_single_values(cpu: str, tmp_path: Path) -> None:
    """Whatever an operator does with positions is one copy by a table: of one plane or of many, with zeros from nowhere."""
    sketch = Sketch((2, 8, 4, 6))
    x = sketch.op("Relu", "frames")
    moved = [
        sketch.op("Transpose", x, perm=[0, 3, 1, 2]), sketch.op("Transpose", x, perm=[3, 2, 1, 0]),
        sketch.op("Reshape", x, ints(sketch, 4, 4, 3, 8)), sketch.op("Reshape", x, ints(sketch, 16, 24)),
        sketch.op("Slice", x, ints(sketch, -1, -1), ints(sketch, -9, -9), ints(sketch, 2, 3), ints(sketch, -1, -2)),
        sketch.op("Concat", x, "frames", axis=3), sketch.op("Gather", x, ints(sketch, 3, 0, 3), axis=2),
        sketch.op("Expand", sketch.op("ReduceMax", x, ints(sketch, 2)), ints(sketch, 2, 8, 5, 6)),
        sketch.op("Tile", x, ints(sketch, 1, 2, 1, 3)), sketch.op("DepthToSpace", x, blocksize=2),
        sketch.op("SpaceToDepth", x, blocksize=2), sketch.op("Trilu", x, upper=0),
        *(sketch.op("Pad", x, ints(sketch, 0, 1, 2, 1, 0, 0, 1, 3), mode=mode) for mode in ("reflect", "edge", "wrap")),
        sketch.op("GatherElements", x, sketch.constant(sketch.rng.integers(0, 4, (2, 8, 3, 6)), np.int64), axis=2),
        sketch.op("ScatterND", x, sketch.constant([[0, 1, 2], [1, 7, 3]], np.int64), sketch.normal(2, 6)),
        sketch.op("DepthToSpace", x, blocksize=2, mode="CRD"),
    ]  # fmt: skip
    for tensor in moved:
        sketch.answer(tensor)
    for tensor, channels in ((moved[0], 6), (moved[9], 2), (moved[14], 9)):  # read by what wants blocks and borders
        sketch.answer(sketch.op("Conv", tensor, sketch.normal(5, channels, 3, 3), pads=[1] * 4))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_reductions_over_any_axes(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((2, 5, 3, 4))
    near_one = sketch.op("Add", sketch.op("Abs", "frames"), sketch.constant(0.5))
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
               "ReduceLogSum", "ReduceLogSumExp"):  # fmt: skip
        for axes, keep in (([1], 1), ([3], 0), ([0, 2], 1), ([1, 2, 3], 0)):
            sketch.answer(sketch.op(op, near_one, ints(sketch, *axes), keepdims=keep))
    sketch.answer(sketch.op("ReduceMax", "frames", keepdims=0))
    sketch.answer(sketch.op("ReduceSum", "frames", noop_with_empty_axes=1))
    for op in ("ArgMax", "ArgMin"):
        found = sketch.op(op, sketch.op("Round", "frames"), axis=2, select_last_index=1, keepdims=0)
        sketch.answer(sketch.op("Cast", found, to=1))
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for axis in (1, -1):
            sketch.answer(sketch.op(op, "frames", axis=axis))
    sketch.answer(sketch.op("CumSum", "frames", sketch.constant(1, np.int64), exclusive=1, reverse=1))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_comparisons_and_choices(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((2, 5, 3, 4))
    x, y = sketch.op("Round", "frames"), sketch.op("Round", sketch.op("Neg", "frames"))
    made = [sketch.op(op, x, y) for op in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")]
    made += [sketch.op(op, made[0], made[4]) for op in ("And", "Or", "Xor")] + [sketch.op("Not", made[0])]
    made += [sketch.op("IsNaN", x), sketch.op("IsInf", sketch.op("Div", x, sketch.constant(0.0)), detect_negative=0)]
    for condition in made:
        sketch.answer(sketch.op("Cast", condition, to=1))
    sketch.answer(sketch.op("Where", made[2], x, sketch.op("ReduceMean", y, ints(sketch, 2, 3))))
    sketch.answer(sketch.op("Where", made[3], sketch.constant(2.0), sketch.normal(5, 1, 1)))
    sketch.answer(sketch.op("Cast", sketch.op("Cast", "frames", to=7), to=1))
    sketch.answer(sketch.op("Sign", x))
    sketch.answer(sketch.op("Mod", "frames", sketch.constant(0.7), fmod=1))
    sketch.answer(sketch.op("Clip", "frames", sketch.op("ReduceMin", x, keepdims=0), sketch.constant(0.5)))
    part = sketch.op("Tanh", "frames")
    for op in ("Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Atanh"):
        sketch.answer(sketch.op(op, part))
    sketch.answer(sketch.op("Acosh", sketch.op("Exp", sketch.op("Abs", "frames"))))
    sketch.answer(sketch.op("Shrink", "frames", lambd=0.3, bias=0.1))
    row = sketch.op("Slice", x, ints(sketch, 0), ints(sketch, 1), ints(sketch, 2))  # pictures of one row meet those of three
    sketch.answer(sketch.op("Mul", "frames", row))
    sketch.answer(sketch.op("Add", sketch.op("Squeeze", row, ints(sketch, 2)), sketch.normal(4)))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_products_of_computed_matrices(cpu: str, tmp_path: Path) -> None:
    """As in attention: over heads, with every operand known only at run time."""
    sketch = Sketch((2, 3, 5, 8))
    x = sketch.op("Relu", "frames")
    turned = sketch.op("Transpose", "frames", perm=[0, 1, 3, 2])
    weights = sketch.op("Softmax", sketch.op("MatMul", x, turned), axis=-1)
    sketch.answer(sketch.op("MatMul", weights, x))
    sketch.answer(sketch.op("MatMul", x, sketch.normal(8, 7)))
    sketch.answer(sketch.op("MatMul", sketch.normal(4, 5), x))
    flat = sketch.op("Reshape", x, ints(sketch, 6, 40))
    sketch.answer(sketch.op("MatMul", flat, sketch.op("Transpose", flat)))
    sketch.answer(sketch.op("Einsum", x, "frames", equation="nchw,nkhw->nhck"))
    sketch.answer(sketch.op("Einsum", x, sketch.normal(8, 6), equation="nchw,wv->nchv"))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_resizing(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((1, 3, 5, 6))
    for mode, extra in (("nearest", {}), ("linear", {}), ("cubic", {}), ("linear", {"antialias": 1})):
        for transform in ("half_pixel", "asymmetric", "align_corners"):
            scales = sketch.constant([1, 1, 2.0, 0.5] if not extra else [1, 1, 0.6, 0.5])
            attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": transform, **extra}
            sketch.answer(sketch.op("Resize", "frames", "", scales, **attrs))
    sketch.answer(sketch.op("Resize", "frames", "", "", ints(sketch, 1, 3, 7, 9), mode="linear"))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_transposed_convolutions(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((2, 6, 4, 5))
    for group, attrs in (
        (1, {}), (1, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}), (2, {"strides": [3, 1]}),
        (6, {"strides": [2, 2], "dilations": [1, 2]}), (1, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        (1, {"strides": [2, 3], "output_shape": [9, 15]}), (1, {"strides": [3, 3]}),
        (2, {"strides": [4, 5], "pads": [2, 0, 1, 3]}),
        (1, {"strides": [6, 4], "dilations": [3, 2], "output_padding": [5, 1]}), (1, {"strides": [3, 2], "pads": [3, 3, 4, 3]}),
    ):  # fmt: skip
        weight = sketch.normal(6, 6 // group, 3, 3)
        sketch.answer(sketch.op("Relu", sketch.op("ConvTranspose", "frames", weight, sketch.normal(6), group=group, **attrs)))
    volume = sketch.op("Reshape", "frames", ints(sketch, 1, 6, 2, 4, 5))
    more = {"strides": [2, 1, 3], "pads": [1, 0, 2, 0, 2, 1], "dilations": [1, 2, 1]}
    sketch.answer(sketch.op("ConvTranspose", volume, sketch.normal(6, 3, 2, 2, 4), group=1, **more))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_normalizations(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((2, 6, 4, 5))
    sketch.answer(sketch.op("LayerNormalization", "frames", sketch.normal(4, 5), sketch.normal(4, 5), axis=2))
    last = sketch.op("Transpose", "frames", perm=[0, 2, 3, 1])  # channels last, as in transformers
    sketch.answer(sketch.op("LayerNormalization", last, sketch.normal(6), sketch.normal(6), axis=-1))
    sketch.answer(sketch.op("InstanceNormalization", "frames", sketch.normal(6), sketch.normal(6)))
    sketch.answer(sketch.op("LpNormalization", "frames", axis=1, p=2))
    sketch.answer(sketch.op("LRN", "frames", size=3, alpha=0.5))
    sketch.answer(sketch.op("MeanVarianceNormalization", "frames"))
    line = sketch.op("Reshape", "frames", ints(sketch, 2, 6, 20))  # one axis only
    sketch.answer(sketch.op("Conv", line, sketch.normal(4, 3, 3), sketch.normal(4), pads=[1, 1], group=2))
    sketch.answer(sketch.op("AveragePool", line, kernel_shape=[3], strides=[2]))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_many_rows_are_few_calls(cpu: str, tmp_path: Path) -> None:
    """A block of a transformer: every position is a row, and all rows go through an operator at once."""
    sketch = Sketch((1, 8, 6, 7))
    rows = sketch.op("Transpose", sketch.op("Reshape", "frames", ints(sketch, 1, 8, 42)), perm=[0, 2, 1])
    normal = sketch.op("LayerNormalization", rows, sketch.normal(8), sketch.normal(8), axis=-1)
    wide = sketch.op("Gelu", sketch.op("MatMul", normal, sketch.normal(8, 12)))
    sketch.answer(sketch.op("Softmax", sketch.op("Add", rows, sketch.op("MatMul", wide, sketch.normal(12, 8))), axis=-1))
    assert len(generate(sketch.model(), (), target(cpu))[0].work) < 40
    assert distance(sketch, tmp_path, cpu) <= CLOSE


ALL = (
    test_moves_of_single_values, test_reductions_over_any_axes, test_comparisons_and_choices, test_products_of_computed_matrices,
    test_resizing, test_transposed_convolutions, test_normalizations, test_many_rows_are_few_calls,
)  # fmt: skip


@pytest.mark.parametrize("cpu", CPUS)
def test_integers_with_scales_of_their_own(cpu: str, tmp_path: Path) -> None:
    """QLinearConv and QLinearMatMul are what their quantized and dequantized parts say, bit for bit."""
    rng = np.random.default_rng(0)
    weights, bias = rng.integers(-99, 99, (8, 6, 3, 3)).astype(np.int8), rng.integers(-500, 500, 8).astype(np.int32)
    scales = rng.uniform(0.001, 0.01, 8).astype(np.float32)
    matrix = rng.integers(-99, 99, (8 * 36, 5)).astype(np.int8)

    def network(whole: bool) -> Sketch:
        sketch = Sketch((1, 6, 6, 6))
        entering, middle, leaving = (
            (sketch.constant(scale), sketch.constant(zero, np.uint8)) for scale, zero in ((0.03, 120), (0.05, 90), (0.4, 131))
        )
        kernel = sketch.constant(weights, np.int8), sketch.constant(scales), sketch.constant([0] * 8, np.int8)
        columns = sketch.constant(matrix, np.int8), sketch.constant(0.01), sketch.constant(0, np.int8)
        added = sketch.constant(bias, np.int32)
        x = sketch.op("QuantizeLinear", "frames", *entering)
        if whole:
            x = sketch.op("QLinearConv", x, *entering, *kernel, *middle, added, pads=[1] * 4)
            x = sketch.op("QLinearMatMul", sketch.op("Flatten", x), *middle, *columns, *leaving)
        else:
            sides = sketch.op("DequantizeLinear", added, sketch.constant(scales * np.float32(0.03)), axis=0)
            parts = sketch.op("DequantizeLinear", x, *entering), sketch.op("DequantizeLinear", *kernel, axis=0), sides
            x = sketch.op("QuantizeLinear", sketch.op("Conv", *parts, pads=[1] * 4), *middle)
            parts = sketch.op("DequantizeLinear", sketch.op("Flatten", x), *middle), sketch.op("DequantizeLinear", *columns)
            x = sketch.op("QuantizeLinear", sketch.op("MatMul", *parts), *leaving)
        sketch.answer(sketch.op("DequantizeLinear", x, *leaving))
        return sketch

    frames = np.random.default_rng(1).standard_normal((1, 6, 6, 6), np.float32)
    one, other = (
        compiled(network(whole).model(), tmp_path / str(whole), cpu).start(threads=1).step(frames) for whole in (True, False)
    )
    np.testing.assert_array_equal(one, other)
    assert len(np.unique(one)) > 3


def above(sketch: Sketch, best: str) -> None:
    """All channels of a position put to one place, which others share; the last place is nowhere, and empty ones stay what they
    are: into nothing, into another tensor, and into a picture with a border for the convolution that reads it."""

    def part(x: str, begin: int, end: int, axis: int) -> str:
        return sketch.op("Slice", x, ints(sketch, begin), ints(sketch, end), ints(sketch, axis))

    for axis, kind in ((2, "max"), (2, "none"), (1, "add"), (1, "mul")):
        at = sketch.op("Sub", best, sketch.constant(7 if kind == "add" else 0, np.int64))  # -7 to 0: from the end
        side, whole = ((1, 24), (1, 8, 24)) if axis == 2 else ((24, 1), (1, 24, 8))
        index = sketch.op("Expand", sketch.op("Reshape", at, ints(sketch, 1, *side)), ints(sketch, *whole))
        given = sketch.op("Reshape", part("frames", 0, 1, 0), ints(sketch, *whole))
        base = sketch.constant(np.zeros((1, 8, 31)))
        if axis == 1:
            base = sketch.op("Tile", part(given, 0, 8, 1), ints(sketch, 1, 4, 1))
        put = sketch.op("ScatterElements", base, index, given, axis=axis, reduction=kind)
        if axis == 1:
            sketch.answer(put)
            continue
        kept = sketch.op("Reshape", part(put, 0, 30, 2), ints(sketch, 1, 8, 5, 6))
        sketch.answer(sketch.op("Conv", kept, sketch.normal(3, 8, 3, 3), pads=[1, 1, 1, 1], strides=[2, 1]))
    numbers = [sketch.op("Mod", best, sketch.constant(n, np.int64)) for n in (3, 2)]
    cells = sketch.op("Concat", *(sketch.op("Reshape", each, ints(sketch, 24, 1)) for each in numbers), axis=1)
    rows = sketch.op("Reshape", part("frames", 1, 2, 0), ints(sketch, 24, 8))
    sketch.answer(sketch.op("ScatterND", sketch.constant(np.full((3, 2, 8), 0.5)), cells, rows, reduction="min"))


def places() -> Sketch:
    """Indices that the network computes: picked, put, ranked, sampled between values."""
    sketch = Sketch((2, 8, 4, 6), opset=22)
    half = sketch.op("Slice", "frames", ints(sketch, 0), ints(sketch, 3), ints(sketch, 3))  # (2, 8, 4, 3)
    best = sketch.op("ArgMax", half, axis=1, keepdims=0)  # (2, 4, 3), 0 to 7
    few = sketch.op("Mod", best, sketch.constant(4, np.int64))
    flat = sketch.op("Reshape", half, ints(sketch, 8, 24))
    at = sketch.op("Reshape", best, ints(sketch, 1, 24))
    for tensor in (
        sketch.op("Gather", flat, best, axis=0), sketch.op("Gather", "frames", few, axis=2),
        sketch.op("GatherElements", flat, at, axis=0),
        sketch.op("GatherND", flat, sketch.op("Reshape", best, ints(sketch, 4, 6, 1))),
        *(sketch.op("ScatterElements", flat, at, sketch.normal(1, 24), axis=0, **more)
          for more in ({}, {"reduction": "add"}, {"reduction": "max"})),
        sketch.op("ScatterND", flat, sketch.op("Reshape", best, ints(sketch, 24, 1)), sketch.normal(24, 24), reduction="min"),
        sketch.op("OneHot", few, sketch.constant(5, np.int64), sketch.constant([-1.0, 2.0]), axis=1),
    ):  # fmt: skip
        sketch.answer(tensor)
    above(sketch, best)
    for axis, k, largest in ((1, 3, 1), (-1, 6, 0)):
        sketch.nodes.append(
            helper.make_node("TopK", ["frames", ints(sketch, k)], [f"top{k}", f"at{k}"], axis=axis, largest=largest)
        )
        sketch.answer(f"top{k}")
        sketch.answer(sketch.op("Cast", f"at{k}", to=1))
    sketch.nodes.append(helper.make_node("MaxPool", ["frames"], ["pooled", "where"], kernel_shape=[2, 2], strides=[2, 2]))
    sketch.answer(sketch.op("MaxUnpool", "pooled", "where", kernel_shape=[2, 2], strides=[2, 2]))
    grid = sketch.op(
        "Transpose", sketch.op("Slice", "frames", ints(sketch, 0), ints(sketch, 2), ints(sketch, 1)), perm=[0, 2, 3, 1]
    )
    for mode in ("nearest", "linear", "cubic"):
        for padding in ("zeros", "border", "reflection"):
            sketch.answer(sketch.op("GridSample", "frames", grid, mode=mode, padding_mode=padding, align_corners=0))
    offset = sketch.op("Conv", "frames", sketch.normal(18, 8, 3, 3), pads=[1] * 4)
    mask = sketch.op("Sigmoid", sketch.op("Conv", "frames", sketch.normal(9, 8, 1, 1)))
    bent = [offset, sketch.normal(4), mask]
    sketch.answer(sketch.op("DeformConv", "frames", sketch.normal(4, 4, 3, 3), *bent, pads=[1] * 4, group=2))
    return sketch


def recurrences() -> Sketch:
    """Sequences that are there all at once, both ways; kernels and matrices that the network computes; several factors."""
    sketch = Sketch((5, 8, 2, 2))
    row = sketch.op("Reshape", "frames", ints(sketch, 5, 4, 8))
    options: dict[str, Any]
    for op, gates, options in (("LSTM", 4, {}), ("GRU", 3, {"linear_before_reset": 1}), ("RNN", 1, {"clip": 0.5})):
        weights = [sketch.normal(2, gates * 6, 8), sketch.normal(2, gates * 6, 6), sketch.normal(2, 2 * gates * 6)]
        made = [f"{op}.{name}" for name in ("y", "h", "c")[: 2 + (op == "LSTM")]]
        sketch.nodes.append(helper.make_node(op, [row, *weights], made, hidden_size=6, direction="bidirectional", **options))
        for tensor in made:
            sketch.answer(tensor)
    weight = sketch.op("Reshape", sketch.op("ReduceMean", "frames", ints(sketch, 2, 3)), ints(sketch, 8, 1, 5, 1))
    shifted = sketch.op("Reshape", "frames", ints(sketch, 1, 8, 5, 4))
    sketch.answer(sketch.op("Conv", shifted, weight, group=8, pads=[2, 0, 2, 0]))
    scales = [sketch.constant(np.arange(1, 9) / 64), sketch.constant(np.arange(8), np.uint8)]
    sketch.answer(sketch.op("DequantizeLinear", sketch.op("QuantizeLinear", "frames", *scales, axis=1), *scales, axis=1))
    kernel = sketch.op("Reshape", "frames", ints(sketch, 10, 8, 2, 1))
    sketch.answer(sketch.op("Conv", "frames", kernel, sketch.op("ReduceMean", kernel, ints(sketch, 1, 2, 3), keepdims=0)))
    sketch.answer(sketch.op("Einsum", row, row, row, equation="tpc,tqc,tqd->dp"))
    sketch.answer(sketch.op("Einsum", row, equation="...c->c..."))
    sketch.answer(
        sketch.op("Gemm", sketch.op("Flatten", "frames"), sketch.op("Flatten", "frames"), sketch.normal(5, 5), transB=1)
    )
    return sketch


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("made", [places, recurrences])
def test_what_is_known_only_at_run_time(made: Callable[[], Sketch], cpu: str, tmp_path: Path) -> None:
    assert distance(made(), tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", ["generic", "aarch64"])
@pytest.mark.parametrize("made", [places, recurrences])
def test_compilers_have_nothing_to_say(made: Callable[[], Sketch], cpu: str, tmp_path: Path) -> None:
    try:
        words = command(target(cpu))
    except EngineError as missing:
        pytest.skip(str(missing.what))
    source, _, fitting = generate(made().model(), (), target(cpu), where="sketch", stem="sketch")
    write_sources(source, tmp_path)
    flags = [*BASE_FLAGS, "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run([*words, *flags, str(tmp_path / "sketch.c")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), fitting.name
