"""`everyframe check`: profiles, findings, rewrites, and the command on networks as people have them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import handmade
from everyframe import modelfile
from everyframe.cli import main
from everyframe.devices import check, fix, load_profile, plan, targets
from everyframe.devices.check import passed_through
from everyframe.devices.nodes import view
from everyframe.devices.profile import parse
from everyframe.devices.prove import prove
from everyframe.devices.rewrites import REWRITES, activations, host_state, join, means, opset
from everyframe.devices.rewrites.edit import exchanged
from everyframe.errors import ConversionMismatch, EngineError, ModelError, UsageError
from everyframe.modelfile.session import run
from everyframe.modelfile.without_weights import with_weights, without_weights
from everyframe.runtime import engine as engines
from everyframe.runtime import states
from everyframe.runtime.program import BUILTIN, Program

F32 = TensorProto.FLOAT


def graph(op: str, shapes: list[tuple], out: tuple, *, at: int = 18, weights: Any = (), inputs: Any = None, **attrs: Any) -> Any:
    """A model of one node. weights: constants that follow its inputs, as (name, array)."""
    names = [f"x{i}" for i in range(len(shapes))]
    node = helper.make_node(op, inputs or [*names, *(name for name, _ in weights)], ["y"], name=op, **attrs)
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        [node], "one", [info(name, F32, shape) for name, shape in zip(names, shapes, strict=True)], [info("y", F32, out)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in weights],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", at)], ir_version=8)


def outputs(model: onnx.ModelProto) -> np.ndarray:
    rng = np.random.default_rng(0)
    feeds = {v.name: 3 * rng.standard_normal([d.dim_value for d in v.type.tensor_type.shape.dim]).astype(np.float32)
             for v in model.graph.input}  # fmt: skip
    if model.graph.node[0].op_type == "ReduceLogSum":
        feeds = {name: abs(array) for name, array in feeds.items()}
    return next(iter(run(model, feeds).values()))


def ops(model: onnx.ModelProto) -> Counter:
    return Counter(node.op_type for node in model.graph.node)


def cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as done:
        main.run([str(argument) for argument in arguments])
    return int(done.value.code or 0)


# --- profiles ---


@pytest.mark.parametrize("name", targets())
def test_a_profile_is_consistent(name: str) -> None:
    """Its name is its file's, every entry says where it is from, and every operator exists."""
    profile = load_profile(name)
    assert profile.name == name
    for entry in profile.operators:
        assert entry.origin.startswith(("http", "inferred: ")), entry
        assert all(onnx.defs.has(op) for op in entry.ops), entry.ops
        assert len(set(entry.ops)) == len(entry.ops)
    limits = (profile.opset, profile.ir, profile.inputs, profile.outputs, profile.tensors, profile.states)
    assert all(limit.origin for limit in limits if limit is not None)
    assert profile.engine or profile.operators


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "a"\ntitle = "A"\n[[operators]]\nops = ["Relu"]\nsourc = "http://here"', "did you mean source"),
        ('name = "a"\ntitle = "A"\nopsets = 3', "did you mean opset"),
        ('name = "a"\ntitle = "A"\n[[operators]]\nops = ["Relu"]', "source"),
        (
            'name = "a"\ntitle = "A"\n[[operators]]\nops = ["Or"]\nsource = "http://a"\ninferred = "because it is"',
            "not both",
        ),
        ('name = "a"\ntitle = "A"\n[opset]\nmaxx = 3\nsource = "http://here"', "did you mean max"),
        ("name = ", "not TOML"),
    ],
)
def test_a_profile_is_read_strictly(text: str, said: str) -> None:
    with pytest.raises(ModelError) as refused:
        parse(text, "mine.toml")
    assert said in str(refused.value)


# --- what is found ---


