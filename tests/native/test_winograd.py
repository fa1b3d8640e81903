"""Winograd's 3x3 kernels: the same answers, in clips and in steps whose states hold transformed frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from everyframe.conversion import convert
from everyframe.modelfile import Metadata, Preprocess, attach
from everyframe.native import store, winograd
from everyframe.native.build import link
from everyframe.native.choice import Choice, Geometry
from everyframe.native.compile import compile_model
from everyframe.native.generate import generate, untransformed
from everyframe.native.library import Library
from everyframe.native.packed import Choose
from everyframe.native.processor import here
from everyframe.native.target import TARGETS, Target, target
from everyframe.native.tuned import NUMBERS, isa, shape
from helpers import relative
from native.emulated import FOREIGN
from native.emulated import program as emulated
from native.operators import CPUS, QUICK, Sketch, reference, sanitized
from native.quantized import ALL_CPUS, Quantized, compare, exactly, noise

VECTORS = [name for name in CPUS if not TARGETS[name].scalar]
#: largest distance of what F(m) makes, relative to the largest value
EXACT = {2: 3e-6, 4: 1e-4}
#: kernel, height and width, channels in and out, pads: sizes that tiles do not divide, channels that vectors do not
LAYERS = (
    ((3, 3, 3), (9, 14), 16, 40, (1, 1, 1)), ((1, 3, 3), (7, 5), 20, 17, (0, 1, 1)), ((3, 3, 3), (8, 8), 16, 16, (0, 0, 0)),
    ((1, 3, 3), (2, 13), 8, 33, (0, 2, 1)),
)  # fmt: skip


def by(tile: int, slices: int = 24) -> Choose:
    def choose(chosen: Target, geometry: Geometry, label: str) -> Choice:
        wanted = (geometry.kernel_h, geometry.kernel_w, geometry.stride_h) == (3, 3, 1)
        return Choice(slices, 1, 0, tile=tile if wanted else 0, why="drawn")

    return choose


def clip() -> Sketch:
    sketch = Sketch((1, 16, 3, 9, 14))
    for kernel, size, cin, cout, pads in LAYERS:
        given = "frames"
        if (cin, *size) != (16, 9, 14):
            small = [9 - size[0] + 1, 14 - size[1] + 1]
            first = sketch.op("AveragePool", "frames", kernel_shape=[1, *small], strides=[1, 1, 1])
            given = sketch.op("Conv", first, sketch.normal(cin, 16, 1, 1, 1), sketch.normal(cin))
        made = sketch.op("Conv", given, sketch.normal(cout, cin, *kernel), sketch.normal(cout), pads=[*pads, *pads])
        again = sketch.op("Conv", made, sketch.normal(cout, cout, *kernel), pads=[k // 2 for k in kernel] * 2)
        if made and pads == tuple(k // 2 for k in kernel):
            again = sketch.op("Add", again, made)  # a residual
        sketch.answer(sketch.op("Relu", made))
        sketch.answer(sketch.op("Mul", again, sketch.op("Sigmoid", again)))
    return sketch


def stacked() -> onnx.ModelProto:
    """Two 3x3x3 kernels, one upon the other, and a mean."""
    sketch = Sketch((1, 3, 6, 9, 10))
    x = "frames"
    for cin, cout in ((3, 16), (16, 24)):
        x = sketch.op("Relu", sketch.op("Conv", x, sketch.normal(cout, cin, 3, 3, 3), sketch.normal(cout), pads=[1] * 6))
    sketch.answer(sketch.op("ReduceMean", x, sketch.constant([2, 3, 4], np.int64), keepdims=0))
    return sketch.model()


@pytest.mark.parametrize("cpu", VECTORS)
@pytest.mark.parametrize("tile", [2, 4])
def test_the_same_answers(cpu: str, tile: int, tmp_path: Path) -> None:
    sketch = clip()
    source, _, fitting = generate(sketch.model(), (), target(cpu), where="sketch", choose=by(tile))
    assert source.text.count(f"Winograd F({tile}x{tile}, 3x3)") >= 2 * len(LAYERS)
    made = Library(link(source, fitting, sketch.model(), tmp_path / "sketch.so", QUICK))
    frames = np.random.default_rng(1).standard_normal(sketch.shape, np.float32)
    wanted = reference(sketch.model(), frames)
    one, three = (made.start(threads).step(frames) for threads in (1, 3))
    assert float(np.abs(one - wanted).max()) <= EXACT[tile] * float(np.abs(wanted).max())
    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("cpu", [name for name in FOREIGN if name == "aarch64"])
def test_the_same_answers_elsewhere(cpu: str, tmp_path: Path) -> None:
    sketch = clip()
    frames = np.random.default_rng(1).standard_normal((1, *sketch.shape), np.float32)
    wanted = reference(sketch.model(), frames[0]).ravel()
    made = emulated(sketch.model(), (), cpu, tmp_path, QUICK, choose=by(2)).run(frames)[0].ravel()
    assert float(np.abs(made - wanted).max()) <= EXACT[2] * float(np.abs(wanted).max())


@pytest.mark.parametrize("tile", [2, 4])
def test_states_hold_transformed_frames(tile: int, tmp_path: Path) -> None:
    """A step of two kernels over time: the ring holds what was transformed once, and nothing holds the frames themselves."""
    made = convert(stacked())
    outputs, texts, slots = [], [], []
    for choose in (by(0), by(tile)):
        source, layout, fitting = generate(made.step, made.metadata.states, target("native"), where="step", choose=choose)
        library = Library(link(source, fitting, made.step, tmp_path / f"{len(outputs)}.so", QUICK))
        stream, rng = library.start(1), np.random.default_rng(0)
        video = [rng.standard_normal(library.input_shape, np.float32) for _ in range(9)]
        first = [stream.step(frames) for frames in video]
        stream.reset()
        np.testing.assert_array_equal(stream.step(video[0]), first[0])
        outputs.append(np.stack(first))
        texts.append(source.text)
        slots.append(layout.pools)
    assert relative(outputs[1], outputs[0]) <= EXACT[tile]
    assert f"tile_{tile}" in texts[1] and f"tile_{tile}" not in texts[0]
    kept = [pool.form for pool in slots[1] if pool.form.height == (tile + 2) ** 2]
    assert kept, "the ring holds transformed frames"


#: to a tile and back, as c/winograd.c has it
TRANSFORMS = {
    2: ("1 0 -1 0  0 1 1 0  0 -1 1 0  0 -1 0 1", "1 1 1 0  0 1 -1 1"),
    4: (
        "4 0 -5 0 1 0  0 -4 -4 1 1 0  0 4 -4 -1 1 0  0 -2 -1 2 1 0  0 2 -1 -2 1 0  0 4 0 -5 0 1",
        "1 1 1 1 1 0  0 1 -1 2 -2 0  0 1 1 4 4 0  0 1 -1 8 -8 1",
    ),
}


@pytest.mark.parametrize("tile", [2, 4])
def test_transformed_kernels_are_kernels(tile: int) -> None:
    """Of one channel and one tile, in double precision: the transforms that the C has, written as matrices."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((1, 1, 3, 3))
    there, back = TRANSFORMS[tile]
    b, a = np.array(there.split(), float).reshape(tile + 2, -1), np.array(back.split(), float).reshape(tile, -1)
    piece = rng.standard_normal((tile + 2, tile + 2))
    product = winograd.weights(kernel, tile).reshape(tile + 2, tile + 2) * (b @ piece @ b.T)
    direct = [[float((piece[y : y + 3, x : x + 3] * kernel[0, 0]).sum()) for x in range(tile)] for y in range(tile)]
    np.testing.assert_allclose(a @ product @ a.T, direct, atol=1e-5)


