"""A training that begins with the weights of another: all of them are loaded, and what it is shown is normalized as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import moving

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from everyframe import modelfile, recipes  # noqa: E402
from everyframe.errors import RecipeError, UsageError  # noqa: E402
from everyframe.training import begin, folder, loop, network, run  # noqa: E402


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving.write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def pretrained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without labels, on five seeds forwards and backwards."""
    path = tmp_path_factory.mktemp("runs") / "pretrained"
    changes = ("surrogate.seeds=5", "surrogate.backwards=true", "training.epochs=1", "preprocess.fps=30", "model.frames=6")
    run.start(_recipe(*changes), path, data=clips)
    return path


def _recipe(*changes: str) -> Any:
    return recipes.parse(moving.TEXT, changes=changes)


def test_everything_but_the_classifier_is_what_was_learned(pretrained: Path) -> None:
    recipe = begin.weights_of(_recipe(f"model.weights={pretrained}", "model.frames=6"))
    given, own = load_file(pretrained / "best.safetensors"), network.build(recipe, 4).net.state_dict()
    assert given["head.weight"].shape[0] == 10 and own["head.weight"].shape[0] == 4
    rest = [key for key in own if not key.startswith("head.")]
    assert any("running_var" in key for key in rest)  # the statistics of BatchNorm too
    assert all(torch.equal(own[key], given[key]) for key in rest)


def test_other_pixels_are_refused(pretrained: Path, clips: Path, tmp_path: Path) -> None:
    for change in ("preprocess.mean=[0.1]", "preprocess.std=[1.0]"):
        with pytest.raises(RecipeError, match="normalized otherwise") as caught:
            run.start(_recipe(f"model.weights={pretrained}", change), tmp_path / "run", data=clips)
        assert "std (0.25,)" in str(caught.value) and not (tmp_path / "run").exists()
    file = pretrained / "best.safetensors"  # the file is no way around it
    with pytest.raises(RecipeError, match="normalized otherwise"):
        run.start(_recipe(f"model.weights={file}", "preprocess.mean=[0.1]"), tmp_path / "run", data=clips)


def test_without_a_recipe_network_and_pictures_are_those_of_the_run(
    pretrained: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = recipes.load("quick", [f"model.weights={pretrained}", "training.epochs=1", "training.threads=1", "data.workers=0"])
    monkeypatch.setattr(loop.Loop, "fit", lambda self, minutes: self.save() or False)  # not what this is about
    monkeypatch.setattr(run.finish, "finish", lambda *given: None)
    assert isinstance(quick, recipes.ClipRecipe)
    run.start(quick, tmp_path / "run", data=clips)
    made = folder.read(tmp_path / "run").recipe
    before = modelfile.metadata_of(modelfile.load(pretrained / "clip.onnx"))
    assert before is not None and made.preprocess == before.preprocess
    assert (made.model.name, made.model.frames) == ("motionnet_0.5x", 6)
    assert made.augment == quick.augment and made.training.average == quick.training.average  # all else is the recipe's


def test_a_folder_without_weights_is_said(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no weights in this folder"):
        run.start(_recipe(f"model.weights={clips}"), tmp_path / "run", data=clips)