@pytest.fixture(scope="module")
def post() -> onnx.ModelProto:
    """R3D-18 as torchvision has it, with an AdaptiveAvgPool3d, by torch's older exporter; narrower behind its first stage."""
    torch = pytest.importorskip("torch")
    from everyframe.models.families import resnet_18
    from helpers import quick_export, randomise

    class Pooled(resnet_18.ResNet18):
        def forward(self, clip: Any) -> Any:
            x = self.stem(clip)
            for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
                x = stage(x)
            return self.fc(torch.flatten(torch.nn.functional.adaptive_avg_pool3d(x, 1), 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet_18, "WIDTHS", (64, 16, 16, 16))
        net = randomise(Pooled(10, 8, (32, 32), variant="r3d_18").eval(), seed=1)
    return quick_export(net, 8, 32)


def test_the_pool_that_the_s100_refuses(post: onnx.ModelProto, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The published conversion: 3-D convolutions stay, the 3-D global pool becomes a mean over axes 2, 3 and 4."""
    modelfile.save(post, tmp_path / "r3d.onnx")
    before = ops(post)
    assert (before["Conv"], before["Relu"], before["Add"], before["GlobalAveragePool"]) == (20, 17, 8, 1)
    assert cli("check", tmp_path / "r3d.onnx", "--target", "rdk-s100", "--json") == 1
    (found,) = json.loads(capsys.readouterr().out)["targets"]
    (finding,) = found["findings"]
    assert (finding["op"], finding["kind"], finding["mend"]) == ("GlobalAveragePool", "rank", "means")
    assert "3dresnet" in finding["origin"]
    assert found["verdict"] == "needs a fix"

    assert cli("check", tmp_path / "r3d.onnx", "--target", "rdk-s100", "--fix", "-o", tmp_path / "s100.onnx", "--json") == 0
    proofs = json.loads(capsys.readouterr().out)["fixed"]["proofs"]
    assert {proof["on"] for proof in proofs} == {"noise", "video"}
    assert all(proof["difference"] <= 1e-5 for proof in proofs)
    fixed = modelfile.load(tmp_path / "s100.onnx")
    (mean,) = [node for node in view(fixed).nodes if node.op == "ReduceMean"]
    assert mean.axes == (2, 3, 4)
    assert ops(fixed) - Counter(ReduceMean=1) == before - Counter(GlobalAveragePool=1)
    assert cli("check", tmp_path / "s100.onnx", "--target", "rdk-s100") == 0


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_r3d_18")
def test_what_export_writes_needs_no_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`everyframe export` writes R3D-18's pool as a mean, so the S100 takes it as it is; the X5 takes nothing on five axes."""
    monkeypatch.chdir(tmp_path)
    assert cli("export", "r3d_18", "-o", "clip.onnx", "--frames", 8, "--size", 32, "--num-classes", 5) == 0
    capsys.readouterr()
    assert cli("check", "clip.onnx", "-t", "rdk-s100", "-t", "rdk-x5", "--json") == 1
    s100, x5 = json.loads(capsys.readouterr().out)["targets"]
    assert s100["verdict"] == "fits"
    assert {"opset", "ir", "input"} <= {finding["kind"] for finding in x5["findings"]}


def test_five_axes_become_four_for_a_dpu(post: onnx.ModelProto) -> None:
    made = plan(post, load_profile("vitis-dpu"))
    convolutions = [finding for finding in made.before.findings if finding.op == "Conv"]
    assert len(convolutions) == 20
    assert {finding.mend for finding in convolutions} == {"step"}
    assert made.verdict == "needs a fix"
    assert [applied.rewrite for applied in made.applied] == ["step", "host-state"]
    assert max(rank for node in view(made.model).nodes for rank in node.ranks) <= 4
    assert not list(passed_through(made.model))


def test_what_exists_twice_in_a_file_is_told_apart() -> None:
    """Names need not be unique in ONNX."""
    model = graph("Relu", [(1, 2)], (1, 2))
    model.graph.node[0].name = ""
    model.graph.node.append(helper.make_node("Det", ["y"], ["z"]))
    model.graph.node.append(helper.make_node("Det", ["z"], ["w"]))
    found = check(model, load_profile("tensorrt")).findings
    assert [(finding.node, finding.place) for finding in found] == [("z", "2 of 3"), ("w", "3 of 3")]


def test_constants_are_not_nodes() -> None:
    """What is computed from constants alone is gone before a device sees it."""
    model = graph("Add", [(2, 2)], (2, 2), inputs=["x0", "c"])
    model.graph.node.insert(0, helper.make_node("Det", ["w"], ["d"]))
    model.graph.node.insert(1, helper.make_node("Unsqueeze", ["d", "axis"], ["c"]))
    model.graph.initializer.extend([handmade.tensor("w", np.eye(2)), handmade.tensor("axis", [0], np.int64)])
    assert check(model, load_profile("tensorrt")).fits


def test_operators_of_others_are_named() -> None:
    model = graph("Relu", [(1, 2)], (1, 2))
    model.graph.node[0].domain = "com.example"
    assert [f.op for f in check(model, load_profile("litert")).findings] == ["com.example"]


def test_weights_come_back(post: onnx.ModelProto) -> None:
    assert len(without_weights(post).SerializeToString()) < 0.1 * len(post.SerializeToString())
    assert with_weights(without_weights(post), post).graph == post.graph


# --- rewrites ---


@settings(max_examples=25)
@given(st.data())
def test_means_in_every_form(data: Any) -> None:
    rank = data.draw(st.integers(3, 5))
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank)))
    at, keep = data.draw(st.sampled_from([11, 13, 18])), data.draw(st.booleans())
    axes = sorted(data.draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    spatial = list(range(2, rank))
    kind = data.draw(st.sampled_from(means.OPS))
    if kind != "ReduceMean":
        axes, keep = spatial, True
    result = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
    if kind == "ReduceMean" and at >= 18:
        model = graph(kind, [shape], result, at=at, weights=[("axes", np.array(axes))], keepdims=int(keep))
    else:
        attrs = {"ReduceMean": {"axes": axes, "keepdims": int(keep)}, "AveragePool": {"kernel_shape": list(shape[2:])}}
        model = graph(kind, [shape], result, at=at, **attrs.get(kind, {}))
    for variant in means.VARIANTS:
        made, new = exchanged(model, lambda name, variant=variant: variant)
        if variant is means.flat_pool and axes != spatial:
            assert not new
            continue
        onnx.checker.check_model(made, full_check=True)
        assert np.allclose(outputs(made), outputs(model), rtol=1e-5, atol=1e-6)


def test_a_pool_that_leaves_something_is_no_mean() -> None:
    model = graph("AveragePool", [(1, 2, 4, 4, 4)], (1, 2, 2, 1, 1), kernel_shape=[3, 4, 4])
    made = plan(model, load_profile("rdk-s100"))
    assert "means" not in [applied.rewrite for applied in made.applied]


@pytest.mark.parametrize(
    ("op", "variant"),
    [("HardSwish", activations.gated), ("HardSwish", activations.clipped), ("Swish", activations.gated),
     ("HardSigmoid", activations.clipped)],
)  # fmt: skip
def test_activations_written_out(op: str, variant: Callable) -> None:
    attrs = {"HardSigmoid": {"alpha": 0.3, "beta": 0.4}, "Swish": {"alpha": 1.5}}.get(op, {})
    model = graph(op, [(2, 3)], (2, 3), at=24 if op == "Swish" else 18, **attrs)
    made, _ = exchanged(model, lambda name: variant)
    assert op not in ops(made)
    x = 3 * np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    hard = np.clip(attrs.get("alpha", 1 / 6) * x + attrs.get("beta", 0.5), 0, 1)
    with np.errstate(over="ignore"):
        expected = {"HardSigmoid": hard, "HardSwish": x * hard, "Swish": x / (1 + np.exp(-1.5 * x))}[op]
    assert np.allclose(outputs(made), expected, atol=1e-6)


def test_joined_along_another_axis() -> None:
    model = graph("Concat", [(1, 3, 2, 2), (4, 3, 2, 2)], (5, 3, 2, 2), axis=0)
    made, _ = exchanged(model, lambda name: join.along_second)
    assert np.array_equal(outputs(made), outputs(model))
    assert [node.attribute("axis") for node in view(made).nodes if node.op == "Concat"] == [1]


AXES = ("axes", np.array([1, 2]))
ONE_NODE = {
    **{op: graph(op, [(2, 3, 4)], (2, 1, 1), weights=[AXES]) for op in opset.DOWN if op.startswith("Reduce")},
    "Squeeze": graph("Squeeze", [(2, 1, 1)], (2,), weights=[AXES]),
    "Unsqueeze": graph("Unsqueeze", [(2, 3)], (2, 1, 1, 3), weights=[AXES]),
    "Softmax": graph("Softmax", [(2, 3, 4)], (2, 3, 4), axis=-1),
    "LogSoftmax": graph("LogSoftmax", [(2, 3, 4)], (2, 3, 4), axis=2),
    "Hardmax": graph("Hardmax", [(2, 3, 4)], (2, 3, 4), axis=-1),
    "Pad": graph("Pad", [(2, 3)], (2, 6), inputs=["x0", "pads", "value", "axes"],
                 weights=[("pads", np.array([1, 2])), ("value", np.float32(7)), ("axes", np.array([1]))]),
    "Split": graph("Split", [(2, 5)], (2, 3), axis=1, num_outputs=2),
    "Clip": graph("Clip", [(2, 3)], (2, 3), weights=[("low", np.float32(0)), ("high", np.float32(1))]),
    "HardSwish": graph("HardSwish", [(2, 3)], (2, 3)),
    "Swish": graph("Swish", [(2, 3)], (2, 3), at=24),
    "Reshape": graph("Reshape", [(2, 3)], (3, 2), weights=[("shape", np.array([3, 2]))], allowzero=0),
    "AveragePool": graph("AveragePool", [(1, 2, 4, 4)], (1, 2, 3, 3), at=19, kernel_shape=[2, 2], dilations=[1, 1]),
    "BatchNormalization": graph("BatchNormalization", [(1, 2, 3)], (1, 2, 3), training_mode=0,
                                weights=[(n, np.array([0.5, 2], np.float32)) for n in ("scale", "bias", "mean", "var")]),
}  # fmt: skip
ONE_NODE["Split"].graph.node[0].output.append("z")
WHOLE_NUMBERS = ("Min", "Max", "GreaterOrEqual", "LessOrEqual")


def test_every_way_down_has_a_case() -> None:
    elsewhere = {"Resize"}  # test_devices_sound
    assert set(opset.DOWN) - elsewhere <= set(ONE_NODE) | set(WHOLE_NUMBERS)


@pytest.mark.parametrize("op", ONE_NODE)
@pytest.mark.parametrize("to", [10, 11, 13])
def test_an_operator_in_an_older_opset(op: str, to: int) -> None:
    model = ONE_NODE[op]
    lowered = opset.lower(model, to)
    assert not lowered.stuck
    onnx.checker.check_model(lowered.model, full_check=True)
    assert np.allclose(outputs(lowered.model), outputs(model), rtol=1e-6)


@pytest.mark.parametrize("op", WHOLE_NUMBERS)
def test_whole_numbers_in_an_older_opset(op: str) -> None:
    compares = op not in ("Min", "Max")
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node(op, ["a", "b"], ["y"], name=op)], "one", [info("a", TensorProto.INT64, [5])],
        [info("y", TensorProto.BOOL if compares else TensorProto.INT64, [5])], [handmade.tensor("b", [2], np.int64)],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    lowered = opset.lower(model, 11)
    assert lowered.changed == {op: 1}
    feeds = {"a": np.arange(5)}
    assert np.array_equal(run(lowered.model, feeds)["y"], run(model, feeds)["y"])


