"""Every operator, compiled for every processor that runs here, against onnxruntime."""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.native.generate import generate
from everyframe.native.target import target
from native import test_operators_by_value
from native.operators import CPUS, QUICK, Sketch, compiled, distance, sanitized, widest

CLOSE = 1e-5


#: what follows a convolution
THEN = ("", "Relu", "Clip", "Sigmoid", "HardSwish", "Tanh", "silu", "residual", "relu+residual")


@st.composite
def convolutions(draw: Any) -> dict[str, Any]:
    """A shape and some convolutions over it: odd channels, any stride, dilation, padding, groups and zeros in the weights."""
    channels = draw(st.sampled_from([1, 2, 3, 5, 8, 13, 16, 24, 33]))
    size = draw(st.sampled_from([(1, 1), (1, 7), (5, 1), (6, 9), (7, 7), (13, 13), (9, 56)]))
    layers = []
    for _ in range(draw(st.integers(2, 4))):
        kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
        dilation = draw(st.sampled_from([(1, 1), (2, 1), (1, 3)]))
        pads = draw(st.tuples(*[st.integers(0, 3)] * 4))
        reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        if any(n + a + b <= r for n, a, b, r in zip(size, pads[:2], pads[2:], reach, strict=True)):
            kernel, dilation = (1, 1), (1, 1)
        groups = draw(st.sampled_from([1, 1, 1, channels, *(g for g in (2, 3, 4) if channels % g == 0)]))
        layers.append({
            "kernel": kernel, "dilation": dilation, "pads": pads, "groups": groups,
            "strides": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
            "out": channels if groups == channels else groups * draw(st.sampled_from([1, 2, 5, 8, 17])),
            "zeros": draw(st.sampled_from(["none", "none", "entries", "filters", "blocks", "all"])),
            "bias": draw(st.booleans()),
            "then": draw(st.sampled_from(THEN)),
        })  # fmt: skip
    return {"shape": (draw(st.integers(1, 2)), channels, *size), "layers": layers}


