"""What fits a device, on the engines that are here: states moved by the host, the zoo, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import handmade
from device_graphs import cli, graph
from everyframe import modelfile
from everyframe.devices import check, load_profile, plan, targets
from everyframe.devices.prove import prove
from everyframe.devices.rewrites import host_state
from everyframe.errors import EngineError
from everyframe.modelfile.session import run
from everyframe.runtime import engine as engines
from everyframe.runtime import states
from everyframe.runtime.program import Program


@pytest.mark.parametrize("engine", ["ort", "reference", "native"])
@pytest.mark.parametrize(
    "form", [{"form": "ring"}, {"form": "slots"}, {"form": "ring", "hop": 2}, {"form": "ring", "taps": 2, "hop": 3}], ids=str
)
def test_engines_move_states_themselves(form: dict, engine: str, tmp_path: Path) -> None:
    net = handmade.conv_step(tmp_path / "step.onnx", counter=True, **form)
    lean = host_state.apply(modelfile.load(tmp_path / "step.onnx"))
    assert lean is not None
    video = np.random.default_rng(1).normal(size=(12, 2, 4, 5)).astype(np.float32)
    metadata = modelfile.metadata_of(lean)
    assert metadata is not None
    job = engines.Job(lean, "lean.onnx", "frames", "logits", states.plan(metadata.states, "lean"), 1)
    stream, hop = engines.load(engine, job).start(), net["hop"]
    got = np.concatenate([stream.step(video[t : t + hop]) for t in range(0, 12, hop)])
    assert np.allclose(got, handmade.conv_oracle(net, video), atol=1e-5)


def test_a_tsm_step_for_a_dpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shift of the FPGA port: the device takes the old eighth of the channels and gives the new one."""
    pytest.importorskip("torch")
    from everyframe import models
    from everyframe.conversion import convert
    from helpers import quick_export, randomise

    net = randomise(models.create("tsm_mobilenet_v2_online", num_classes=5, frames=8, size=32), seed=1)
    step = convert(quick_export(net, 8, 32)).step
    modelfile.save(step, tmp_path / "tsm.onnx")
    arguments = ("check", tmp_path / "tsm.onnx", "-t", "vitis-dpu", "--fix", "--host-state", "-o", tmp_path / "dpu.onnx")
    assert cli(*arguments, "--json") == 0
    assert all(proof["difference"] <= 1e-5 for proof in json.loads(capsys.readouterr().out)["fixed"]["proofs"])
    assert Program(tmp_path / "dpu.onnx", engine="ort").stream().step(np.zeros((1, 3, 32, 32), np.float32)) is not None
    lean = modelfile.load(tmp_path / "dpu.onnx")
    metadata = modelfile.metadata_of(lean)
    assert metadata is not None
    shifts = [spec for spec in metadata.states if len(spec.shape) == 4]
    assert len(shifts) == 10
    assert sum(int(np.prod(spec.shape)) for spec in shifts) == 27048 // 49  # of the published network at 224 x 224
    readers = Counter(node.op_type for node in lean.graph.node for name in node.input if name in {s.input for s in shifts})
    assert readers == {"Concat": 10}, "each state goes straight into the concatenation of channels"


# --- the zoo, and the engines themselves ---

#: squeeze-and-excite; shifts; several frames a step; one channel
NETWORKS = ("x3d_xs", "tsm_mobilenet_v2_online", "mobilenet3d_v2_0.2x", "motionnet_1.0x")


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, Any]:
    """(clip model, its conversion)."""
    pytest.importorskip("torch")
    from everyframe import models
    from everyframe.conversion import convert
    from helpers import quick_export, randomise

    entry = models.describe(request.param)
    frames, size = min(entry.frames, 16), max(32, entry.min_size)
    net = randomise(models.create(request.param, num_classes=5, frames=frames, size=size), seed=1)
    clip = quick_export(net, frames, size, entry.preprocess.channels)
    return clip, convert(clip)


@pytest.mark.slow
def test_networks_through_every_profile(network: tuple[onnx.ModelProto, Any]) -> None:
    """Nothing crashes, what is called fitting fits, and what node rewrites have changed says the same."""
    clip, conversion = network
    proven = set()
    for name in targets():
        profile = load_profile(name)
        for model in (clip, conversion.step):
            made = plan(model, profile, stream=lambda: conversion)
            assert made.verdict in ("fits", "needs a fix", "does not fit")
            assert all(finding.mend for finding in made.before.findings) or not made.after.fits
            source = made.step.step if made.step else model
            done = source is clip, *(applied.rewrite for applied in made.applied)
            if made.model is source or done in proven:
                continue
            proven.add(done)
            onnx.checker.check_model(made.model, full_check=True)
            assert max(proof.difference for proof in prove(source, made.model, steps=4)) <= 1e-4, name


@pytest.mark.slow
def test_our_engines_take_what_fits(network: tuple[onnx.ModelProto, Any], tmp_path: Path) -> None:
    """The profiles of engines are their own code, so they agree with it."""
    clip, conversion = network
    for model in (clip, conversion.step):
        for name in ("onnxruntime", "native"):
            assert check(model, load_profile(name)).fits
    modelfile.save(conversion.step, tmp_path / "step.onnx")
    shape = [d.dim_value for d in conversion.step.graph.input[0].type.tensor_type.shape.dim]
    frames = np.zeros(shape, np.float32)
    for engine in ("ort", "native") if shape[1] == 1 else ("ort",):  # compiling a large one takes long, and has its own tests
        assert np.isfinite(Program(tmp_path / "step.onnx", engine=engine, threads=1).start().step(frames)).all()


@pytest.mark.parametrize(
    ("target", "engine", "op"), [("native", "native", "NonZero"), ("native", "native", "Det"), ("onnxruntime", "ort", "Optional")]
)
def test_our_engines_refuse_what_does_not_fit(target: str, engine: str, op: str, tmp_path: Path) -> None:
    path = handmade.brightness_step(tmp_path / "step.onnx")
    model = modelfile.load(path)
    assert check(model, load_profile(target)).fits
    domain = "" if op != "Optional" else "com.example"
    made = model.graph.node[-1].output[0]
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node(op, ["before"], [made], name="last", domain=domain))
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    report = check(model, load_profile(target))
    assert [(finding.op or finding.kind) for finding in report.findings] in ([op], ["engine"])
    modelfile.save(model, path)
    with pytest.raises(EngineError):
        Program(path, engine=engine)


@pytest.mark.slow
def test_openvino_agrees(network: tuple[onnx.ModelProto, Any]) -> None:
    """What fits the profile compiles and says the same."""
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    for model in (network[0], network[1].step):
        assert check(model, load_profile("openvino")).fits
        # it may compute in bfloat16 where the processor can
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", exact)
        rng = np.random.default_rng(0)
        feeds = {v.name: rng.standard_normal([d.dim_value for d in v.type.tensor_type.shape.dim]).astype(
            helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)) for v in model.graph.input}  # fmt: skip
        expected = run(model, feeds)
        got = compiled(feeds)
        for name, value in expected.items():
            assert np.allclose(got[name], value, rtol=1e-3, atol=1e-3 * np.abs(value).max()), name


def test_openvino_refuses_what_does_not_fit() -> None:
    openvino = pytest.importorskip("openvino")
    model = graph("Det", [(2, 2)], ())
    assert not check(model, load_profile("openvino")).fits
    with pytest.raises(Exception, match="Det"):
        openvino.Core().read_model(model.SerializeToString())
