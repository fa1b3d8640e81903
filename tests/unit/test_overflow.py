"""Weights that overflow on no x86 processor: scales, which layers, what the file and the report say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import handmade
from everyframe.modelfile import saturation
from everyframe.modelfile.file import attach, load, metadata_of
from everyframe.modelfile.schema import Metadata
from everyframe.quantization.calibrate import calibrate
from everyframe.quantization.conventions import TARGETS, convention
from everyframe.quantization.quantize import quantize
from everyframe.quantization.scales import scale_for, weight_scales
from everyframe.quantization.write import narrower, write
from quantizing import ExactWalk, given_model, noise, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("overflow"))


@given(st.integers(0, 9999), st.integers(1, 20), st.floats(1e-3, 1e3), st.booleans(), st.booleans())
def test_no_pair_overflows_and_no_step_is_coarser_than_needed(
    seed: int, length: int, size: float, per_channel: bool, powers: bool
) -> None:
    rng = np.random.default_rng(seed)
    weight = (size * rng.standard_normal((4, length)) * rng.uniform(0, 1, (4, 1)) ** 4).astype(np.float32)
    axis = 0 if per_channel else None
    usual, ours = (weight_scales(weight, axis, powers=powers, outputs=outputs) for outputs in (None, 0))
    integers = np.rint(weight / ours.reshape(-1, 1)).astype(int)
    assert np.abs(integers).max() <= 127 and saturation.pair(integers, 0) <= 128
    assert np.all(ours >= usual) and np.all(ours <= 2.02 * usual), "at most one bit is given up"
    before = saturation.pairs(np.rint(weight / usual.reshape(-1, 1)))
    if per_channel:
        assert np.array_equal(ours > usual, before > 128), "and only where 8 bits overflow"
        if not powers:  # as large as a pair may be, up to rounding
            assert np.all(saturation.pairs(integers)[before > 128] >= 126)


def three_convolutions() -> onnx.ModelProto:
    """A dense one, a depthwise one and one whose products hardly differ from a single weight; and a linear layer."""
    rng, f32 = np.random.default_rng(0), TensorProto.FLOAT
    single = np.zeros((6, 6, 1, 1))
    single[np.arange(6), np.arange(6)] = 1
    weights = {"a": rng.normal(size=(6, 3, 3, 3)), "ab": rng.normal(size=6), "d": rng.normal(size=(6, 1, 3, 3)), "s": single,
               "f": rng.normal(size=(6, 4))}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["frames", "a", "ab"], ["x"], "dense", pads=[1] * 4),
        helper.make_node("Conv", ["x", "d"], ["y"], "depthwise", pads=[1] * 4, group=6),
        helper.make_node("Conv", ["y", "s"], ["z"], "single"),
        helper.make_node("GlobalAveragePool", ["z"], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
        helper.make_node("MatMul", ["flat", "f"], ["logits"], "head"),
    ]
    made = handmade.model(
        nodes, {"frames": (f32, (1, 3, 8, 9))}, {"logits": (f32, (1, 4))},
        [handmade.tensor(name, value) for name, value in weights.items()],
    )  # fmt: skip
    return attach(made, Metadata(kind="step", frames=1))


@pytest.mark.parametrize(("target", "activations", "fix", "wanted"), [
    ("cpu", None, None, {"dense", "head"}), ("cpu", None, "first", {"dense"}), ("cpu", None, "none", set()),
    ("cpu", "int8", None, {"dense", "head"}), ("cpu", "int16", None, set()), ("rdk-s100", None, None, set()),
    ("tensorrt", None, None, set()), ("vitis-dpu", None, None, set()), ("vitis-dpu", None, "all", {"dense", "head"}),
    ("rdk-s100", None, "first", {"dense"}),
])  # fmt: skip
def test_layers_that_are_narrowed(target: str, activations: str | None, fix: str | None, wanted: set[str]) -> None:
    """What is left at 8 bits is what cannot overflow: depthwise, and one weight for each output; and the file is still right."""
    to = convention(target, activations, fix)
    model, parts = given_model(three_convolutions())
    scales = {g: scale_for(*limits, to) for g, limits in calibrate(model, parts, noise(model)).ranges.items()}
    bits = narrower(parts, to)
    assert set(bits) == wanted and all(7 <= each < 8 for each in bits.values())
    small = write(parts, model.metadata, scales, to, "logits")
    left = {row.name for row in saturation.layers(small)}
    assert left == ({"dense", "head"} - wanted if to.activations != "int16" else set())
    numbers = {t.name: numpy_helper.to_array(t) for t in small.graph.initializer}
    assert np.abs(numbers["d_quantized"]).max() >= (127 if not to.power_of_two else 64)
    # the bias counts in steps of input times weight
    scale = numbers["ab_quantized_scale"] / scales[parts.share["frames"]].scale
    np.testing.assert_allclose(scale, np.broadcast_to(numbers["a_scale"], scale.shape), rtol=1e-6)
    exact, plain = ExactWalk(small, model.metadata), ExactWalk(model.model, model.metadata)
    answers = [(exact.step(x)["logits"], plain.step(x)["logits"]) for x in noise(model)[0]]
    assert max(np.abs(a - b).max() for a, b in answers) < (0.05 if not to.power_of_two else 0.15) * np.abs(answers[0][1]).max()


def test_taps_of_one_convolution_are_the_first_layer(folder: Path) -> None:
    """The pieces that a convolution over time was cut into."""
    found = quantize(folder / "step.onnx", folder / "one", overflow_fix="first", frames=40)
    assert len(found.weight_bits) > 1 and {name.split("::")[0] for name in found.weight_bits} == {"stem"}


def test_it_is_said(folder: Path, tmp_path: Path) -> None:
    found = quantize(folder / "step.onnx", folder / "one", tmp_path / "int8.onnx", frames=40, engines=())
    assert TARGETS["cpu"].overflow_fix == "all" and found.weight_bits and found.engines == ()
    said = found.to_dict()
    assert said["overflow_fix"] == "all" and said["weight_bits"] == found.weight_bits
    assert not saturation.layers(load(tmp_path / "int8.onnx"))
    metadata = metadata_of(found.model)
    assert metadata is not None
    assert f"bits used in {len(found.weight_bits)} layers, 8 in the others" in " ".join(metadata.provenance.notes)
    plain = quantize(folder / "step.onnx", folder / "one", overflow_fix="none", frames=40)
    assert plain.weight_bits == {} and saturation.layers(plain.model)
    assert plain.comparison.answers.sqnr_db > found.comparison.answers.sqnr_db - 1


def test_figures_do_not_depend_on_the_processor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of a file that can saturate: as on a processor that does not."""
    one = quantize(folder / "step.onnx", folder / "one", overflow_fix="none", frames=40)
    monkeypatch.setattr(saturation, "here", lambda: True)
    two = quantize(folder / "step.onnx", folder / "one", overflow_fix="none", frames=40)
    assert two.comparison.answers.sqnr_db == pytest.approx(one.comparison.answers.sqnr_db, abs=1.0)
