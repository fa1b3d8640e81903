"""`everyframe prune` from a trained network to a finished one: stages, resumption, what is zero, what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import moving

torch = pytest.importorskip("torch")

from onnx import numpy_helper  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

import everyframe  # noqa: E402
from everyframe.cli import main  # noqa: E402
from everyframe.errors import EveryframeError  # noqa: E402
from everyframe.models import create  # noqa: E402
from everyframe.native.compile import compile_model  # noqa: E402
from everyframe.program.contract import metadata_of  # noqa: E402
from everyframe.train import recipe, run  # noqa: E402
from everyframe.train.fit import folder  # noqa: E402
from everyframe.train.prune import cost, plan  # noqa: E402
from everyframe.train.prune import run as pruning  # noqa: E402
from everyframe.train.prune.mask import Mask  # noqa: E402
from everyframe.train.prune.pattern import Pattern  # noqa: E402
from everyframe.train.prune.schema import PruneRecipe  # noqa: E402
from everyframe.train.schema import ClipRecipe  # noqa: E402

PRUNE = """
[prune]
scheme = "kgs"
group = [4, 4]
[regularise]
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
    made = recipe.parse(moving.TEXT, changes=["training.epochs=12"])
    assert isinstance(made, ClipRecipe)
    run.start(made, path, data=clips)
    return path


def pruned_by(dense: Path | str, *changes: str) -> PruneRecipe:
    much = [] if any(change.split("=")[0] in HOW_MUCH for change in changes) else ["prune.rate=1.6"]
    text = 'task = "prune"\n' + moving.TEXT + PRUNE
    made = recipe.parse(text, changes=[f"prune.dense={dense}", "training.epochs=4", *much, *changes])
    assert isinstance(made, PruneRecipe)
    return made


@pytest.fixture(scope="module")
def pruned(clips: Path, dense: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("pruned") / "run"
    done = pruning.start(pruned_by(dense), path, data=clips)
    assert done is not None and done.ended
    return path, done.as_dict()


# --- what it leaves ---


def test_what_a_pruning_leaves(pruned: tuple[Path, dict[str, Any]], dense: Path) -> None:
    path, figures = pruned
    assert figures["rate"] == pytest.approx(1.6, rel=0.08) and figures["macs_left"] < figures["macs"]
    assert list(figures["accuracy"]) == ["dense", "regularised", "pruned", "retrained"]
    best = max(row["top1"] for row in folder.read(dense).epochs)
    assert figures["accuracy"]["dense"]["top1"] == pytest.approx(best)
    assert figures["accuracy"]["retrained"]["top1"] >= 0.5  # chance is 0.25
    assert json.loads((path / "pruning.json").read_text())["done"] == ["regularise", "retrain"]
    for stage in ("regularise", "retrain"):
        assert len(folder.read(path / stage).epochs) == 4
    rows = folder.read(path).epochs
    assert [row["epoch"] for row in rows] == list(range(1, 9)) and {row["stage"] for row in rows} == {"regularise", "retrain"}
    assert all(0 < row["penalty_of_loss"] and 0 <= row["pruning_would_take"] < 1 for row in rows if row["stage"] == "regularise")
    report = (path / "report.html").read_text()
    assert all(row["layer"] in report for row in figures["layers"]) and "after the hard prune" in report
    assert (path / f"pattern_{figures['layers'][0]['layer']}.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_pruned_is_zero_in_every_file(pruned: tuple[Path, dict[str, Any]]) -> None:
    """Averaged weights too; and after BatchNorm was folded into the convolutions of the step network."""
    path, figures = pruned
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
    path, figures = pruned
    *_, last = everyframe.open(path / "step.onnx").predict(next((clips / "val").glob("*/*.mp4")))
    assert last.top[0].label in moving.WAYS
    kept, whole = (compile_model(one / "clip.onnx", emit_c=tmp_path / one.parent.name) for one in (path, dense))
    assert kept.macs < whole.macs and kept.weight_bytes < whole.weight_bytes


# --- ways to choose ---


@pytest.mark.parametrize(
    "changes",
    [
        ("prune.method=admm", "prune.scheme=balanced"),
        ("prune.method=magnitude", "prune.scheme=vanilla"),
        ("prune.scheme=filter", "distillation.weight=0"),
        ("prune.threshold=0.5", "regularise.share=20"),
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
