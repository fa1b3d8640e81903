"""export: what is written, that it computes what torch computes, and what bad input gets."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from everyframe import __version__, errors, modelfile, models
from everyframe.models import published_preprocess, registry, to_onnx, trace
from helpers import randomise, relative

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
torch.set_num_threads(1)

SMALL = "tiny"  # registered for these tests only, by `_tiny_in_the_zoo`
# (name, frames) -> operators at 32 x 32 pixels. Nothing here may need shapes at run time or write in place.
GRAPHS = {
    ("x3d_s", 4): ("Conv 116, Relu 70, Sigmoid 41, Mul 41, Add 26, ReduceMean 15, AveragePool 1, Reshape 1, Gemm 1"),
    ("i3d_r50", 4): "Conv 53, Relu 49, Add 16, MaxPool 2, AveragePool 1, Reshape 1, Gemm 1",
    ("mc3_18", 4): "Conv 20, Relu 17, Add 8, ReduceMean 1, Gemm 1",
    ("mobilenet3d_v2_0.2x", 16): "Conv 52, Clip 35, Add 10, ReduceMean 1, Gemm 1",
    ("c3d", 16): "Conv 8, Relu 10, MaxPool 5, Reshape 1, Gemm 3",
    ("tsm_mobilenet_v2", 3): (
        "Conv 52, Clip 35, Slice 50, Reshape 22, Pad 20, Concat 10, Add 10, ReduceMean 2, Transpose 1, Gemm 1"
    ),
    ("tsm_mobilenet_v2_online", 3): (
        "Conv 52, Clip 35, Slice 30, Reshape 22, Pad 10, Concat 10, Add 10, ReduceMean 2, Transpose 1, Gemm 1"
    ),
}


def clip(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def infer(path: Path, x: Any) -> np.ndarray:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"clip": x.numpy()})[0]


class Tiny(torch.nn.Module):
    """(N, C, T, H, W) -> (N, classes)."""

    def __init__(self, channels: int = 3, classes: int = 2) -> None:
        super().__init__()
        self.conv = torch.nn.Conv3d(channels, 4, 3, padding=1)
        self.relu = torch.nn.ReLU()
        self.drop = torch.nn.Dropout(0.5)
        self.fc = torch.nn.Linear(4, classes)

    def forward(self, x: Any) -> Any:
        return self.fc(self.drop(self.relu(self.conv(x)).mean((2, 3, 4))))


def make_tiny(num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3) -> Tiny:
    return Tiny(channels=in_channels, classes=num_classes)


@pytest.fixture(autouse=True)
def _tiny_in_the_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    models.list()  # loads the catalog
    tiny = replace(models.describe("x3d_s"), name=SMALL, build=f"{__name__}:make_tiny", options={}, choices={}, head="fc")
    monkeypatch.setitem(registry._ENTRIES, SMALL, tiny)


def export_small(path: Path, **options: Any) -> models.Exported:
    return models.export(SMALL, path, **{"frames": 2, "size": 32, "num_classes": 3, **options})


@pytest.mark.usefixtures("narrow_zoo")
@pytest.mark.parametrize(("name", "frames"), GRAPHS)
def test_graphs_are_clean_and_compute_what_torch_computes(tmp_path: Path, name: str, frames: int) -> None:
    path = tmp_path / "clip.onnx"
    net = randomise(models.create(name, num_classes=5, frames=frames, size=32), seed=4)
    result = models.export(net, path, frames=frames, size=32)
    expected_nodes = {op: int(n) for op, n in (each.split() for each in GRAPHS[name, frames].split(", "))}
    assert result.nodes == expected_nodes
    graph = onnx.load(path)
    assert Counter(node.op_type for node in graph.graph.node) == expected_nodes
    assert {entry.domain for entry in graph.opset_import} == {""}
    assert result.difference < 1e-5
    x = clip(1, 3, frames, 32, 32, seed=9)
    with torch.no_grad():
        expected = net(x).numpy()
    assert relative(infer(path, x), expected) < 1e-5


def test_the_written_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.onnx"
    names = ["left", "right", "nothing"]
    result = export_small(path, labels=names, num_classes=None, size=(32, 40))
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.onnx"], "one file, weights inside, no temporary left"
    graph = modelfile.load(path)
    onnx.checker.check_model(graph, full_check=True)
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.graph.input, *graph.graph.output)]
    assert [v.name for v in (*graph.graph.input, *graph.graph.output)] == ["clip", "logits"]
    assert shapes == [[1, 3, 2, 32, 40], [1, 3]]
    metadata = modelfile.metadata_of(graph)
    assert metadata == result.metadata
    assert metadata is not None
    assert (metadata.kind, metadata.frames, metadata.labels) == ("clip", 2, tuple(names))
    assert metadata.provenance.model == SMALL
    assert metadata.provenance.weights_sha256 is None
    assert metadata.provenance.tool == f"everyframe {__version__}"
    assert "random weights" in metadata.provenance.notes[0]
    assert metadata.preprocess.crop == (32, 40)
    assert result.notes == metadata.provenance.notes


def test_names_come_from_the_network_and_no_path_stays_in_the_file(tmp_path: Path) -> None:
    export_small(tmp_path / "clip.onnx")
    graph = modelfile.load(tmp_path / "clip.onnx").graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert names == ["conv", "relu.relu", "reducemean", "fc"]
    assert b"site-packages" not in (tmp_path / "clip.onnx").read_bytes()
    assert str(Path(models.__file__).parent).encode() not in (tmp_path / "clip.onnx").read_bytes()


def test_the_seed_decides_the_bytes(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        export_small(tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c
    assert torch.equal(before, torch.random.get_rng_state()), "the caller's generator is its own"


def test_weights_and_their_provenance(tmp_path: Path) -> None:
    import hashlib

    net = randomise(models.create(SMALL, num_classes=3), seed=1)
    torch.save(net.state_dict(), tmp_path / "w.pt")
    result = export_small(tmp_path / "clip.onnx", weights=tmp_path / "w.pt", num_classes=None)
    assert result.metadata.provenance.weights_sha256 == hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest()
    assert result.notes == ()
    x = clip(1, 3, 2, 32, 32)
    with torch.no_grad():
        assert relative(infer(tmp_path / "clip.onnx", x), net(x).numpy()) < 1e-5
    replaced = export_small(tmp_path / "clip.onnx", weights=tmp_path / "w.pt", num_classes=8)
    assert "replaced by 8" in replaced.notes[0]
    assert replaced.classes == 8


def test_preprocessing_follows_the_size() -> None:
    entry = models.describe("x3d_s")
    assert published_preprocess(entry, entry.size) == entry.preprocess
    half = published_preprocess(entry, (80, 80))
    assert (half.resize, half.crop, half.fps) == (91, (80, 80), 5.0)
    wide = published_preprocess(models.describe("r3d_18"), (56, 112))
    assert (wide.resize, wide.crop) == ((64, 171), (56, 112))


# --- a network of one's own ---


class Frozen(Tiny):
    """Writes what it saw when traced into the graph: every other clip gives the wrong answer."""

    seen: Any = None

    def forward(self, x: Any) -> Any:
        if torch.compiler.is_compiling():
            return super().forward(x) * 0 + self.fc.bias
        return super().forward(x)


def test_a_gray_network_of_ones_own_keeps_its_mode(tmp_path: Path) -> None:
    net = Tiny(channels=1).train()
    net.conv.eval()
    result = models.export(
        net,
        tmp_path / "clip.onnx",
        frames=3,
        size=(6, 8),
        preprocess=modelfile.Preprocess(color="gray", mean=(0,), std=(1,)),
    )
    assert result.input_shape == (1, 1, 3, 6, 8)
    assert result.metadata.provenance.model == "Tiny"
    assert (net.training, net.conv.training, net.fc.training) == (True, False, True)


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.ConversionMismatch, match="nothing was written"):
        models.export(Frozen(), tmp_path / "clip.onnx", frames=3, size=6)
    assert list(tmp_path.iterdir()) == []


def test_the_tolerance_is_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "TOLERANCE", -1.0)
    with pytest.raises(errors.ConversionMismatch):
        export_small(tmp_path / "clip.onnx")
    assert list(tmp_path.iterdir()) == []


class Sequence(Tiny):
    def forward(self, x: Any) -> Any:
        return self.conv(x).mean((3, 4))


class Branching(Tiny):
    def forward(self, x: Any) -> Any:
        return super().forward(x) if x.sum() > 0 else -super().forward(x)


class Projected(Tiny):
    """Of a layer whose first states torch writes with a wrong shape."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = torch.nn.LSTM(4, 4, proj_size=2, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.cell(self.conv(x).mean((3, 4)).transpose(1, 2))[0][:, -1]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(
    ("net", "word"),
    [
        (Sequence(), "not a vector of logits"),
        (Branching(), "cannot export"),
        (Tiny(5), "cannot export"),
        (Projected(), "cannot run the exported network"),
    ],
)
def test_networks_that_cannot_be_exported(tmp_path: Path, net: Any, word: str) -> None:
    with pytest.raises(errors.ModelError, match=word) as caught:
        models.export(net, tmp_path / "clip.onnx", frames=3, size=6)
    assert "Traceback" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Pooled(Tiny):
    """Of an operator that torch's newer exporter has no translation for, in a dictionary."""

    def forward(self, x: Any) -> Any:
        pooled = torch.nn.functional.adaptive_avg_pool3d(self.conv(x), (x.shape[2], 1, 1))
        return {"logits": self.fc(pooled.mean((2, 3, 4)))}


