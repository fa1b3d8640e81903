"""Paths that no system takes, given to every function of the package: an error of ours that names them, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import everyframe as ef
import handmade
from everyframe.errors import EveryframeError
from everyframe.files import paths_told
from unusable import refused

#: what is right of each function's arguments, and its paths; those of models beside recognition have theirs in their own files
GIVEN: dict[str, tuple[dict[str, Any], str]] = {
    "open": ({}, "model"),
    "convert": ({"model": "clip.onnx"}, "model output"),
    "info": ({}, "model"),
    "check": ({"target": "rdk-x5"}, "model"),
    "fix": ({"model": "step.onnx", "target": "rdk-x5"}, "model output"),
    "quantize": ({"model": "step.onnx", "videos": "video.mp4"}, "model videos output compare_with"),
    "split": ({"model": "step.onnx", "output": "parts"}, "model output dump"),
    "compile": ({"model": "step.onnx", "emit_c": "c"}, "model output emit_c table"),
    "bundle": ({"model": "step.onnx", "target": "onnxruntime", "videos": "video.mp4"}, "model videos output"),
    "predict": ({"model": "step.onnx", "videos": "video.mp4", "engine": "ort"}, "model videos output"),
    "watch": ({}, "cameras"),
    "serve": ({"models": "step.onnx", "port": 0, "wait": False, "key": "video.mp4"}, "models cert"),
    "evaluate": ({"model": "step.onnx", "data": "clips", "engine": "ort"}, "model data output"),
    "evaluate_features": ({"model": "builtin", "data": "clips"}, "model data output beside"),
    "evaluate_events": ({"model": "builtin", "quick": True, "baseline": False}, "model data"),
    "record": ({"camera": "video.mp4", "gestures": ["a"]}, "camera output"),
    "render": ({"kind": "scenes", "count": 1}, "output"),
    "teach": ({"model": "builtin", "examples": "clips"}, "model examples output background"),
    "train": ({"recipe": "quick", "data": "clips"}, "recipe data"),
    "prune": ({"run": "clips", "output": "pruned"}, "run"),
    "search": ({"recipe": "super_resolution", "target_ms": 5.0, "data": "clips"}, "recipe data"),
    "export": ({"model": "x3d_xs", "size": (32, 32)}, "output"),
    "import_model": ({"model": "clip.onnx", "mapping": {}}, "mapping"),
    "benchmark": ({"models": "step.onnx"}, "models video"),
    "compare_benchmarks": ({"before": "b", "after": "b"}, "before"),
}
ELSEWHERE = {"enlarge", "evaluate_pictures", "detect", "evaluate_scans"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("given")
    handmade.brightness_step(made / "step.onnx")
    handmade.brightness_clip(made / "clip.onnx")
    handmade.write_video(made / "video.mp4", 20)
    for label in "ab":
        (made / "clips" / label).mkdir(parents=True)
        for number in range(3):
            handmade.write_video(made / "clips" / label / f"{number}.mp4", 20)
    return made


def test_every_function_is_here() -> None:
    assert {*GIVEN, *ELSEWHERE, "list_models"} == set(ef._VERBS)


@pytest.mark.parametrize("verb", GIVEN)
def test_a_path_that_cannot_be_used_is_named(verb: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    right, names = GIVEN[verb]
    for name in names.split():
        refused(getattr(ef, verb), name, right)


def test_what_a_caller_raises_stays_what_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of a function that was given is not about a path that was given; one of that path is ours."""
    monkeypatch.chdir(folder)

    def progress(*_: object) -> None:
        Path("/no/such/log").write_text("told")

    with pytest.raises(FileNotFoundError, match="log"):
        ef.convert("clip.onnx", progress=progress)
    with pytest.raises(EveryframeError, match=r"video\.mp4"), paths_told([Path("video.mp4")]):
        (folder / "video.mp4" / "x").write_text("x")
    with pytest.raises(NotADirectoryError), paths_told(["clips"]):
        (folder / "video.mp4" / "x").write_text("x")
