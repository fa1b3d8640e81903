"""Quantized networks (QDQ), compiled as they ship for every processor that runs here, against exact arithmetic."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.exact import Exact
from everyframe.modelfile.schema import StateSpec
from everyframe.modelfile.states import first_states, next_states
from everyframe.native.build import link
from everyframe.native.choice import direct
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import target
from native.emulated import FOREIGN, emulator, program
from native.operators import CPUS, Sketch, sanitized, widest
from native.quantized import ALL_CPUS, Quantized, agree, compare, exactly, noise

THEN = ("", "", "Relu", "Clip", "HardSwish", "Sigmoid", "silu", "residual", "relu+residual", "float residual")


@st.composite
def convolutions(draw: Any) -> dict[str, Any]:
    """A shape and some convolutions over it: odd channels, any stride, dilation, padding, groups, zeros and kinds of integers."""
    channels = draw(st.sampled_from([1, 2, 3, 4, 8, 13, 16, 24, 33]))
    size = draw(st.sampled_from([(1, 1), (5, 1), (6, 7), (7, 13), (9, 8)]))
    layers = []
    for _ in range(4):
        kernel = draw(st.sampled_from([(1, 1), (3, 3), (3, 3), (5, 3), (2, 4), (1, 3)]))
        dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)]))
        pads = draw(st.tuples(*[st.integers(0, 3)] * 4))
        reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        if any(n + a + b <= r for n, a, b, r in zip(size, pads[:2], pads[2:], reach, strict=True)):
            kernel, dilation = (1, 1), (1, 1)
        groups = draw(st.sampled_from([1, 1, 1, channels, channels, *(g for g in (2, 3, 4) if channels % g == 0)]))
        layers.append({
            "kernel": kernel, "dilation": dilation, "pads": pads, "groups": groups,
            "strides": draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2), (3, 1)])),
            "out": channels if groups == channels else groups * draw(st.sampled_from([1, 5, 8, 17, 40])),
            "zeros": draw(st.booleans()), "bias": draw(st.sampled_from(["", "float", "int32"])),
            "then": draw(st.sampled_from(THEN)),
            "bits": draw(st.sampled_from([7, 8])), "per_channel": draw(st.booleans()),
            "kind": draw(st.sampled_from([np.uint8, np.int8])), "zero": draw(st.integers(0, 127)), "bytes": draw(st.booleans()),
        })  # fmt: skip
    return {"shape": (1, channels, *size), "layers": layers}


def _network(cases: list[dict[str, Any]]) -> Quantized:
    """Of all of them: a library of vector code takes seconds to compile, one more convolution hardly any time."""
    sketch = Quantized(widest([each["shape"] for each in cases]))
    for case, layer in ((each, layer) for each in cases for layer in each["layers"]):
        scale, zero, kind = 0.031, layer["zero"], layer["kind"]
        frames = sketch.part(case["shape"])
        x = sketch.grid(frames, scale, zero, kind)
        shape = (layer["out"], case["shape"][1] // layer["groups"], *layer["kernel"])
        pruned = None
        if layer["zeros"]:  # kernel groups of 16 output and 4 input channels
            cells = (-(-shape[0] // 16), -(-shape[1] // 4), *shape[2:])
            pruned = (sketch.rng.random(cells) < 0.7).repeat(16, 0).repeat(4, 1)[: shape[0], : shape[1]]
        inputs = [x, sketch.random_weight(*shape, bits=layer["bits"], per_channel=layer["per_channel"], zero=pruned)]
        if layer["bias"] == "float":
            inputs.append(sketch.normal(layer["out"]))
        elif layer["bias"]:
            inputs.append(sketch.weight(sketch.rng.integers(-9999, 9999, layer["out"]).astype(np.int32), 1e-4))
        attrs = {"kernel_shape": layer["kernel"], "strides": layer["strides"], "pads": layer["pads"],
                 "dilations": layer["dilation"], "group": layer["groups"]}  # fmt: skip
        made, then = sketch.op("Conv", *inputs, **attrs), layer["then"]
        if then == "Clip":
            made = sketch.op("Clip", made, sketch.constant(-0.5), sketch.constant(1.5))
        elif then == "silu":
            made = sketch.op("Mul", made, sketch.op("Sigmoid", made))
        elif "residual" in then:
            other = sketch.op("Abs", sketch.op("Conv", frames, sketch.normal(*shape), **attrs))
            other = other if "float" in then else sketch.grid(other, 0.1, 3)
            made = sketch.op("Relu", made) if "relu" in then else made
            made = sketch.op("Relu", sketch.op("Add", other, made))
        elif then:
            made = sketch.op(then, made)
        sketch.steps(sketch.grid(made, 0.027, zero // 2 + 20, kind) if layer["bytes"] else made, 0.027)
    return sketch


@pytest.mark.slow
def test_convolutions_of_bytes() -> None:
    @settings(max_examples=7)
    @given(st.lists(convolutions(), min_size=3, max_size=3), st.sampled_from(ALL_CPUS))
    def run(cases: list[dict[str, Any]], cpu: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            agree(_network(cases), Path(folder), cpu)

    run()


def _ints(sketch: Quantized, *values: int) -> str:
    return sketch.constant(values, np.int64)


def time_padding(sketch: Quantized) -> None:
    """Missing frames count as zeros, whose byte is not 0; whole, grouped and depthwise."""
    frames = sketch.op("Reshape", sketch.part((1, 16, 6, 10)), _ints(sketch, 1, 8, 4, 5, 6))
    x = sketch.grid(frames, 0.03, 101)
    for kernel, strides, pads, group in (
        ((3, 3, 3), (1, 1, 1), (1,) * 6, 1), ((3, 3, 3), (1, 2, 2), (1,) * 6, 8), ((3, 3, 3), (1, 1, 1), (1,) * 6, 8),
        ((3, 1, 1), (2, 1, 1), (2, 0, 0, 1, 0, 0), 2), ((2, 1, 1), (1, 1, 1), (3, 0, 0, 2, 0, 0), 8),
    ):  # fmt: skip
        weight = sketch.random_weight(8, 8 // group, *kernel)
        made = sketch.op("Conv", x, weight, sketch.normal(8), kernel_shape=kernel, strides=strides, pads=pads, group=group)
        sketch.steps(sketch.grid(made, 0.025, 90), 0.025)


def extreme_bytes(sketch: Quantized) -> None:
    """Sums of the largest products, which 16 bits do not hold."""
    all_255 = sketch.op("Add", sketch.op("Abs", sketch.part((1, 16, 4, 4))), sketch.constant(9.0))
    x = sketch.grid(all_255, 0.01, 0)
    for integers in (127, -128, 64):
        for group, channels in ((1, 16), (16, 1)):
            weight = sketch.weight(np.full((16, channels, 3, 3), integers, np.int8), 1e-4)
            made = sketch.op("Conv", x, weight, pads=[1] * 4, group=group)
            sketch.steps(made, 0.01)


def sums_far_beyond_a_byte(sketch: Quantized) -> None:
    """Cut off on both sides, also where they are larger than whole numbers of 32 bits."""
    x = sketch.grid(sketch.part((1, 8, 5, 11)), 0.02, 120)
    for zero, scale in ((100, 0.05), (0, 1e-4), (255, 1e-7), (128, 1e-10)):
        dense = sketch.op("Conv", x, sketch.random_weight(24, 8, 1, 1), sketch.constant(sketch.rng.normal(size=24)))
        wide = sketch.op("Conv", x, sketch.random_weight(8, 1, 3, 3), pads=[1] * 4, group=8)
        for made in (dense, wide):
            sketch.steps(sketch.grid(made, scale, zero), scale)


def everything_else(sketch: Quantized) -> None:
    """Operators that compute with bytes, move them, or read them as floats."""
    frames, ints = sketch.part((2, 12, 6, 5)), partial(_ints, sketch)
    a, b = sketch.grid(frames, 0.03, 120), sketch.grid(sketch.op("Relu", frames), 0.02, 7, np.int8)
    gate = sketch.op("Sigmoid", sketch.grid(sketch.op("GlobalAveragePool", a), 0.01, 99))
    for made in (
        sketch.op("Add", a, b), sketch.op("Mul", a, gate),
        sketch.op("HardSwish", a), sketch.op("MaxPool", a, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0]),
        sketch.op("AveragePool", b, kernel_shape=[2, 2]), sketch.op("AveragePool", a, kernel_shape=[3, 3], pads=[1] * 4),
        sketch.op("Concat", a, b, frames, axis=1), sketch.op("ReduceMean", b, ints(2, 3), keepdims=1),
        sketch.op("GlobalMaxPool", a), sketch.op("Pad", a, ints(0, 0, 1, 2, 0, 1, 0, 1), sketch.constant(0.0)),
        sketch.op("Slice", a, ints(1, 0), ints(5, 5), ints(2, 3), ints(2, 1)),
    ):  # fmt: skip
        sketch.steps(sketch.grid(made, 0.04, 100), 0.04)
    padded = sketch.op("Pad", a, ints(0, 0, 1, 0, 0, 0, 0, 1), sketch.constant(0.5))  # which no byte stands for: floats meet it
    sketch.steps(sketch.grid(padded, 0.0371, 100), 0.0371)
    shuffled = sketch.op("Transpose", sketch.op("Reshape", a, ints(2, 3, 4, 6, 5)), perm=[0, 2, 1, 3, 4])
    shuffled = sketch.op("Reshape", shuffled, ints(2, 12, 6, 5))
    part = sketch.op("Slice", a, ints(3), ints(11), ints(1), ints(2))  # channels 3, 5, 7, 9
    twice = sketch.op("Concat", part, part, axis=1)
    mixed = sketch.op("Concat", part, sketch.op("Slice", b, ints(0), ints(4), ints(1)), axis=1)  # of two scales
    for tensor, channels in ((shuffled, 12), (part, 4), (twice, 8), (mixed, 8)):
        for group in (1, channels):
            made = sketch.op("Conv", tensor, sketch.random_weight(channels, channels // group, 3, 3), pads=[1] * 4, group=group)
            sketch.steps(sketch.grid(made, 0.02, 128), 0.02)
    flat = sketch.op("Flatten", a)
    rows = sketch.op("ReduceMean", a, ints(2, 3), keepdims=0)
    for tensor, size in ((flat, 360), (sketch.grid(rows, 0.01, 128), 12)):
        made = sketch.op("Gemm", tensor, sketch.random_weight(9, size), sketch.normal(9), transB=1)
        sketch.steps(sketch.grid(made, 0.03, 99), 0.03)
        turned = sketch.weight(sketch.rng.integers(-127, 128, (size, 5)).astype(np.int8), np.full(5, 1e-3), axis=1)
        sketch.steps(sketch.grid(sketch.op("MatMul", tensor, turned), 0.03, 99), 0.03)
    sketch.steps(a, 0.03)


@pytest.mark.parametrize("cpu", ALL_CPUS)
def test_operators_of_bytes(cpu: str, tmp_path: Path) -> None:
    """In one network: its kernels take the compiler seconds, one more convolution hardly any time."""
    sketch = Quantized((2, 16, 6, 11))
    for part in (time_padding, extreme_bytes, sums_far_beyond_a_byte, everything_else):
        part(sketch)
    agree(sketch, tmp_path, cpu)


#: scales of what is added and of the sum: powers of two, halves (whose sums lie between two steps for half of all bytes), and
#: others as calibration finds them
TIES = (
    (2**-4, 2**-5, 2**-3), (0.0697167739, 0.0697167739, 0.1394335479), (0.0766884461, 0.0697167739, 0.1394335479),
    (0.03, 0.07, 0.05),
)  # fmt: skip


@pytest.mark.parametrize(
    ("cpu", "scales"), [(cpu, scales) for cpu in ALL_CPUS for scales in TIES if scales is TIES[2] or cpu is ALL_CPUS[-1]], ids=str
)  # scales are numbers in the code, the same whatever the processor
def test_between_two_steps(cpu: str, scales: tuple[float, float, float], tmp_path: Path) -> None:
    between_two_steps(cpu, tmp_path, scales)


def between_two_steps(cpu: str, folder: Path, scales: tuple[float, float, float] = TIES[2]) -> None:
    """All pairs of bytes, where runtimes that round on the way go wrong: the even one of two steps is right."""
    sketch = Quantized((1, 2, 256, 256))
    one, two, step = (float(np.float32(scale)) for scale in scales)
    pairs = np.stack(np.meshgrid(np.arange(256) - 115, np.arange(256) - 128, indexing="ij"))[None]

    ints = partial(_ints, sketch)

    def part(n: int) -> str:
        return sketch.op("Slice", "frames", ints(n), ints(n + 1), ints(1))

    a, b = sketch.grid(part(0), one, 115), sketch.grid(part(1), two, 128)
    half = sketch.weight(np.array([[[[64]]]], np.int8), 2**-7)
    taps = [sketch.grid(sketch.op("Conv", x, half), s, 120) for x, s in ((a, one), (b, two))]
    rest = sketch.op("Conv", a, half, sketch.weight(np.array([3], np.int32), one * 2**-8))
    joined = sketch.op("Concat", a, b, axis=1)
    both = sketch.grid(joined, two, 125)
    for made in (
        joined, sketch.op("Add", a, b), sketch.op("Sub", a, b), sketch.op("Mul", a, b), sketch.op("Max", a, b),
        sketch.op("Sum", b, a, b), sketch.op("Add", *taps), sketch.op("Add", sketch.op("Conv", a, half), b),
        sketch.op("Relu", sketch.op("Add", rest, b)),
        sketch.op("Conv", both, sketch.weight(np.array([[[[64]], [[-32]]]], np.int8), 2**-6)), both,
        sketch.op("Mul", both, sketch.constant(0.5)),
        sketch.op("Clip", a, sketch.constant(-1.5 * step), sketch.constant(2.5 * step)),
        sketch.op("AveragePool", both, kernel_shape=[2, 2], strides=[2, 2]), sketch.op("MaxPool", both, kernel_shape=[3, 1]),
        sketch.op("AveragePool", both, kernel_shape=[1, 6], pads=[0, 2, 0, 3]), sketch.op("GlobalAveragePool", both),
        sketch.op("ReduceMean", sketch.op("Slice", both, ints(0, 0), ints(2, 1), ints(2, 3)), ints(2, 3)),
        sketch.op("ReduceSum", sketch.op("Slice", both, ints(0, 7), ints(1, 9), ints(2, 3)), ints(2, 3)),
        sketch.op("Tanh", a), sketch.op("HardSwish", b), sketch.op("Mul", b, sketch.grid(sketch.op("Sigmoid", b), 2**-8, 0)),
        sketch.op("LeakyRelu", a, alpha=0.5), sketch.op("Neg", b), sketch.op("Div", a, sketch.constant(4.0)),
    ):  # fmt: skip
        sketch.steps(sketch.grid(made, step, 121), step)
    agree(sketch, folder, cpu, (pairs * np.array([one, two]).reshape(1, 2, 1, 1)).astype(np.float32))


def step_network() -> tuple[onnx.ModelProto, tuple[StateSpec, ...]]:
    """A convolution over this and the last frame, and one over frames three steps apart whose scales differ."""
    sketch = Quantized((1, 5, 6, 7))
    x = sketch.grid("frames", 0.03, 110)
    last = sketch.grid("state.a", 0.03, 110)
    made = sketch.op("Conv", sketch.op("Concat", last, x, axis=1), sketch.random_weight(8, 10, 3, 3), pads=[1] * 4)
    sketch.steps(sketch.grid(made, 0.02, 128), 0.02)
    old = sketch.op("Conv", sketch.grid("state.c", 0.02, 90), sketch.random_weight(5, 5, 3, 3), pads=[1] * 4)
    sketch.steps(sketch.grid(sketch.op("Add", old, sketch.grid("state.b", 0.05, 100)), 0.05, 128), 0.05)
    outputs = {"new.a": x, "new.b": "frames", "new.c": "state.b"}
    for name, tensor in outputs.items():
        sketch.nodes.append(helper.make_node("Identity", [tensor], [name]))
    model = sketch.model()
    for name in outputs:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 5, 6, 7]))
        model.graph.input.append(helper.make_tensor_value_info(f"state.{name[-1]}", TensorProto.FLOAT, [1, 5, 6, 7]))
    specs = tuple(StateSpec(input=f"state.{n}", output=f"new.{n}", shape=(1, 5, 6, 7), fill=0.7) for n in "abc")
    return model, specs


@pytest.mark.parametrize("cpu", ALL_CPUS)
def test_states_of_bytes(cpu: str, tmp_path: Path) -> None:
    """A state that is read only to be quantized is kept as bytes; one that is read in two ways is not."""
    model, specs = step_network()
    source, layout, fitting = generate(model, specs, target(cpu))
    sizes = [form.size for form in (layout.forms[number] for number in layout.pool_of)]
    assert {1, 4} <= set(sizes)
    stream = Library(link(source, fitting, model, tmp_path / "step.so")).start(threads=1)
    truth, held, noise = Exact(model), first_states(specs), np.random.default_rng(0)
    for _ in range(5):
        frames = noise.standard_normal((1, 5, 6, 7), np.float32)
        wanted = truth.run({"frames": frames, **held})
        held = {name: value.astype(np.float32) for name, value in next_states(specs, held, wanted).items()}
        compare(stream.step(frames), wanted["logits"])
    stream.close()


def test_bytes_take_a_quarter_of_the_memory() -> None:
    sketch, floats = Quantized((1, 64, 24, 24)), Sketch((1, 64, 24, 24))
    made = sketch.grid("frames", 0.03, 100)
    for _ in range(3):
        made = sketch.grid(sketch.op("Conv", made, sketch.random_weight(64, 64, 3, 3), pads=[1] * 4), 0.03, 100)
    sketch.answer(sketch.op("GlobalAveragePool", made))
    made = floats.op("Relu", "frames")
    for _ in range(3):
        made = floats.op("Conv", made, floats.normal(64, 64, 3, 3), pads=[1] * 4)
    floats.answer(floats.op("GlobalAveragePool", made))
    words = [generate(one.model(), (), target("x86-64-v3"), choose=direct)[1].peak_floats for one in (sketch, floats)]
    assert words[0] < 0.3 * words[1]


@pytest.mark.parametrize("cpu", [cpu for cpu in ALL_CPUS if cpu != "generic"])
def test_zeros_of_bytes_cost_nothing(cpu: str) -> None:
    """Kernel groups of 16 output and 4 input channels."""
    sketch = Quantized((1, 32, 6, 6))
    keep = np.zeros(4 * 8 * 9, bool)
    keep[sketch.rng.permutation(len(keep))[:96]] = True
    keep = keep.reshape(4, 8, 3, 3).repeat(16, 0).repeat(4, 1)
    x = sketch.grid("frames", 0.03, 100)
    sketch.answer(sketch.op("Conv", x, sketch.random_weight(64, 32, 3, 3, zero=~keep), pads=[1] * 4))
    assert generate(sketch.model(), (), target(cpu))[0].macs == 96 * 64 * 36


@pytest.mark.parametrize(("change", "words"), [("computed", "quantized integers"), ("other scale", "another scale")])
def test_what_is_refused(change: str, words: str) -> None:
    sketch = Quantized((1, 3, 4, 4))
    scale, zero = sketch.constant(0.1), sketch.constant(0, np.uint8)
    made = sketch.op("QuantizeLinear", "frames", scale, zero)
    if change == "computed":
        made = sketch.op("Clip", made, sketch.constant(2, np.uint8), sketch.constant(9, np.uint8))
    sketch.answer(sketch.op("DequantizeLinear", made, sketch.constant(0.2) if change == "other scale" else scale, zero))
    with pytest.raises(UnsupportedOperator, match=words):
        generate(sketch.model(), (), target("generic"))


#: processors that are emulated, with the instructions that each kernel uses
ELSEWHERE = (
    ("aarch64", ""), ("aarch64", "-march=armv8.2-a+dotprod"), ("aarch64", "-march=armv8.2-a+i8mm"), ("riscv64-v", ""),
    ("riscv64", ""), ("wasm32-simd128", ""),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("test", "cpu", "flag"),
    [
        (test, cpu, flag)
        for test in (test_operators_of_bytes, between_two_steps)
        for cpu, flag in ELSEWHERE
        if not flag or test is not between_two_steps  # the flags are of products, which are the least of that one
    ],
    ids=lambda given: given.removeprefix("-march=") if isinstance(given, str) else given.__name__.removeprefix("test_"),
)
def test_bytes_elsewhere(
    test: Callable[[str, Path], None], cpu: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cpu not in FOREIGN:
        pytest.skip("the tests above run it")
    if flag and "-L" in emulator(cpu):
        pytest.skip("zig calls instructions otherwise")

    def emulated(sketch: Sketch, folder: Path, cpu: str, frames: np.ndarray | None = None) -> None:
        model, frames = sketch.model(), noise(sketch) if frames is None else frames
        made = program(model, (), cpu, folder, [*filter(None, [flag])])
        compare(made.run(frames[None], threads=2)[0], exactly(model, frames))

    monkeypatch.setattr(sys.modules[__name__], "agree", emulated)
    test(cpu, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", dict.fromkeys((*CPUS[:2], ALL_CPUS[-1])))  # each width once; such builds are slow
def test_sanitizers_find_nothing_in_bytes(cpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "agree", lambda sketch, folder, cpu: sanitized(sketch, folder, cpu))
    test_operators_of_bytes(cpu, tmp_path)