class BranchingPooled(Pooled):
    def forward(self, x: Any) -> Any:
        return super().forward(x if x.sum() > -1e9 else -x)


def test_what_the_newer_exporter_cannot_write(tmp_path: Path) -> None:
    """Other operators, not branches: on clips of noise this one is always the same, and it would be frozen."""
    assert models.export(Pooled(), tmp_path / "clip.onnx", frames=3, size=6).difference < 1e-5
    with pytest.raises(errors.ModelError, match="cannot export"):
        models.export(BranchingPooled(), None, frames=3, size=6)


def test_logits_that_are_not_finite(tmp_path: Path) -> None:
    net = Tiny()
    torch.nn.init.constant_(net.fc.bias, float("nan"))
    with pytest.raises(errors.ModelError, match="not finite"):
        models.export(net, tmp_path / "clip.onnx", frames=3, size=6)


# --- bad input ---


@pytest.mark.parametrize(
    ("model", "options", "error", "word"),
    [
        ("x3d-s", {}, errors.UsageError, "x3d_s"),
        (SMALL, {"size": 16}, errors.UsageError, "at least 32"),
        (SMALL, {"frames": -1}, errors.UsageError, "at least 1 frame"),
        (SMALL, {"seed": 10**30}, errors.UsageError, "seed"),
        (SMALL, {"num_classes": 10**15}, errors.UsageError, "memory"),
        (SMALL, {"labels": ["a", "b"], "num_classes": 3}, errors.UsageError, "3 labels"),
        (SMALL, {"labels": ["a", "a"]}, errors.UsageError, "same label"),
        (SMALL, {"labels": []}, errors.UsageError, "empty"),
        (SMALL, {"labels": "absent.txt"}, errors.UsageError, r"absent\.txt"),
        (SMALL, {"weights": "absent.pt"}, errors.WeightsError, r"absent\.pt"),
        (SMALL, {"preprocess": modelfile.Preprocess(crop=(9, 9))}, errors.UsageError, "9 x 9"),
        (Tiny(), {}, errors.UsageError, "clip shape"),
        (Tiny(), {"frames": 2, "size": 6, "num_classes": 2}, errors.UsageError, "weights and classes"),
        (7, {}, errors.UsageError, "torch module"),
    ],
)
def test_bad_arguments(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Any,
    options: dict[str, Any],
    error: type[Exception],
    word: str,
) -> None:
    monkeypatch.setattr(to_onnx, "trace", lambda *_: pytest.fail("the long work began"))
    with pytest.raises(error, match=word):
        models.export(model, tmp_path / "clip.onnx", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["absent/clip.onnx", "folder"])
