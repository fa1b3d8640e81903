"""`everyframe prune` from a trained network to a finished one: stages, resumption, what is zero, what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import killed
import moving

torch = pytest.importorskip("torch")

from onnx import numpy_helper  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

import everyframe  # noqa: E402
from everyframe import recipes  # noqa: E402
from everyframe.cli import main  # noqa: E402
from everyframe.errors import EveryframeError  # noqa: E402
from everyframe.modelfile.file import metadata_of  # noqa: E402
from everyframe.native.compile import compile_model  # noqa: E402
from everyframe.pruning import cost, plan  # noqa: E402
from everyframe.pruning import run as pruning  # noqa: E402
from everyframe.pruning.mask import Mask  # noqa: E402
from everyframe.pruning.pattern import Pattern  # noqa: E402
from everyframe.recipes.pruning import PruneRecipe  # noqa: E402
from everyframe.recipes.training import ClipRecipe  # noqa: E402
from everyframe.training import folder, run  # noqa: E402

PRUNE = """
[prune]
scheme = "kgs"
group = [4, 4]
[regularize]
refreshes = 4
[distillation]
weight = 0.3
"""
HOW_MUCH = ("prune.rate", "prune.rates", "prune.preset", "prune.threshold", "prune.mask")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving.write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def dense(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a trained network."""
    path = tmp_path_factory.mktemp("dense") / "run"
    made = recipes.parse(moving.TEXT, changes=["training.epochs=12"])
    assert isinstance(made, ClipRecipe)
    run.start(made, path, data=clips)
    return path


def pruned_by(dense: Path | str, *changes: str) -> PruneRecipe:
    much = [] if any(change.split("=")[0] in HOW_MUCH for change in changes) else ["prune.rate=1.6"]
    text = 'task = "prune"\n' + moving.TEXT + PRUNE
    made = recipes.parse(text, changes=[f"prune.dense={dense}", "training.epochs=4", *much, *changes])
    assert isinstance(made, PruneRecipe)
    return made


