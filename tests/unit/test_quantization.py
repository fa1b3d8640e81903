"""Static INT8, the whole road: figures against direct computations, what is put back, what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import everyframe
import handmade
from everyframe.errors import EveryframeError, ModelError, SourceError, UsageError
from everyframe.modelfile.file import attach, load, metadata_of, save
from everyframe.modelfile.schema import Metadata, Preprocess, StateSpec
from everyframe.quantization.compare import compare
from everyframe.quantization.conventions import TARGETS
from everyframe.quantization.quantize import Quantized, opened, quantize
from everyframe.quantization.videos import chosen
from everyframe.quantization.write import counterpart
from quantizing import LENGTHS, ExactWalk, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("quantize"))


@pytest.fixture(scope="module")
def quantized(folder: Path) -> Quantized:
    return quantize(folder / "step.onnx", folder / "videos", folder / "int8.onnx", frames=1000, engines=())


def test_counter_masks_and_bands_stay_as_they_are(quantized: Quantized) -> None:
    float_inputs = {x for node in quantized.model.graph.node if node.op_type == "QuantizeLinear" for x in node.input[:1]}
    assert not [x for x in float_inputs if ".band" in x or ".share" in x or x.startswith("state.t")]
    weights = {t.name for t in quantized.model.graph.initializer}
    assert [name for name in weights if name.endswith(".band")], "the band of the head's window is still there, in float"


# -- the whole road ----------------------------------------------------------------------------------------------------


def test_a_step_model_stays_near_float_for_a_thousand_frames(quantized: Quantized) -> None:
    found = quantized.comparison
    assert found.frames >= 1000 and found.videos == len(LENGTHS)
    assert found.answers.cosine >= 0.99 and found.answers.agreement >= 0.95 and found.answers.kl < 0.01
    assert not quantized.grows and all(row.drift_db < 0.5 for row in found.states)
    assert found.states and all(row.precision == "int" for row in found.states)
    assert {row.precision for row in found.layers} == {"int", "float"}  # the head's window stays float
    assert quantized.put_back == () and quantized.warnings == ()


def test_scores_of_the_quantized_model_are_those_that_the_float_ones_were_fitted_to(folder: Path, quantized: Quantized) -> None:
    """Logits that are twice as large are divided by twice as much."""
    model = opened(folder / "step.onnx")
    fitted = replace(model, metadata=model.metadata.model_copy(update={"temperature": 2.5}))
    doubled = copy.deepcopy(model.model)
    name = model.interface.logits
    for node in doubled.graph.node:
        node.output[:] = [f"{x}.as_it_was" if x == name else x for x in node.output]
    doubled.graph.initializer.append(numpy_helper.from_array(np.float32(2), "two"))
    doubled.graph.node.append(helper.make_node("Mul", [f"{name}.as_it_was", "two"], [name]))
    assert compare(fitted, doubled, chosen(folder / "one"), frames=20).temperature == pytest.approx(5, rel=2e-3)
    assert quantized.comparison.temperature == 1, "the float model's scores were never fitted"


def test_the_file_keeps_its_own_temperature(folder: Path, tmp_path: Path) -> None:
    model = load(folder / "step.onnx")
    metadata = metadata_of(model)
    assert metadata is not None
    save(attach(model, metadata.model_copy(update={"temperature": 2.5})), tmp_path / "fitted.onnx")
    found = quantize(tmp_path / "fitted.onnx", folder / "one", tmp_path / "int8.onnx", frames=40, engines=())
    made = metadata_of(load(tmp_path / "int8.onnx"))
    assert made is not None
    kept = made.temperature
    assert kept == found.comparison.temperature != 2.5
    assert kept == pytest.approx(2.5, rel=0.1)


def test_figures_are_those_of_numpy(folder: Path, quantized: Quantized) -> None:
    """Cosine, SQNR, largest error of one layer and of the answers, from the arrays themselves."""
    model = opened(folder / "step.onnx")
    name = next(layer.output for layer in quantized.structure.layers if layer.op == "Add")
    found = compare(model, quantized.model, chosen(folder / "videos"), layers=quantized.structure.layers, frames=40)
    late = model.metadata.feature_delay
    one, two = model.walk([name]), model.walk([counterpart(quantized.model)[name]], model=quantized.model)
    inputs = [frames for _, frames in model.inputs(chosen(folder / "videos"))]
    pairs = []
    for i, frames in enumerate([*inputs[:late], *inputs[:20], *inputs[:20]]):
        a, b = one.step(frames), two.step(frames)
        if i >= late:
            pairs.append((a[name].ravel(), b[two.watched[0]].ravel(), a["logits"].ravel(), b["logits"].ravel()))
    x, y, p, q = (np.concatenate(part).astype(np.float64) for part in zip(*pairs, strict=True))
    row = next(row for row in found.layers if row.name == next(la.name for la in quantized.structure.layers if la.output == name))
    assert row.cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-6)
    assert row.sqnr_db == pytest.approx(10 * np.log10((x @ x) / ((x - y) @ (x - y))), abs=0.05)
    assert row.max_error == pytest.approx(np.abs(x - y).max(), rel=1e-4)
    assert (row.low, row.high) == pytest.approx((x.min(), x.max()), rel=1e-6)
    assert found.answers.cosine == pytest.approx(p @ q / np.linalg.norm(p) / np.linalg.norm(q), abs=1e-6)


def integrator(path: Path) -> Path:
    """A state that adds up the pictures' means for ever: small errors add up with them."""
    f32, size = TensorProto.FLOAT, (1, 1, 12, 16)
    nodes = [
        helper.make_node("Mul", ["frames", "small"], ["part"], "small part"),
        helper.make_node("Add", ["state.sum.in", "part"], ["state.sum.out"], "sum"),
        helper.make_node("GlobalAveragePool", ["state.sum.out"], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], "head"),
    ]
    made = handmade.model(
        nodes, {"frames": (f32, size), "state.sum.in": (f32, size)}, {"logits": (f32, (1, 2)), "state.sum.out": (f32, size)},
        [handmade.tensor("small", [[[[0.01]]]]), handmade.tensor("w", [[1.0, -1.0]]), handmade.tensor("b", [0.1, 0.0])],
    )  # fmt: skip
    state = StateSpec(input="state.sum.in", output="state.sum.out", shape=size)
    gray = Preprocess(resize=(12, 16), color="gray")
    save(attach(made, Metadata(kind="step", frames=4, states=(state,), preprocess=gray)), path)
    return path