def _pruned(weight: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Zeros as pruning leaves them."""
    keep = {
        "none": np.ones_like(weight, bool),
        "entries": np.broadcast_to(rng.random((1, *weight.shape[1:])) < 0.3, weight.shape),
        "filters": np.broadcast_to(rng.random((len(weight), 1, 1, 1)) < 0.5, weight.shape),
        "blocks": np.repeat(rng.random((-(-len(weight) // 8), *weight.shape[1:])) < 0.3, 8, axis=0)[: len(weight)],
        "all": np.zeros_like(weight, bool),
    }[kind]
    return np.where(keep, weight, np.float32(0))


def _conv_network(cases: list[dict[str, Any]]) -> Sketch:
    sketch = Sketch(widest([each["shape"] for each in cases]))
    for case, layer in ((each, layer) for each in cases for layer in each["layers"]):
        frames = sketch.part(case["shape"])
        shape = (layer["out"], case["shape"][1] // layer["groups"], *layer["kernel"])
        weight = _pruned(sketch.rng.standard_normal(shape).astype(np.float32), layer["zeros"], sketch.rng)
        inputs = [frames, sketch.constant(weight), *([sketch.normal(layer["out"])] if layer["bias"] else [])]
        attrs = {"kernel_shape": layer["kernel"], "strides": layer["strides"], "pads": layer["pads"],
                 "dilations": layer["dilation"], "group": layer["groups"]}  # fmt: skip
        made = sketch.op("Conv", *inputs, **attrs)
        then = layer["then"]
        if then == "Clip":
            made = sketch.op("Clip", made, sketch.constant(-0.5), sketch.constant(1.5))
        elif then == "silu":
            made = sketch.op("Mul", made, sketch.op("Sigmoid", made))
        elif "residual" in then:
            other = sketch.op("Conv", frames, sketch.normal(*shape), **attrs)
            other = sketch.op("Abs", other)  # not a convolution any more, so that the two are not summed
            made = sketch.op("Relu", made) if "relu" in then else made
            made = sketch.op("Relu", sketch.op("Add", other, made))
        elif then:
            made = sketch.op(then, made)
        sketch.answer(made)
    sketch.answer("frames")
    return sketch


@pytest.mark.slow
def test_convolutions() -> None:
    @settings(max_examples=9)
    @given(st.lists(convolutions(), min_size=3, max_size=3), st.sampled_from(CPUS))
    def compare(cases: list[dict[str, Any]], cpu: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            assert distance(_conv_network(cases), Path(folder), cpu) <= CLOSE

    compare()


@pytest.mark.parametrize("cpu", CPUS)
def test_convolutions_of_what_is_added_to_them(cpu: str, tmp_path: Path) -> None:
    """x + f(x): nobody else asks for zeros around x."""
    sketch = Sketch((1, 20, 9, 17))
    for group in (1, 2, 20):
        x = sketch.op("Conv", "frames", sketch.normal(20, 20, 1, 1))
        made = sketch.op("Conv", x, sketch.normal(20, 20 // group, 3, 3), group=group, pads=[1] * 4)
        sketch.answer(sketch.op("Relu", sketch.op("Add", made, x)))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_few_channels_are_activated_as_many_are(cpu: str, tmp_path: Path) -> None:
    """Several positions share a vector then: in runs and rows of any length, with what follows the activation."""
    sketch = Sketch((1, 3, 5, 61))
    for out in (1, 2, 3, 5, 8, 9):
        for then in ("Tanh", "Sigmoid", "silu"):
            made = sketch.op("Conv", "frames", sketch.normal(out, 3, 3, 3), sketch.normal(out), strides=[1, 1 + out % 2])
            made = sketch.op("Mul", made, sketch.op("Sigmoid", made)) if then == "silu" else sketch.op(then, made)
            sketch.answer(made)
            sketch.answer(sketch.op("Conv", made, sketch.normal(4, out, 1, 1)))
            sketch.answer(sketch.op("Clip", made, sketch.constant(-0.2), sketch.constant(0.3)))
            sketch.answer(sketch.op("Add", made, sketch.op("Abs", made)))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_convolutions_over_time(cpu: str, tmp_path: Path) -> None:
    """Three axes: strides, dilation and padding of time, whole and depthwise; padding that is skipped at both ends."""
    sketch = Sketch((1, 6, 5, 6, 7))
    for kernel, strides, pads, dilations, group in (
        ((3, 3, 3), (1, 1, 1), (1,) * 6, (1, 1, 1), 1),
        ((3, 1, 1), (2, 1, 1), (1, 0, 0, 1, 0, 0), (1, 1, 1), 1),
        ((3, 3, 3), (1, 2, 2), (1,) * 6, (1, 1, 1), 6),
        ((2, 3, 3), (1, 1, 1), (3, 1, 1, 2, 1, 1), (2, 1, 1), 2),  # windows that lie in the padding altogether
        ((5, 1, 1), (1, 1, 1), (0,) * 6, (1, 1, 1), 6),
    ):
        weight = sketch.normal(6, 6 // group, *kernel)
        sketch.answer(sketch.op("Conv", "frames", weight, sketch.normal(6), kernel_shape=kernel, strides=strides, pads=pads,
                                dilations=dilations, group=group))  # fmt: skip
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_several_slices_of_channels(cpu: str, tmp_path: Path) -> None:
    """So many weights that sums wait in the output between slices, with positions that fill no tile."""
    sketch = Sketch((1, 150, 5, 3))
    made = sketch.op("Conv", "frames", sketch.normal(40, 150, 3, 3), pads=[1, 1, 1, 1])
    sketch.answer(sketch.op("Relu", made))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("columns", [7, 14, 28, 29])
def test_rows_of_every_length(columns: int, cpu: str, tmp_path: Path) -> None:
    """Rows that fill the registers alone, in pairs, or one position too many, for few and many output channels at once."""
    sketch = Sketch((1, 20, 3, columns))
    for channels in (5, 16, 40, 100):
        weight = sketch.rng.standard_normal((channels, 20, 3, 3)).astype(np.float32)
        kernel = sketch.constant(weight * (sketch.rng.random((1, 20, 3, 3)) < 0.5))
        made = sketch.op("Conv", "frames", kernel, sketch.normal(channels), pads=[1, 1, 1, 1])
        sketch.answer(sketch.op("Sigmoid", made))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", [cpu for cpu in CPUS if cpu != "generic"])
@pytest.mark.parametrize(("rows", "columns"), [(16, 4), (16, 1), (64, 1)], ids=["16x4", "16x1", "filters of 64"])
def test_zeros_cost_nothing(rows: int, columns: int, cpu: str, tmp_path: Path) -> None:
    """Kernel groups of `rows` output and `columns` input channels, a third of them kept at each kernel place."""
    rng = np.random.default_rng(0)
    sketch, dense = Sketch((1, 32, 6, 6)), Sketch((1, 32, 6, 6))
    weight = rng.standard_normal((64, 32, 3, 3)).astype(np.float32)
    keep = np.zeros((64 // rows) * (32 // columns) * 9, bool)
    keep[rng.permutation(len(keep))[: len(keep) // 3]] = True
    keep = keep.reshape(64 // rows, 32 // columns, 3, 3).repeat(rows, axis=0).repeat(columns, axis=1)
    for one, kernel in ((sketch, weight * keep), (dense, weight)):
        one.answer(one.op("Conv", "frames", one.constant(kernel), pads=[1, 1, 1, 1]))
    work = [generate(one.model(), (), target(cpu))[0].macs for one in (sketch, dense)]
    assert work[1] == 64 * 32 * 9 * 36
    assert work[0] == int(keep.sum()) * 36, "nothing but what was kept"
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_a_profile_has_every_call(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((1, 5, 9, 9))
    x = sketch.op("Conv", "frames", sketch.normal(8, 5, 3, 3), pads=[1, 1, 1, 1])
    sketch.answer(sketch.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    model = sketch.model()
    source, _, _ = generate(model, (), target(cpu), where="sketch")
    library = compiled(model, tmp_path, cpu, flags=[*QUICK, "-DEF_PROFILE=CLOCK_MONOTONIC"])
    library.start(threads=1).step(np.ones(sketch.shape, np.float32))
    times = (ctypes.c_int64 * len(source.work)).in_dll(library.code, "ef_profile")
    assert [work.kernel for work in source.work] == ["input", "conv", "pool", "flatten"]
    assert sum(work.macs for work in source.work) == source.macs
    assert min(times) >= 0
    assert max(times) > 0


@pytest.mark.parametrize("cpu", CPUS)
def test_sums_of_convolutions(cpu: str, tmp_path: Path) -> None:
    """They become one, also where they read different numbers of channels; with a bias on either side, and a residual."""
    sketch = Sketch((2, 9, 5, 6))

    def conv(tensor: str, channels: int, bias: bool) -> str:
        weights = [sketch.normal(10, channels, 3, 3), *([sketch.normal(10)] if bias else [])]
        return sketch.op("Conv", tensor, *weights, pads=[1, 1, 1, 1])

    part = sketch.op(
        "Slice", "frames", sketch.constant([2], np.int64), sketch.constant([6], np.int64), sketch.constant([1], np.int64)
    )
    for first, second in ((True, True), (True, False), (False, False)):
        total = sketch.op("Add", conv("frames", 9, first), conv(part, 4, second))
        sketch.answer(sketch.op("Relu", sketch.op("Sum", total, conv(part, 4, True), sketch.normal(1, 10, 5, 6))))
    one = sketch.op("Conv", "frames", sketch.normal(1, 9, 3, 3), pads=[1, 1, 1, 1])  # of one channel, which is added to all
    for parts in ((conv("frames", 9, True), one), (one, conv("frames", 9, True))):
        sketch.answer(sketch.op("Add", *parts))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_shuffles_of_single_values(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((1, 12, 3, 3))

    def ints(*values: int) -> str:
        return sketch.constant(values, np.int64)

    mean = sketch.op("GlobalAveragePool", "frames")  # (1, 12, 1, 1)
    for shape in ((1, 3, 4, 1), (1, 3, 4, 1, 1)):
        perm = [0, 2, 1, *range(3, len(shape))]
        shuffled = sketch.op(
            "Reshape", sketch.op("Transpose", sketch.op("Reshape", mean, ints(*shape)), perm=perm), ints(1, 12, 1, 1)
        )
        sketch.answer(sketch.op("Conv", shuffled, sketch.normal(5, 12, 1, 1)))
        sketch.answer(shuffled)
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_pools_and_means(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((2, 5, 9, 8))
    for op in ("MaxPool", "AveragePool"):
        for kernel, strides, pads, ceil in (
            ((2, 2), (2, 2), (0, 0, 0, 0), 0), ((3, 3), (2, 2), (1, 1, 1, 1), 0), ((3, 2), (2, 3), (1, 0, 0, 1), 1),
            ((9, 8), (1, 1), (0,) * 4, 0),
        ):  # fmt: skip
            sketch.answer(sketch.op(op, "frames", kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=ceil))
    sketch.answer(sketch.op("AveragePool", "frames", kernel_shape=(3, 3), pads=(1, 1, 1, 1), count_include_pad=1))
    sketch.answer(sketch.op("MaxPool", "frames", kernel_shape=(2, 2), dilations=(2, 3)))
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        sketch.answer(sketch.op(op, "frames"))
    for op in ("ReduceMean", "ReduceMax"):
        for axes, keep in (([2, 3], 1), ([2, 3], 0), ([0, 2, 3], 0)):
            sketch.answer(sketch.op(op, "frames", sketch.constant(axes, np.int64), keepdims=keep))
    for op in ("ReduceMean", "ReduceSum"):
        for axes, keep in (([1], 1), ([0, 1, 2, 3], 0), ([1, 2, 3], 1)):  # over channels
            sketch.answer(sketch.op(op, "frames", sketch.constant(axes, np.int64), keepdims=keep))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_pools_over_time(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((1, 3, 6, 4, 5))
    sketch.answer(sketch.op("MaxPool", "frames", kernel_shape=(3, 3, 3), strides=(2, 2, 2), pads=(1,) * 6))
    sketch.answer(sketch.op("AveragePool", "frames", kernel_shape=(2, 2, 2), strides=(2, 1, 1)))
    sketch.answer(sketch.op("AveragePool", "frames", kernel_shape=(3, 1, 1), pads=(1, 0, 0, 1, 0, 0), count_include_pad=1))
    sketch.answer(sketch.op("ReduceMean", "frames", sketch.constant([2, 3, 4], np.int64), keepdims=1))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


UNARY = ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "HardSwish", "HardSigmoid", "Softplus", "Softsign", "Mish", "Erf",
         "Floor", "Ceil", "Sin", "Cos", "Round", "LeakyRelu", "Elu", "Celu", "Selu", "Gelu", "ThresholdedRelu")  # fmt: skip


@pytest.mark.parametrize("cpu", CPUS)
def test_elementwise(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((2, 5, 3, 4))
    for op in UNARY:
        sketch.answer(sketch.op(op, "frames"))
    positive = sketch.op("Abs", "frames")
    for op in ("Sqrt", "Log", "Reciprocal"):
        sketch.answer(sketch.op(op, sketch.op("Add", positive, sketch.constant(0.1))))
    mean = sketch.op("GlobalAveragePool", "frames")
    for op in ("Add", "Sub", "Mul", "Div"):
        sketch.answer(sketch.op(op, "frames", sketch.op("Add", positive, sketch.constant(1.0))))
        sketch.answer(sketch.op(op, "frames", sketch.constant(np.linspace(1, 2, 5).reshape(5, 1, 1))))
        sketch.answer(sketch.op(op, sketch.constant(2.5), sketch.op("Add", positive, sketch.constant(1.0))))
        sketch.answer(sketch.op(op, "frames", sketch.op("Add", mean, sketch.constant(3.0))))
        sketch.answer(sketch.op(op, sketch.normal(1, 5, 3, 4), sketch.op("Exp", mean)))
    for op in ("Max", "Min", "Sum", "Mean"):
        sketch.answer(sketch.op(op, "frames", positive, sketch.op("Neg", positive)))
    sketch.answer(sketch.op("PRelu", "frames", sketch.constant(np.linspace(0.1, 0.5, 5).reshape(5, 1, 1))))
    sketch.answer(sketch.op("Pow", positive, sketch.constant(1.5)))
    sketch.answer(sketch.op("Clip", "frames", "", sketch.constant(0.25)))
    statistics = [sketch.normal(5), sketch.normal(5), sketch.normal(5), sketch.constant(np.linspace(0.5, 2, 5))]
    sketch.answer(sketch.op("BatchNormalization", "frames", *statistics))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_what_only_rearranges(cpu: str, tmp_path: Path) -> None:
    """Slices, joins and shuffles of frames and channels, read by convolutions that take channels from where they are."""
    sketch = Sketch((3, 12, 4, 5))

    def ints(*values: int) -> str:
        return sketch.constant(values, np.int64)

    def conv(tensor: str, channels: int, group: int = 1) -> str:
        return sketch.op(
            "Conv", tensor, sketch.normal(6 if group == 1 else group, channels // group, 3, 3), pads=[1] * 4, group=group
        )

    relu = sketch.op("Relu", "frames")
    part = sketch.op("Slice", relu, ints(3), ints(11), ints(1), ints(2))  # channels 3, 5, 7, 9
    joined = sketch.op("Concat", part, "frames", part, axis=1)  # 20 channels of two tensors
    shuffled = sketch.op(
        "Reshape",
        sketch.op("Transpose", sketch.op("Reshape", relu, ints(3, 4, 3, 4, 5)), perm=[0, 2, 1, 3, 4]),
        ints(3, 12, 4, 5),
    )
    four_axes = sketch.op("Reshape", relu, ints(3, 3, 4, 20))  # a shuffle with height and width in one axis
    four_axes = sketch.op("Reshape", sketch.op("Transpose", four_axes, perm=[0, 2, 1, 3]), ints(3, 12, 4, 5))
    constant = sketch.op("Concat", relu, sketch.normal(3, 2, 4, 5), axis=1)  # two channels that never change
    frames = sketch.op("Concat", sketch.op("Slice", relu, ints(1), ints(3), ints(0)), "frames", axis=0)  # 5 frames
    for tensor, channels in ((part, 4), (joined, 20), (shuffled, 12), (frames, 12), (constant, 14), (four_axes, 12)):
        sketch.answer(tensor)
        sketch.answer(conv(tensor, channels))
        sketch.answer(conv(tensor, channels, group=channels))
        sketch.answer(sketch.op("ReduceMean", tensor, ints(2, 3), keepdims=0))
    padded = sketch.op("Pad", "frames", ints(0, 1, 1, 2, 0, 2, 0, 1), sketch.constant(0.5))
    sketch.answer(padded)
    sketch.answer(conv(padded, 15))
    sketch.answer(sketch.op("Slice", "frames", ints(1, 0), ints(4, 5), ints(2, 3), ints(2, 1)))  # a part of every picture
    sketch.answer(sketch.op("Gather", "frames", ints(2, 0), axis=0))
    sketch.answer(sketch.op("Gather", "frames", ints(11, 0, 5), axis=1))
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_matrix_products(cpu: str, tmp_path: Path) -> None:
    sketch = Sketch((2, 7, 3, 2))
    rows = sketch.op("ReduceMean", "frames", sketch.constant([2, 3], np.int64), keepdims=0)  # (2, 7)
    whole = sketch.op("Flatten", sketch.op("Relu", "frames"))  # (2, 42)
    sketch.answer(sketch.op("Gemm", rows, sketch.normal(11, 7), sketch.normal(11), transB=1))
    sketch.answer(sketch.op("Gemm", rows, sketch.normal(7, 4), sketch.normal(1, 4), alpha=0.5, beta=2.0))
    sketch.answer(sketch.op("Gemm", whole, sketch.normal(42, 9)))
    sketch.answer(sketch.op("MatMul", whole, sketch.normal(42, 3)))
    sketch.answer(sketch.op("MatMul", sketch.constant([[1.0, 0.5], [0.0, 1.0], [0.0, 0.0]]), rows))
    sketch.answer(whole)
    assert distance(sketch, tmp_path, cpu) <= CLOSE


@pytest.mark.parametrize("cpu", CPUS)
def test_not_a_number_stays_visible(cpu: str, tmp_path: Path) -> None:
    """A ReLU must not hide it: a stream refuses answers that are not finite."""
    sketch = Sketch((1, 3, 4, 4))
    made = sketch.op("Relu", sketch.op("Conv", "frames", sketch.normal(5, 3, 1, 1)))
    sketch.answer(sketch.op("Sigmoid", sketch.op("Relu", sketch.op("Add", made, made))))
    spoilt = np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)
    spoilt[0, 1, 2, 3] = np.nan
    got = compiled(sketch.model(), tmp_path, cpu).start(threads=1).step(spoilt).reshape(5, 4, 4)
    assert np.isnan(got[:, 2, 3]).all()
    assert np.isfinite(np.delete(got.reshape(5, 16), 11, axis=1)).all()


ALL = (
    test_convolutions_over_time, test_several_slices_of_channels, test_pools_and_means, test_pools_over_time, test_elementwise,
    test_what_only_rearranges, test_matrix_products, test_sums_of_convolutions, test_shuffles_of_single_values,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("test", (*ALL, *test_operators_by_value.ALL), ids=lambda test: test.__name__.removeprefix("test_"))
def test_sanitizers_find_nothing(
    test: Callable[[str, Path], None], cpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The networks of the tests above read and write nothing that is not theirs."""
    monkeypatch.setattr(sys.modules[test.__module__], "distance", sanitized)
    test(cpu, tmp_path)
