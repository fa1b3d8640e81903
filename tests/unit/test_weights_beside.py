"""Models whose weights lie in other files: found where exporters and people put them, else said where they should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from clips import clip_net
from everyframe.errors import ModelError
from everyframe.modelfile.file import load


def apart(folder: Path, location: str = "w.data") -> Path:
    """A model in the folder, and its weights in another file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = clip_net(folder / "m.onnx")
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def elsewhere(path: Path, location: str) -> Path:
    """The same model, which says that its weights lie there."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["w.data", "weights ü#% 1.bin", "w:1.data"])
def test_beside_the_model(tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = load(clip_net(tmp_path / "whole.onnx"))
    found = load(apart(tmp_path / "a", location))
    assert [t.raw_data for t in found.graph.initializer] == [t.raw_data for t in whole.graph.initializer]


@pytest.mark.parametrize("location", ["sub/w.data", "./w.data"])
def test_below_the_model(tmp_path: Path, location: str) -> None:
    path = elsewhere(apart(tmp_path), location)
    (tmp_path / "sub").mkdir()
    (tmp_path / "w.data").rename(tmp_path / location)
    assert load(path).graph.node


def test_a_link_to_the_model_is_the_model(tmp_path: Path) -> None:
    (tmp_path / "link.onnx").symlink_to(apart(tmp_path / "there"))
    assert load(tmp_path / "link.onnx").graph.node


def pointer(path: Path) -> Path:
    (path.parent / "w.data").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1944\n")
    return path


def linked(path: Path) -> Path:
    (path.parent / "w.data").rename(path.parent / "blob")
    (path.parent / "w.data").symlink_to(path.parent / "blob")
    return path


def cut(path: Path) -> Path:
    (path.parent / "w.data").write_bytes(b"short")
    return path


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (pointer, "git lfs pull"),
        (linked, "put the file itself"),
        (cut, "copy both files"),
        (lambda path: elsewhere(path, "/home/someone/w.data"), "save it again, in one file"),
        (lambda path: elsewhere(path, r"C:\models\w.data"), "save it again, in one file"),
        (lambda path: elsewhere(path, "../w.data"), "save it again, in one file"),
    ],
    ids=["a pointer", "a link", "cut", "absolute", "absolute on Windows", "above"],
)
def test_elsewhere_is_refused_with_what_to_do(tmp_path: Path, spoil: Callable[[Path], Path], hint: str) -> None:
    with pytest.raises(ModelError, match="weights lie in another file") as refused:
        load(spoil(apart(tmp_path)))
    assert hint in (refused.value.hint or "")
