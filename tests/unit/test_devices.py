"""`everyframe check`: profiles, findings, rewrites, and the command on networks as people have them."""

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
from device_graphs import cli, graph, ops
from everyframe import modelfile
from everyframe.devices import check, fix, load_profile, plan, targets
from everyframe.devices.check import passed_through
from everyframe.devices.nodes import view
from everyframe.devices.profile import parse
from everyframe.devices.rewrites import REWRITES, means
from everyframe.errors import ConversionMismatch, ModelError, UsageError
from everyframe.modelfile.without_weights import with_weights, without_weights
from everyframe.runtime.program import BUILTIN

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
    "itself": (("in.onnx", "-t", "native", "--fix", "-o", "./in.onnx"), "would overwrite what is read"),
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
