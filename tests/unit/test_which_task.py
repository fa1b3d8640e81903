"""What a model is for is told by its file without reading its graph, whatever the file is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import handmade
from everyframe.modelfile.file import attach, load, metadata_of, save
from everyframe.modelfile.without_weights import without_graph
from everyframe.tasks.which import task_of


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.brightness_step(tmp_path_factory.mktemp("models") / "step.onnx")


def test_all_but_the_graph_is_read(step: Path) -> None:
    bare, whole = without_graph(step), load(step)
    assert metadata_of(bare) == metadata_of(whole)
    assert not bare.graph.node and whole.graph.node
    whole.ClearField("graph")
    assert bare == whole


def test_the_metadata_decides(step: Path, tmp_path: Path) -> None:
    assert not any(map(task_of, (step, "builtin", tmp_path, tmp_path / "missing.onnx")))
    model = load(step)
    metadata = metadata_of(model)
    assert metadata is not None
    for task in ("enhance", "detect"):
        save(attach(model, metadata.model_copy(update={"task": task})), tmp_path / "other.onnx")
        assert task_of(tmp_path / "other.onnx") == task


def test_what_is_no_model_is_for_nothing(step: Path, tmp_path: Path) -> None:
    """Random bytes, each beginning of a model, numbers that never end, fields larger than any file."""
    rng, whole, path = np.random.default_rng(0), step.read_bytes(), tmp_path / "model.onnx"
    junk = [rng.bytes(int(n)) for n in rng.integers(0, 400, 300)]
    cut = [whole[: int(n)] for n in np.linspace(0, len(whole) - 1, 50)]
    hostile = [b"\xff" * 64, b"\x3a" + b"\xff" * 9 + b"\x01", b"\x72" + b"\xff" * 4 + b"\x0f", b"\x3a", b"# a text\n", b"\x7fELF"]
    for data in (*junk, *cut, *hostile):
        path.write_bytes(data)
        assert task_of(path) is None
    onnx.save(onnx.ModelProto(ir_version=9), path)
    assert task_of(path) is None