@pytest.fixture(scope="module")
def pruned(clips: Path, dense: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("pruned") / "run"
    done = pruning.start(pruned_by(dense), path, data=clips)
    assert done is not None and done.ended
    return path, done.to_dict()


# --- what it leaves ---


def test_what_a_pruning_leaves(pruned: tuple[Path, dict[str, Any]], dense: Path) -> None:
    path, figures = pruned
    assert figures["rate"] == pytest.approx(1.6, rel=0.08) and figures["macs_left"] < figures["macs"]
    assert list(figures["accuracy"]) == ["dense", "regularized", "pruned", "retrained"]
    best = max(row["top1"] for row in folder.read(dense).epochs)
    assert figures["accuracy"]["dense"]["top1"] == pytest.approx(best)
    assert figures["accuracy"]["retrained"]["top1"] >= 0.5  # chance is 0.25
    assert json.loads((path / "pruning.json").read_text())["done"] == ["regularize", "retrain"]
    for stage in ("regularize", "retrain"):
        assert len(folder.read(path / stage).epochs) == 4
    rows = folder.read(path).epochs
    assert [row["epoch"] for row in rows] == list(range(1, 9)) and {row["stage"] for row in rows} == {"regularize", "retrain"}
    took = [row["pruning_would_take"] for row in rows if row["stage"] == "regularize"]
    assert took[-1] < 0.05 < took[0] < 1
    report = (path / "report.html").read_text()
    assert all(row["layer"] in report for row in figures["layers"]) and "after the hard prune" in report
    assert (path / f"pattern_{figures['layers'][0]['layer']}.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_pruned_is_zero_in_every_file(pruned: tuple[Path, dict[str, Any]]) -> None:
    """Averaged weights too; and after BatchNorm was folded into the convolutions of the step network."""
    path, _ = pruned
    mask = Mask.load(path / "mask.npz")
    for file in (path / "best.safetensors", path / "retrain" / "last.safetensors"):
        weights = load_file(file)
        for name in mask.layers:
            assert np.array_equal(weights[f"{name}.weight"] != 0, mask.weights(name)), (file, name)
    for kind in ("clip", "step"):
        model = onnx.load(str(path / f"{kind}.onnx"))
        told = metadata_of(model)
        assert told is not None and told.provenance.pruned is not None
        assert told.provenance.pruned.scheme == "kgs" and told.provenance.pruned.group == (4, 4)
        assert told.provenance.pruned.kept == pytest.approx({name: mask.density(name) for name in mask.layers}, abs=1e-4)
        zeros = {}
        for tensor in model.graph.initializer:
            if len(tensor.dims) > 3:
                zeros[tensor.name] = int((numpy_helper.to_array(tensor) == 0).sum())
        wanted = sum(int((~mask.weights(name)).sum()) for name in mask.layers)
        assert sum(zeros.values()) >= wanted, kind


def test_it_runs_and_compiles_to_less(pruned: tuple[Path, dict[str, Any]], dense: Path, clips: Path, tmp_path: Path) -> None:
    path, _ = pruned
    *_, last = everyframe.open(path / "step.onnx").predict(next((clips / "val").glob("*/*.mp4")))
    assert last.top[0].label in moving.WAYS
    kept, whole = (compile_model(one / "clip.onnx", emit_c=tmp_path / one.parent.name) for one in (path, dense))
    assert kept.macs < whole.macs and kept.weight_bytes < whole.weight_bytes


# --- ways to choose ---


@pytest.mark.usefixtures("only_weights")
@pytest.mark.parametrize(
    "changes",
    [
        ("prune.method=admm", "prune.scheme=balanced"),
        ("prune.method=magnitude", "prune.scheme=vanilla"),
        ("prune.scheme=filter", "distillation.weight=0"),
        ("prune.threshold=0.5", "regularize.reach=0.8"),
    ],
    ids=lambda changes: changes[0],
)
def test_every_way_ends_in_a_network_of_zeros(changes: tuple[str, ...], clips: Path, dense: Path, tmp_path: Path) -> None:
    given = pruned_by(dense, "training.epochs=1", *changes)
    done = pruning.start(given, tmp_path / "run", data=clips)
    assert done is not None and done.ended and done.figures["rate"] > 1
    mask, weights = Mask.load(tmp_path / "run" / "mask.npz"), load_file(tmp_path / "run" / "best.safetensors")
    assert all(np.array_equal(weights[f"{name}.weight"] != 0, mask.weights(name)) for name in mask.layers)
    if given.prune.scheme == "balanced":
        assert all(row["fewest_in_a_group"] == row["most_in_a_group"] for row in done.figures["layers"])


@pytest.mark.usefixtures("only_weights")
def test_a_mask_from_elsewhere_is_kept_as_it_is(
    clips: Path, dense: Path, pruned: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    given = pruned[0] / "mask.npz"
    done = pruning.start(pruned_by(dense, f"prune.mask={given}", "training.epochs=1"), tmp_path / "run", data=clips)
    assert done is not None and list(done.figures["accuracy"]) == ["dense", "pruned", "retrained"]
    one, two = Mask.load(given), Mask.load(tmp_path / "run" / "mask.npz")
    assert all(np.array_equal(one.weights(name), two.weights(name)) for name in one.layers | two.layers)


@pytest.mark.usefixtures("only_weights")
def test_statistics_are_taken_anew_after_the_cut(dense: Path, clips: Path, tmp_path: Path) -> None:
    """A network whose running variances are all wrong is right again, and the dense one is judged as it was given."""
    weights = load_file(dense / "best.safetensors")
    wrong = {key: value * 1e4 if key.endswith("running_var") else value for key, value in weights.items()}
    assert any(key.endswith("running_var") for key in weights)
    save_file(wrong, tmp_path / "wrong.safetensors")
    done = pruning.start(
        pruned_by(tmp_path / "wrong.safetensors", "prune.method=magnitude", "prune.rate=1.2", "training.epochs=1"),
        tmp_path / "run", data=clips,
    )  # fmt: skip
    assert done is not None
    accuracy = done.figures["accuracy"]
    assert accuracy["dense"]["top1"] < 0.5 < accuracy["pruned"]["top1"]


@pytest.mark.usefixtures("only_weights")
def test_a_run_folder_alone_is_enough(dense: Path, clips: Path, tmp_path: Path) -> None:
    """A third of its epochs and of its learning rate, and its data."""
    found, where = pruning.settings(str(dense), ["prune.group=[4,4]", "prune.rate=2", "training.epochs=1"])
    first, _ = pruning.settings(str(dense))
    assert first.training.epochs == 4 and first.optimizer.learning_rate == pytest.approx(5e-3 / 3)
    assert first.prune.group == (16, 4) and first.prune.method == "reweighted"
    assert Path(found.data.root) == clips.resolve()
    done = pruning.start(found, tmp_path / "run", where=where)
    assert done is not None and done.figures["rate"] == pytest.approx(2.0, rel=0.1)


@pytest.mark.usefixtures("only_weights")
def test_a_network_without_a_dense_run_is_trained_first(clips: Path, tmp_path: Path, dense: Path) -> None:
    given = pruned_by(dense, "training.epochs=1")
    alone = given.model_copy(update={"prune": given.prune.model_copy(update={"dense": None})})
    done = pruning.start(alone, tmp_path / "run", data=clips)
    assert done is not None and done.figures["done"] == ["dense", "regularize", "retrain"]
    weights = given.model_copy(update={"prune": given.prune.model_copy(update={"dense": str(dense / "best.safetensors")})})
    again = pruning.start(weights, tmp_path / "again", data=clips)
    assert again is not None and again.figures["done"] == ["regularize", "retrain"]
    one, two = load_file(dense / "best.safetensors"), load_file(tmp_path / "again" / "dense" / "best.safetensors")
    assert all(np.array_equal(one[key], two[key]) for key in one)


# --- killed and interrupted ---


@pytest.mark.usefixtures("only_weights")
def test_a_killed_pruning_goes_on_to_the_same_weights(
    clips: Path, dense: Path, pruned: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text('task = "prune"\n' + moving.TEXT + PRUNE)
    path = tmp_path / "run"
    command = [sys.executable, killed.__file__, "10", "prune", str(tmp_path / "tiny.toml"), "--data", str(clips), "-o", str(path)]
    command += ["--set", f"prune.dense={dense}", "--rate", "1.6", "--set", "training.epochs=4"]
    command += ["--set", "training.checkpoint_minutes=1e-9"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (path / "regularize" / "checkpoint.pt").exists() and not (path / "mask.npz").exists()
    done = pruning.resume(path)
    assert done is not None and done.ended
    for name in ("regularize/last", "retrain/last", "best"):
        one, two = (load_file(each / f"{name}.safetensors") for each in (pruned[0], path))
        assert all(np.array_equal(one[key], two[key]) for key in one), name


def test_an_interrupted_pruning_says_how_to_go_on(
    clips: Path, dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from everyframe.training.loop import Loop

    validated, calls = Loop._validated, []

    def interrupt(loop: Loop, *rest: Any) -> None:
        validated(loop, *rest)
        calls.append(loop.run.path.name)
        if calls[-1] == stage:
            raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "_validated", interrupt)
    stage = "regularize"
    done = pruning.start(pruned_by(dense, "training.epochs=2"), tmp_path / "run", data=clips)
    assert done is not None and not done.ended and done.finished is None
    assert f"everyframe prune -o {tmp_path / 'run'} --resume" in done.text()
    (tmp_path / "run" / stage).rename(tmp_path / "run" / "regularise")  # as version 0.1 called it
    stage = "retrain"
    done = pruning.resume(tmp_path / "run")
    assert done is not None and not done.ended and done.finished is not None, "what was retrained counts"
    assert (tmp_path / "run" / "step.onnx").is_file()
    stage = ""
    done = pruning.resume(tmp_path / "run")
    assert done is not None and done.ended


# --- what is refused, before any work ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("prune.rates={'look.4'=1.0}",), "0 or more and below 1"),
        (("prune.rates={'look.4'=-0.1}",), "0 or more and below 1"),
        (("prune.rates={'look.7'=0.5}",), "no convolution"),
        (("prune.rates={'look.4'=0.5}", "prune.group=[64,4]"), "larger than the layer"),
        (("prune.group=[64,64]",), "No layer of the network can be pruned in these groups"),
        (("prune.group=[0,4]",), "at least one"),
        (("prune.rate=1000",), "cannot become so cheap"),
        (("prune.rate=0.5",), "greater than 1"),
        (("prune.rate=2", "prune.threshold=0.1"), "one of rate"),
        (("prune.threshold=0.1", "prune.method=admm"), "two heaps"),
        (("prune.preset=c3d-2.53x",), "another network"),
        (("prune.preset=c3d-9x",), "no profile"),
        (("prune.mask=missing.npz",), "not a mask"),
        (("prune.mask=other.npz",), "mask is for another network"),
        (("prune.dense=missing",), "no such dense network"),
        (("model.name=motionnet_1.0x",), "another one than the recipe's"),
        (("prune.dense=three.safetensors",), "other classes than the data"),
        (("prune.scheme=diagonal",), "vanilla"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_pruned_is_refused_before_any_work(
    changes: tuple[str, ...], said: str, clips: Path, dense: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text('task = "prune"\n' + moving.TEXT + PRUNE)
    Mask.choose(Pattern("kgs", (2, 2)), {"conv": np.ones((4, 4, 3), np.float32)}, {"conv": 0.5}).save(tmp_path / "other.npz")
    three = {key: value[:3] if key.startswith("head.") else value for key, value in load_file(dense / "best.safetensors").items()}
    save_file(three, tmp_path / "three.safetensors")
    words = ["prune", "tiny.toml", "--data", str(clips), "-o", "run", "--set", f"prune.dense={dense}"]
    with pytest.raises(SystemExit) as ended:
        main.run([*words, *(word for change in changes for word in ("--set", change))])
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and err.startswith("error: ") and said in err, err
    assert out == "" and not (tmp_path / "run").exists()


def test_each_kind_of_folder_is_resumed_by_its_verb(
    dense: Path, pruned: tuple[Path, dict[str, Any]], tmp_path: Path, clips: Path
) -> None:
    for attempt in (
        lambda: pruning.resume(dense),
        lambda: run.resume(pruned[0]),
        lambda: pruning.resume(tmp_path),
        lambda: pruning.settings("r3d_ucf101"),
        lambda: pruning.start(pruned_by(dense), pruned[0], data=clips),
    ):
        with pytest.raises(EveryframeError):
            attempt()


# --- the zoo ---


@pytest.mark.parametrize(
    "name", ["c3d", "r2plus1d_18", "r3d_18", "s3d", "x3d_s", "motionnet_1.0x", "slowfast_r50", "tsm_mobilenet_v2"]
)
def test_a_plan_for_every_kind_of_network(name: str) -> None:
    """Three times fewer MACs in groups of 16 x 4, and only layers with as many channels."""
    from everyframe.models.checkpoints.load import assemble
    from everyframe.recipes.pruning import Prune
    from everyframe.training.network import Trained

    with torch.device("meta"):
        made = assemble(name)
    planned = plan.make(Prune(), Trained(made.net, made, made.entry.preprocess))
    left = cost.left(planned.costs, planned.choice.rates)
    assert cost.left(planned.costs, {}) / left == pytest.approx(3.0, rel=0.1)
    weights = {one.name: one.weight_shape for one in planned.costs}
    assert all(weights[layer][0] >= 16 and weights[layer][1] >= 4 for layer in planned.choice.rates)