def test_what_has_no_older_form_is_named() -> None:
    """A softmax over an axis that is not the last flattened what is behind it."""
    for model in (graph("Softmax", [(2, 3, 4)], (2, 3, 4), axis=1), graph("Gelu", [(2, 3)], (2, 3), at=20)):
        made = plan(model, load_profile("rdk-x5"))
        assert made.verdict == "does not fit"
        assert any("no form in opset 11" in note for note in made.notes)


# --- states moved by the host ---


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


# --- the command ---


def test_a_table_of_all_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("check", "builtin", "-t", "all") == 1
    said = capsys.readouterr().out
    assert all(name in said.partition("summary")[2] for name in targets())
    assert cli("check", "builtin", "-t", "onnxruntime", "-t", "native") == 0


def test_every_rewrite_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in [*(rewrite.name for rewrite in REWRITES), "step", *targets()])


BAD = {
    "unknown target": (("in.onnx", "-t", "rdk-s10"), "did you mean rdk-s100"),
    "no model": (("text.onnx", "-t", "native"), "not a readable ONNX model"),
    "nothing there": (("missing.onnx", "-t", "native"), "no such model"),
    "unwritable": (("in.onnx", "-t", "native", "--fix", "-o", "no/where.onnx"), "cannot be written"),
    "itself": (("in.onnx", "-t", "native", "--fix", "-o", "./in.onnx"), "would replace"),
    "no file": (("in.onnx", "-t", "native", "--fix"), "-o OUT"),
    "no fix": (("in.onnx", "-t", "native", "-o", "out.onnx"), "--fix"),
    "host state alone": (("in.onnx", "-t", "native", "--host-state"), "--fix"),
    "two at once": (("in.onnx", "-t", "native", "-t", "ncnn", "--fix", "-o", "out.onnx"), "one target"),
    "a clip has no states": (("clip.onnx", "-t", "tensorrt", "--fix", "--host-state", "-o", "out.onnx"), "no states"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    handmade.brightness_step(tmp_path / "in.onnx")
    handmade.brightness_clip(tmp_path / "clip.onnx")
    Path("text.onnx").write_text("no model")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    arguments, said = BAD[case]
    assert cli("check", *arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_rewrite_that_is_wrong_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, post: onnx.ModelProto) -> None:
    """The proof is not the rewrite's own word."""

    def wrong(node: Any, part: Any) -> str | None:
        mean = means.reduction(node, part)
        return part.emit("Mul", mean, part.constant(1.001)) if mean else None

    from everyframe.devices import rewrites

    broken = rewrites.Rewrite("means", "", ("rank",), means.OPS, rewrites._by_variants((wrong,)))
    monkeypatch.setattr("everyframe.devices.repair.REWRITES", (broken,))
    modelfile.save(post, tmp_path / "in.onnx")
    with pytest.raises(ConversionMismatch):
        fix(tmp_path / "in.onnx", tmp_path / "out.onnx", load_profile("rdk-s100"))
    assert not (tmp_path / "out.onnx").exists()


def test_unknown_targets_in_python() -> None:
    with pytest.raises(UsageError, match="rdk-x6"):
        load_profile("rdk-x6")
    assert BUILTIN.exists()