def test_an_output_that_cannot_be_written_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(to_onnx, "assemble", lambda *_: pytest.fail("the long work began"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(errors.OutputError, match=path):
        export_small(tmp_path / path)


# --- the command line ---


def cli(*arguments: str) -> int:
    """Exit code of `everyframe ARGUMENTS`, in this process."""
    from everyframe.cli import main

    with pytest.raises(SystemExit) as done:
        main.run(list(arguments))
    return int(done.value.code or 0)


@pytest.fixture
def _only_these_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    from everyframe.cli import main

    monkeypatch.setattr(main, "VERBS", {"export": "export", "models": "models"})


@pytest.mark.usefixtures("_only_these_verbs")
def test_the_export_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("left\nright\n")
    path = tmp_path / "clip.onnx"
    arguments = ("export", SMALL, "-o", str(path), "--frames", "2", "--size", "32x48", "--labels", str(labels))
    assert cli(*arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "(1, 3, 2, 32, 48)" in out
    assert "random weights" in out
    assert "differ by" in out
    assert f"everyframe stream {path}" in out
    assert cli(*arguments, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["classes"] == 2
    assert 0 <= record["difference"] < 1e-5


@pytest.mark.usefixtures("_only_these_verbs")
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("x3d",), "x3d_s"),
        ((SMALL, "--size", "big"), "96x160"),
        ((SMALL, "--size", "8"), "at least 32 x 32"),
        ((SMALL, "-o", "absent/clip.onnx"), "cannot be written"),
    ],
)
def test_the_export_verb_on_bad_input(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], word: str) -> None:
    assert cli("export", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert word in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("_only_these_verbs")
def test_the_export_verb_without_torch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli("export", SMALL) == 2
    assert errors.install_extra("train") in capsys.readouterr().err


@pytest.mark.usefixtures("_only_these_verbs")
def test_the_models_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("models") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in models.list())
    assert cli("models", "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["name"] for record in records] == models.list()
    assert cli("models", "x3d_s") == 0
    out = capsys.readouterr().out
    assert "3x13x160x160" in out
    assert "PyTorchVideo" in out
    assert cli("models", "x3d_?", "--json") == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["x3d_l", "x3d_m", "x3d_s"]
    assert cli("models", "x3d_s", "--json") == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 3_794_274
    assert cli("models", "absent") == 2