def test_an_error_that_a_state_adds_up_is_seen(folder: Path, tmp_path: Path) -> None:
    found = quantize(integrator(tmp_path / "sum.onnx"), folder / "one", frames=400, min_similarity=0)
    assert found.grows and found.comparison.states[0].drift_db > 2


@pytest.mark.parametrize("target", ["cpu", "vitis-dpu"])
def test_mixed_precision_reaches_the_similarity(folder: Path, target: str) -> None:
    plain = quantize(folder / "step.onnx", folder / "one", target=target, min_similarity=0, frames=200)
    wanted = (1 + plain.comparison.answers.cosine) / 2
    mixed = quantize(folder / "step.onnx", folder / "one", target=target, min_similarity=wanted, frames=200)
    assert plain.put_back == () and plain.comparison.answers.cosine < wanted
    assert mixed.put_back and mixed.comparison.answers.cosine >= wanted
    assert mixed.similarity == pytest.approx(plain.comparison.answers.cosine)
    floats = {row.name for row in mixed.comparison.layers if row.precision == "float"}
    assert set(mixed.put_back) <= floats
    metadata = metadata_of(mixed.model)
    assert metadata is not None and mixed.put_back[0] in metadata.provenance.notes[-1]


@pytest.mark.parametrize("target", list(TARGETS))
def test_targets_get_their_numbers(folder: Path, target: str) -> None:
    found = quantize(folder / "step.onnx", folder / "one", target=target, frames=40)
    to = TARGETS[target]
    constants = {t.name: numpy_helper.to_array(t) for t in found.model.graph.initializer}
    activations = [n for n in found.model.graph.node if n.op_type == "QuantizeLinear"]
    weights = [n for n in found.model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants]
    assert activations and weights
    for node in activations:
        zero = constants[node.input[2]]
        assert zero.dtype == to.activations and (not to.symmetric or zero == 0)
    if to.power_of_two:
        for scale in (constants[n.input[1]] for n in (*activations, *weights)):
            assert np.all(np.log2(scale) == np.rint(np.log2(scale)))
    sizes = {constants[n.input[1]].size for n in weights if constants[n.input[0]].dtype == np.int8}
    assert (max(sizes) > 1) == to.per_channel
    assert found.comparison.answers.cosine > 0.99


def test_sixteen_bits_are_nearer(folder: Path, quantized: Quantized) -> None:
    wide = quantize(folder / "step.onnx", folder / "one", target="rdk-s100", activations="int16", frames=200)
    assert wide.comparison.answers.sqnr_db > quantized.comparison.answers.sqnr_db + 3


def test_a_clip_model(folder: Path, tmp_path: Path) -> None:
    found = quantize(
        folder / "clip.onnx", folder / "videos", tmp_path / "clip.int8.onnx", method="percentile", frames=100, engines=()
    )
    assert found.comparison.answers.cosine > 0.99 and not found.comparison.states
    assert found.calibration.steps == sum(n // 8 for n in LENGTHS) and "only 12 clips" in found.warnings[0]
    with everyframe.open(tmp_path / "clip.int8.onnx", engine="ort") as program:
        assert len(list(program.predict(folder / "videos" / "0.mp4"))) == 5


def test_a_model_that_takes_bytes(folder: Path, tmp_path: Path) -> None:
    rng, f32 = np.random.default_rng(0), TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["frames"], ["floats"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["pictures"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["pictures", "scale"], ["x"], "scale"),
        helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["y"], ["z"], "relu"),
        helper.make_node("GlobalAveragePool", ["z"], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "v"], ["logits"], "fc"),
    ]
    weights = {"scale": 1 / 255, "w": rng.normal(size=(8, 3, 3, 3)), "v": rng.normal(size=(8, 4))}
    made = handmade.model(
        nodes, {"frames": (TensorProto.UINT8, (1, 24, 32, 3))}, {"logits": (f32, (1, 4))},
        [handmade.tensor(name, value) for name, value in weights.items()],
    )  # fmt: skip
    save(attach(made, Metadata(kind="step", frames=1, preprocess=Preprocess(resize=(24, 32)))), tmp_path / "bytes.onnx")
    found = quantize(tmp_path / "bytes.onnx", folder / "one", frames=40)
    assert found.comparison.answers.cosine > 0.999
    assert {row.name for row in found.comparison.layers if row.precision == "int"} == {"scale", "conv", "mean", "fc"}


