"""Weights of 16 bits: the very floats that numpy's rounding gives, on every processor; where they are taken, and where not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from everyframe.errors import ConversionMismatch, UsageError
from everyframe.modelfile import Metadata, Preprocess, attach
from everyframe.native import compile as compiling
from everyframe.native.build import link
from everyframe.native.choice import Choice, Geometry, waits
from everyframe.native.compile import compile_model
from everyframe.native.generate import generate, untransformed
from everyframe.native.halved import halved
from everyframe.native.library import Library
from everyframe.native.packed import Choose
from everyframe.native.target import TARGETS, Target, target
from everyframe.native.tune import measure, program
from everyframe.native.tuned import Rounding, Tables
from native.emulated import FOREIGN
from native.emulated import program as emulated
from native.operators import CPUS, QUICK, Sketch, reference, sanitized

VECTORS = [name for name in CPUS if not TARGETS[name].scalar]
#: kernel, stride, size, output channels, share of groups of 16 x 4 weights that are zero: few positions and many
LAYERS = (
    ((3, 3, 3), 1, 15, 40, 0.0), ((3, 3, 3), 1, 15, 40, 0.7), ((1, 3, 3), 2, 15, 24, 0.5), ((1, 1, 1), 1, 15, 40, 0.0),
    ((3, 3, 3), 1, 4, 24, 0.3), ((3, 1, 1), 1, 2, 40, 0.0), ((1, 3, 3), 1, 2, 33, 0.5), ((1, 1, 1), 1, 1, 100, 0.4),
)  # fmt: skip


def by(bits: int) -> Choose:
    """One vector of channels in a group, so that it is known which weights have one scale."""

    def choose(chosen: Target, geometry: Geometry, label: str) -> Choice:
        return Choice(slice=30, tallest=1, bits=bits, why="drawn")

    return choose


def rounded(weight: np.ndarray, block: int) -> np.ndarray:
    """As whole numbers of 16 bits times a scale for each vector of output channels, input channel and place of the kernel."""
    blocks = -(-len(weight) // block)
    padded = np.zeros((blocks * block, *weight.shape[1:]), np.float32)
    padded[: len(weight)] = weight
    grouped = padded.reshape(blocks, block, *weight.shape[1:])
    scale = np.abs(grouped).max(1, keepdims=True) / np.float32(32767)
    whole = np.rint(grouped / np.where(scale > 0, scale, 1)).astype(np.int16)
    return (whole.astype(np.float32) * scale).reshape(padded.shape)[: len(weight)]


def network(block: int = 0) -> Sketch:
    """block: weights are rounded for vectors of so many channels."""
    sketch = Sketch((1, 16, 3, 15, 15))
    sizes = {15: "frames"}
    for size in (4, 2, 1):
        stride = 15 // size
        kernel = [1, 15 - stride * (size - 1)] * 2
        sizes[size] = sketch.op("AveragePool", "frames", kernel_shape=[1, kernel[1], kernel[1]], strides=[1, stride, stride])
    for kernel, stride, size, cout, zeros in LAYERS:
        kept = np.repeat(np.repeat(sketch.rng.random((-(-cout // 16), 4, *kernel)) >= zeros, 16, 0)[:cout], 4, 1)
        weight = (sketch.rng.standard_normal((cout, 16, *kernel)) * kept).astype(np.float32)
        made = sketch.op(
            "Conv", sizes[size], sketch.constant(rounded(weight, block) if block else weight), sketch.normal(cout),
            pads=[k // 2 for k in kernel] * 2, strides=[1, stride, stride],
        )  # fmt: skip
        sketch.answer(sketch.op("Relu", made))
    return sketch


def test_rounding_is_within_half_a_step() -> None:
    rng = np.random.default_rng(0)
    weights = (rng.standard_normal((200, 48)) * np.exp(rng.normal(0, 20, (200, 1)))).astype(np.float32)
    weights[7] = 0
    whole, scales = halved(weights)
    assert whole.dtype == np.int16 and scales.dtype == np.float32 and np.isfinite(scales).all()
    error = np.abs(whole.astype(np.float64) * scales[:, None] - weights)
    assert (error <= (0.5 + 2e-3) * np.abs(weights).max(1, keepdims=True) / 32767).all()
    assert not whole[7].any()


@pytest.mark.parametrize("cpu", VECTORS)
def test_weights_are_what_numpy_rounds_them_to(cpu: str, tmp_path: Path) -> None:
    answers, block = [], target(cpu).block
    frames = np.random.default_rng(1).standard_normal((1, 16, 3, 15, 15), np.float32)
    for bits, sketch in ((16, network()), (32, network(block)), (32, network())):
        source, _, fitting = generate(sketch.model(), (), target(cpu), where="sketch", choose=by(bits))
        assert fitting.block == block and source.halved == (len(source.layers) if bits == 16 else 0)
        made = Library(link(source, fitting, sketch.model(), tmp_path / f"{len(answers)}.so", QUICK))
        one, three = (made.start(threads).step(frames) for threads in (1, 3))
        np.testing.assert_array_equal(one, three)
        answers.append(one)
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2]), "rounding changes something"
    np.testing.assert_allclose(answers[0], answers[2], atol=1e-4 * float(np.abs(answers[2]).max()))


@pytest.mark.parametrize("cpu", [name for name in FOREIGN if TARGETS[name].block > 1])
def test_weights_are_the_same_elsewhere(cpu: str, tmp_path: Path) -> None:
    frames = np.random.default_rng(1).standard_normal((1, 1, 16, 3, 15, 15), np.float32)
    made = emulated(network().model(), (), cpu, tmp_path, QUICK, choose=by(16)).run(frames)[0].ravel()
    wanted = reference(network(target(cpu).block).model(), frames[0]).ravel()
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=2e-6 * float(np.abs(wanted).max()))


def test_nothing_is_read_beyond_them(tmp_path: Path) -> None:
    sanitized(network(), tmp_path, VECTORS[-1], choose=by(16))


def head(folder: Path, outliers: float = 0.0) -> Path:
    """A clip network whose second layer waits for its weights. outliers: size of single ones among them."""
    sketch = Sketch((1, 8, 2, 6, 6))
    x = sketch.op("Relu", sketch.op("Conv", "frames", sketch.normal(1024, 8, 1, 3, 3), sketch.normal(1024), pads=[0, 1, 1] * 2))
    x = sketch.op("Reshape", sketch.op("ReduceMean", x, sketch.constant([2, 3, 4], np.int64)), sketch.constant([1, -1], np.int64))
    weight = sketch.rng.standard_normal((512, 1024)).astype(np.float32)
    weight[::64] *= 1 + outliers
    sketch.answer(sketch.op("Gemm", x, sketch.constant(weight), sketch.normal(512), transB=1))
    model = sketch.model()
    attach(model, Metadata(kind="clip", frames=2, preprocess=Preprocess()))
    onnx.save(model, folder / "clip.onnx")
    return folder / "clip.onnx"


def test_they_are_taken_where_a_layer_waits_and_left_out_where_the_bound_is_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = head(tmp_path)
    made = {
        words: compile_model(path, tmp_path / f"{n}.so", tables=False, **how)  # type: ignore[arg-type]
        for n, (words, how) in enumerate({
            "auto": {}, "fp32": {"weights": "fp32"}, "exact": {"exact": True}, "int16": {"weights": "int16"},
        }.items())
    }  # fmt: skip
    assert {words: each.halved for words, each in made.items()} == {"auto": 1, "fp32": 0, "exact": 0, "int16": 2}
    assert made["auto"].weight_bytes < 0.6 * made["fp32"].weight_bytes
    assert 1e-6 < (made["auto"].difference or 0) < 1e-4 and (made["fp32"].difference or 1) < 1e-6
    monkeypatch.setattr("everyframe.native.check.TOLERANCE", 5e-6)
    again = compile_model(path, tmp_path / "again.so", tables=False)
    assert again.halved == 0 and again.difference is not None and again.difference < 1e-6
    monkeypatch.setattr(compiling, "ASKED_TOLERANCE", 5e-6)
    with pytest.raises(ConversionMismatch, match="16 bits"):
        compile_model(path, tmp_path / "none.so", tables=False, weights="int16")
    assert not (tmp_path / "none.so").exists()


def test_without_a_comparison_nothing_is_rounded_unasked(tmp_path: Path) -> None:
    path = head(tmp_path)
    bytes_of = [
        compile_model(path, emit_c=tmp_path / words, weights=words, tables=False).weight_bytes for words in ("auto", "int16")
    ]
    assert bytes_of[1] < 0.6 * bytes_of[0]


@pytest.mark.parametrize(
    ("how", "said"),
    [({"weights": "fp16"}, "auto, fp32, int16"), ({"weights": "int16", "exact": True}, "--exact"),
     ({"weights": "int16", "cpu": "generic"}, "generic")],
    ids=["unknown", "exact", "no vectors"],
)  # fmt: skip
def test_what_cannot_be_is_refused(how: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        compile_model(head(tmp_path), tmp_path / "none.so", **how)  # type: ignore[arg-type]
    assert said in str(caught.value) and not (tmp_path / "none.so").exists()


def test_they_are_measured_beside_floats(tmp_path: Path) -> None:
    """Ones are ones in 16 bits, too: the same bits, so all choices count; and never as the exact one."""
    model = onnx.load(head(tmp_path))
    made = program(untransformed(model, (), target("native"), "head"), lambda _, geometry: not waits(geometry))
    assert made is not None and made.cases == 1 and 'bits\\": 16' in made.text
    chosen = target("native")
    said: list[str] = []
    (row,) = measure(made, replace(chosen, flags=(*chosen.flags, *QUICK)), 1.0, said.append)
    assert row.choice.bits == 32 and not any("gave other results" in line for line in said)
    quick = replace(row, approximate=replace(row.choice, bits=16))
    layers = untransformed(model, (), chosen, "head").layers
    geometry = next(layer.geometry for layer in layers if layer.geometry and waits(layer.geometry))
    bits = [Tables([each], rounding=rounding)(chosen, geometry, "").bits for each in (quick, replace(row, approximate=None))
            for rounding in (Rounding(True, "auto"), Rounding(True), Rounding())]  # fmt: skip
    assert bits == [16, 32, 32, 32, 32, 32], "what was measured counts, where it may round"
    facts = json.loads(json.dumps(row.facts))
    del facts["choice"]["bits"]
    before = replace(row, facts=facts)
    assert Tables([before], rounding=Rounding(True, "auto"))(chosen, geometry, "").bits == 16, (
        "rows of earlier versions do not know"
    )