def test_what_rounds_more_stays_within_the_bound_or_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A table says that F(4x4, 3x3) is faster: it is taken, refused by `exact`, and left out where the bound is missed."""
    model = stacked()
    attach(model, Metadata(kind="clip", frames=6, preprocess=Preprocess()))
    onnx.save(model, tmp_path / "clip.onnx")
    lines = []
    for layer in untransformed(model, (), target("native"), "clip").layers:
        chosen = layer.geometry
        assert chosen is not None
        quick, exact = (dict(zip(NUMBERS, (96, 1, 0, 0, 0, tile, 32), strict=True)) for tile in (4, 2))
        facts = {
            "isa": isa(target("native"), chosen), "vector": target("native").block, "processor": here().name,
            "caches_kb": here().caches, "shape": shape(chosen),
            "kept": chosen.kept, "frames": chosen.frames, "choice": exact, "ms": 2.0, "default_ms": 3.0,
            "approximate": quick, "approximate_ms": 1.0, "date": "2026-11-29",
        }  # fmt: skip
        lines.append(json.dumps(facts))
    table = tmp_path / "table.jsonl"
    table.write_text("\n".join(lines))

    def tiles(**more: bool) -> tuple[set[int], float]:
        made = compile_model(tmp_path / "clip.onnx", tmp_path / "clip.so", table=table, **more)
        assert made.difference is not None
        return {choice.tile for _, choice in made.chosen if "measured" in choice.why}, made.difference

    (quick, rough), (exact, fine) = tiles(), tiles(exact=True)
    assert (quick, exact) == ({4}, {2}) and fine < rough < 1e-4
    monkeypatch.setattr("everyframe.native.check.TOLERANCE", (fine * rough) ** 0.5)
    assert tiles() == ({2}, fine)
    made = compile_model(tmp_path / "clip.onnx", emit_c=tmp_path, table=table)
    assert {choice.tile for _, choice in made.chosen} == {2}, "what cannot be compared is exact"


@pytest.mark.skipif(not target("native").product, reason="this processor's target has no Winograd's product")
def test_the_first_use_compares_what_rounds_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pictures of 28 and more get F(4x4, 3x3) by default, unless it misses the bound; so does `compile`, but for C alone."""
    sketch = Sketch((1, 32, 3, 28, 28))
    made = sketch.op("Conv", "frames", sketch.normal(32, 32, 3, 3, 3), sketch.normal(32), pads=[1] * 6)
    sketch.answer(sketch.op("Flatten", sketch.op("GlobalAveragePool", sketch.op("Relu", made))))
    model = attach(sketch.model(), Metadata(kind="clip", frames=3, preprocess=Preprocess()))
    onnx.save(model, tmp_path / "clip.onnx")

    def tiles(cache: str) -> set[int]:
        monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / cache))
        found = store.library(model, (), target("native"), "clip", lambda _: None)
        told = found.facts["tables"]
        assert not store.outdated(found.path, target("native"))
        return {dict(zip(NUMBERS, numbers, strict=True))["tile"] for _, _, numbers in told["asked"]}

    assert tiles("first") == {4}
    monkeypatch.setattr("everyframe.native.check.TOLERANCE", 0.0)
    linked: list[str] = []
    monkeypatch.setattr(store, "link", lambda source, *rest: (linked.append(source.text), link(source, *rest))[1])
    assert tiles("second") == {2}
    assert len(linked) == 2, "what makes the same source is compiled once"
    alone = compile_model(tmp_path / "clip.onnx", emit_c=tmp_path)
    assert {choice.tile for _, choice in alone.chosen} == {2}