def test_kept_in_float(folder: Path) -> None:
    found = quantize(folder / "step.onnx", folder / "one", keep_float=["mix*", "fc"], frames=40)
    floats = {row.name for row in found.comparison.layers if row.precision == "float"}
    convolutions = {layer.name for layer in found.structure.layers if layer.op.startswith(("Conv", "Gemm"))}
    assert {"mix", "fc"} <= convolutions & floats and all(name.startswith("stem") for name in convolutions - floats)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_what_the_file_said_it_still_says(folder: Path, quantized: Quantized) -> None:
    before, after = metadata_of(load(folder / "step.onnx")), metadata_of(load(folder / "int8.onnx"))
    assert before is not None and after is not None
    assert after.model_copy(update={"provenance": None}) == before.model_copy(update={"provenance": None})
    notes = " ".join(after.provenance.notes)
    assert after.provenance.passes[-1] == "quantize" and after.provenance.weights_sha256 == before.provenance.weights_sha256
    assert f"{sum(LENGTHS)} frames of {len(LENGTHS)} videos" in notes and "uint8" in notes and "minmax" in notes


def test_native_and_ort_stream_it_as_exact_arithmetic_does(folder: Path, quantized: Quantized) -> None:
    """ONNX Runtime may round a value between two steps either way, which moves the answers by a few hundredths at most."""
    model = opened(folder / "step.onnx")
    exact = ExactWalk(quantized.model, model.metadata, frames=model.interface.frames)
    inputs = [frames for _, frames in model.inputs(chosen(folder / "videos" / "1.mp4"))]
    wanted = np.stack([exact.step(frames)["logits"].ravel() for frames in inputs])[model.metadata.feature_delay :]
    for engine, most in (("ort", 0.05), ("native", 1e-4)):
        with everyframe.open(folder / "int8.onnx", engine=engine) as program:
            assert program.labels == tuple("abcd")
            answers = np.stack([p.logits for p in program.predict(folder / "videos" / "1.mp4")])
        assert len(answers) == len(wanted) == LENGTHS[1] - model.metadata.feature_delay
        assert np.abs(answers - wanted).max() < most * np.abs(wanted).max(), engine


# -- what is refused and warned of -------------------------------------------------------------------------------------


def test_bad_input_is_refused_and_nothing_written(folder: Path, tmp_path: Path) -> None:
    step, videos, out = folder / "step.onnx", folder / "videos", tmp_path / "out.onnx"
    (tmp_path / "empty").mkdir()
    short = tmp_path / "short"
    short.mkdir()
    handmade.write_video(short / "a.mp4", 3, rate=10)
    fixed = tmp_path / "fixed.onnx"  # does not say how to resize
    metadata = metadata_of(load(step))
    assert metadata is not None
    save(attach(load(step), metadata.model_copy(update={"preprocess": Preprocess()})), fixed)
    cases: list[tuple[type[EveryframeError], str, Any, Any, dict[str, Any]]] = [
        (SourceError, "neither a video nor a picture", step, tmp_path / "empty", {}),
        (SourceError, "no such video", step, tmp_path / "missing", {}),
        (SourceError, "too short", folder / "clip.onnx", short, {}),
        (SourceError, "does not have the size", fixed, videos, {}),
        (UsageError, "no integers for this target", step, videos, {"target": "abacus"}),
        (UsageError, "such activations", step, videos, {"target": "vitis-dpu", "activations": "int16"}),
        (UsageError, "no such method", step, videos, {"method": "guess"}),
        (UsageError, "no such overflow fix", step, videos, {"overflow_fix": "some"}),
        (UsageError, "between 0 and 1", step, videos, {"min_similarity": 1.5}),
        (UsageError, "such a name", step, videos, {"keep_float": ["nothing*"]}),
        (UsageError, "cannot be like that", step, videos, {"method": "percentile", "percentile": 40.0}),
        (ModelError, "No node", step, videos, {"keep_float": ["*"]}),
        (ModelError, "no such model", tmp_path / "none.onnx", videos, {}),
    ]
    for kind, words, model, source, options in cases:
        with pytest.raises(kind, match=words):
            quantize(model, source, out, **options)
        assert not out.exists(), words


def test_a_quantized_model_is_not_quantized_again(folder: Path, quantized: Quantized) -> None:
    with pytest.raises(ModelError, match="quantized already"):
        quantize(folder / "int8.onnx", folder / "videos")
