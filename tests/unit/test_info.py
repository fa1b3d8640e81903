"""`everyframe info`: facts of clip networks, costs of step networks, and the published table beside ours."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import numpy as np
import pytest

import everyframe
import handmade
from clips import clip_net
from command_line import everyframe as cli
from everyframe import models
from everyframe.conversion import convert
from everyframe.conversion.account import compare, layer_of
from everyframe.modelfile import attach, saturation
from everyframe.modelfile.file import load, save
from everyframe.modelfile.floats import floats
from everyframe.modelfile.schema import Metadata, Preprocess, Provenance, StateSpec
from everyframe.quantization.quantize import quantize
from helpers import quick_export
from quantizing import ExactWalk, given_model, motion, noise

KEYS = {
    "hop", "delay_frames", "receptive_field_frames", "window_frames", "macs_per_step", "macs_per_frame", "params", "state_floats",
    "transient_floats", "states",
}  # fmt: skip


def test_step_figures_can_be_worked_out_by_hand(tmp_path: Path) -> None:
    everyframe.convert(clip_net(tmp_path / "clip.onnx"), tmp_path / "step.onnx")
    found = everyframe.info(tmp_path / "step.onnx")
    assert set(found) >= KEYS
    # stem 3x3x3, 3 -> 6 on 12x16 -> 6x8; mix 3x1x1, 6 -> 6; fc 6 -> 4
    stem, mix, fc = 6 * 6 * 8 * 3 * 27, 6 * 6 * 8 * 6 * 3, 6 * 4
    assert found["macs_per_step"] == stem + mix + fc == found["macs_per_frame"]
    assert found["params"] == (6 * 3 * 27 + 6) + (6 * 6 * 3 + 6) + (6 * 4 + 4)
    # stem: 2 sums of 6x6x8 (a ring would be 2 x 3x12x16); mix and residual share a ring of 2 x 6x6x8; 7 pooled frames of 6
    assert found["state_floats"] == 2 * 288 + 2 * 288 + 7 * 6
    assert found["state_floats"] == sum(prod(s["shape"]) for s in found["states"] if s["dtype"] == "float32")
    assert (found["hop"], found["feature_delay_frames"], found["delay_frames"]) == (1, 2, 9)
    assert (found["receptive_field_frames"], found["window_frames"]) == (12, 8)
    assert found["transient_floats"] >= 2 * 288
    assert sum(row["macs"] for row in found["layers"]) == found["macs_per_step"]
    assert {row["name"] for row in found["layers"]} >= {"stem", "mix", "fc"}


def test_clip_facts_of_every_tensor(tmp_path: Path) -> None:
    found = everyframe.info(clip_net(tmp_path / "clip.onnx", stride=2))
    facts = {row["op"]: (row["every"], row["delay"]) for row in found["tensors"] if row["op"] in ("Conv", "Add", "ReduceMean")}
    assert facts == {"Conv": (2, 3), "Add": (2, 3), "ReduceMean": (2, 2)}
    assert found["hop"] == 2 and found["macs_per_clip"] == 4 * found["streamed"]["macs_per_step"] - 3 * 24


def test_text_and_json(tmp_path: Path) -> None:
    everyframe.convert(clip_net(tmp_path / "clip.onnx", labels=("a", "b", "c", "d")), tmp_path / "step.onnx")
    text = cli("info", str(tmp_path / "step.onnx"))
    assert text.returncode == 0 and "state floats" in text.stdout and "receptive field 12 frames" in text.stdout
    data = json.loads(cli("info", str(tmp_path / "step.onnx"), "--json").stdout)
    assert set(data) >= KEYS and data["labels"] == ["a", "b", "c", "d"]
    clip = cli("info", str(tmp_path / "clip.onnx"))
    assert clip.returncode == 0 and "every" in clip.stdout and "delay" in clip.stdout


def test_what_a_stream_takes_when_compiled(tmp_path: Path) -> None:
    everyframe.convert(clip_net(tmp_path / "clip.onnx"), tmp_path / "step.onnx")
    step, clip = (json.loads(cli("info", str(tmp_path / f"{n}.onnx"), "--json").stdout)["compiled"] for n in ("step", "clip"))
    assert set(step["bytes"]) == {"states", "before the first frame", "within a step"}
    assert step["bytes"]["states"] == sum(pool["bytes"] for pool in step["states"]) >= 4 * 6 * 6 * 8
    assert clip["bytes"]["states"] == 0 and clip["states"] == []
    for account in (step, clip):
        assert 0 < account["bytes"]["within a step"] <= account["step"]["bytes_unshared"]
    assert "a stream takes" in cli("info", str(tmp_path / "step.onnx")).stdout


def test_what_cannot_be_compiled_is_said(tmp_path: Path) -> None:
    everyframe.convert(clip_net(tmp_path / "clip.onnx"), tmp_path / "step.onnx")
    model = load(tmp_path / "step.onnx")
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "RandomNormalLike"
    save(model, tmp_path / "odd.onnx")
    done = cli("info", str(tmp_path / "odd.onnx"))
    assert done.returncode == 0 and "native engine: The operator RandomNormalLike cannot be compiled" in done.stdout


@pytest.mark.parametrize("form", ["step", "clip"])
def test_a_quantized_model_has_the_facts_of_its_float_one_and_says_whether_it_can_saturate(form: str, tmp_path: Path) -> None:
    clip_net(tmp_path / "clip.onnx", labels=tuple("abcd"), preprocess=Preprocess(resize=(12, 16)))
    everyframe.convert(tmp_path / "clip.onnx", tmp_path / "step.onnx")
    handmade.write_video(tmp_path / "video.mp4", 40, rate=10)
    plain = everyframe.info(tmp_path / f"{form}.onnx")
    assert plain["saturation"] is None
    for fix, wanted in (("none", {"stem", "fc"}), ("all", set())):
        small = tmp_path / "int8.onnx"
        quantize(tmp_path / f"{form}.onnx", tmp_path / "video.mp4", small, overflow_fix=fix, frames=16, engines=())
        found = everyframe.info(small)
        assert wanted <= {layer_of(row["name"]) for row in found["saturation"]["layers"]}
        assert bool(found["saturation"]["layers"]) == bool(wanted)
        assert found["saturation"]["this_processor"] == saturation.here()
        work = {"macs_per_step", "macs_per_clip", "params", "delay_frames", "receptive_field_frames"} & set(plain)
        assert {key: found[key] for key in work} == {key: plain[key] for key in work}
        said = cli("info", str(small)).stdout
        assert ("can saturate on x86 processors without VNNI" if wanted else "overflow on no x86 processor") in said


def test_a_quantized_model_without_its_integers_is_the_float_one_up_to_its_rounding(tmp_path: Path) -> None:
    """Where nothing was fused into the limits of bytes."""
    model = given_model(load(motion(tmp_path / "net.onnx")))[0]
    quantize_to = tmp_path / "int8.onnx"
    handmade.write_video(tmp_path / "video.mp4", 40, rate=10)
    quantize(tmp_path / "net.onnx", tmp_path / "video.mp4", quantize_to, keep_float=["relu"], frames=16, engines=())
    small = load(quantize_to)
    plain = floats(small)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in plain.graph.node} and floats(plain) is plain
    one, two = ExactWalk(model.model, model.metadata), ExactWalk(plain, model.metadata)
    answers = [(one.step(x)["logits"], two.step(x)["logits"]) for x in noise(model)[0]]
    assert max(np.abs(a - b).max() / np.abs(a).max() for a, b in answers) < 0.03  # weights are still rounded


def test_missing_file_is_exit_code_2(tmp_path: Path) -> None:
    done = cli("info", str(tmp_path / "none.onnx"))
    assert done.returncode == 2 and "no such model file" in done.stderr


def test_published_table_needs_exactly_that_network() -> None:
    def state(layer: str, *shape: int) -> StateSpec:
        return StateSpec(input=f"state.{layer}.in", output=f"state.{layer}.out", shape=shape)

    assert compare([]) is None
    assert compare([state("stem", 4, 24, 112, 112)]) is None


def test_cox3d_m_beside_the_paper(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    entry = models.describe("x3d_m")
    clip = quick_export(models.create("x3d_m"), entry.frames, entry.size[0])
    made_from = Provenance(model="x3d_m")
    attach(clip, Metadata(kind="clip", frames=entry.frames, preprocess=entry.preprocess, provenance=made_from))
    save(convert(clip).step, tmp_path / "step.onnx")
    found = everyframe.info(tmp_path / "step.onnx")
    table = found["published"]
    assert found["state_floats"] == table["ours_total"] <= 4_988_016
    assert table["printed_total"] == 4_771_632 == sum(row["printed"] for row in table["rows"])
    assert table["formula_total"] == 5_279_664
    assert [row["label"] for row in table["rows"] if row["wrong"]] == ["res2 conv 1-3"]
    assert (found["delay_frames"], found["receptive_field_frames"], found["feature_delay_frames"]) == (43, 72, 28)
    shown = cli("info", str(tmp_path / "step.onnx")).stdout
    assert "the printed row is wrong" in shown and "4,988,016" in shown