def of_bytes(zero: int) -> Quantized:
    """Every end that a convolution of bytes can have, on sizes that tiles do not divide; missing frames, zeros in the weights."""
    sketch = Quantized((1, 16, 3, 9, 13))
    x = sketch.grid("frames", 0.03, zero)
    for cout, kernel, pads, then in (
        (40, (3, 3, 3), (1, 1, 1), ""), (17, (1, 3, 3), (0, 2, 0), "Relu"), (24, (3, 3, 3), (1, 1, 1), "silu"),
        (33, (2, 3, 3), (0, 1, 1), "residual"), (16, (3, 3, 3), (2, 1, 1), "float"),
        (24, (1, 1, 1), (0, 0, 0), ""),
    ):  # fmt: skip
        pruned = (sketch.rng.random((-(-cout // 16), 4, kernel[0], 1, 1)) < 0.4).repeat(16, 0)[:cout].repeat(4, 1)
        weight = sketch.random_weight(cout, 16, *kernel, zero=np.broadcast_to(pruned, (cout, 16, *kernel)))
        made = sketch.op("Conv", x, weight, sketch.normal(cout), pads=[*pads, *pads])
        if then == "silu":
            made = sketch.op("Mul", made, sketch.op("Sigmoid", made))
        elif then == "residual":
            made = sketch.op("Relu", sketch.op("Add", made, sketch.grid(sketch.op("Abs", made), 0.1, 3)))
        elif then == "Relu":
            made = sketch.op("Relu", made)
        sketch.steps(made if then == "float" else sketch.grid(made, 0.05, 0 if then == "Relu" else 100), 0.05)
    return sketch


@pytest.mark.parametrize("cpu", [name for name in ALL_CPUS if TARGETS[name].product])
@pytest.mark.parametrize("zero", [0, 128, 255])
def test_bytes_are_the_same(cpu: str, zero: int, tmp_path: Path) -> None:
    sketch = of_bytes(zero)
    source, _, fitting = generate(sketch.model(), (), target(cpu), where="sketch", choose=by(4, 1))
    assert source.text.count("Winograd F(4x4, 3x3)") >= 5 and source.inexact == 0
    stream = Library(link(source, fitting, sketch.model(), tmp_path / "sketch.so", QUICK)).start(3)
    compare(stream.step(noise(sketch)), exactly(sketch.model(), noise(sketch)))
    stream.close()


@pytest.mark.parametrize("cpu", [name for name in ALL_CPUS if TARGETS[name].product])
def test_the_largest_sums_of_bytes_are_found(cpu: str, tmp_path: Path) -> None:
    """Just below 2**25; what may be larger is not transformed."""
    sketch = Quantized((1, 38, 3, 6, 7))
    for channels in (38, 39):
        given = "frames" if channels == 38 else sketch.op("Conv", "frames", sketch.normal(39, 38, 1, 1, 1))
        x = sketch.grid(sketch.op("Add", sketch.op("Abs", given), sketch.constant(9.0)), 0.01, 0)  # 255 everywhere
        weight = sketch.weight(np.array([-128, 127], np.int8).repeat(channels * 27).reshape(2, channels, 3, 3, 3), 1e-6)
        made = sketch.op("Conv", x, weight, pads=[1] * 6)
        sketch.steps(made, 1e-8)
    source, _, fitting = generate(sketch.model(), (), target(cpu), where="sketch", choose=by(4, 1))
    stream = Library(link(source, fitting, sketch.model(), tmp_path / "sketch.so", QUICK)).start(1)
    compare(stream.step(noise(sketch)), exactly(sketch.model(), noise(sketch)))
    stream.close()
    assert {len(layer.op.taps[0].planes) for layer in source.layers if layer.op.tile} == {38}


@pytest.mark.parametrize("cpu", VECTORS[-1:])
def test_sanitizers_find_nothing(cpu: str, tmp_path: Path) -> None:
    sanitized(of_bytes(100), tmp_path, cpu, by(4, 1))
