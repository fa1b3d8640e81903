"""`everyframe search` for networks that recognize: the supernet and its networks, what is measured, a search to a step model."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest

import everyframe as ef
import moving
from everyframe import modelfile, models, recipes
from everyframe.errors import RecipeError, SourceError, UsageError

torch = pytest.importorskip("torch")

from everyframe.models.families.motion import FEATURES, STAGES, spelled  # noqa: E402
from everyframe.tasks.clips import choices  # noqa: E402
from everyframe.tasks.clips.searched import Row  # noqa: E402
from everyframe.training import checkpoint  # noqa: E402

SEARCH = """
[search]
engine = "ort"
target_ms = 50
evaluations = 2
checked = 3
sampled = 1
"""
FEW = """
[search.choices]
stride1 = [2]
width1 = [8]
width2 = [8, 16]
width3 = [16]
width4 = [16]
depth = [0]
kernel = [3]
taps1 = [1]
taps2 = [1, 3]
taps3 = [3]
taps4 = [3]
features = [24]
follow = [1]
"""


def recipe(clips: Path, *changes: str, text: str = moving.TEXT + SEARCH) -> recipes.ClipRecipe:
    made = recipes.parse(text, changes=changes)
    assert isinstance(made, recipes.ClipRecipe)
    return Row.prepared(made, "recipe", clips)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving.write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def row(clips: Path) -> Row:
    """With all choices there are."""
    return Row(recipe(clips, "model.dropout=0"))


def test_its_networks_are_the_networks_of_their_recipes(row: Row) -> None:
    net, rng = row.supernet(), np.random.default_rng(0)
    x = torch.rand(2, 1, moving.FRAMES, *moving.SIZE)
    for _ in range(6):
        values = row.space.values(row.space.random(rng))
        alone = net.network(values)
        torch.testing.assert_close(alone.train()(x), net.train()(x, values))
        told = recipes.parse(row.recipe(values, "found"))
        assert isinstance(told, recipes.ClipRecipe) and told.search is None
        again = models.create(told.model.name, row.classes, size=moving.SIZE, frames=moving.FRAMES, in_channels=1)
        again.load_state_dict(alone.state_dict())
        torch.testing.assert_close(again.eval()(x), alone.eval()(x))


def test_a_supernet_begins_with_the_weights_of_its_recipe(row: Row, clips: Path, tmp_path: Path) -> None:
    """Its network of the recipe's shape is the one that was trained, whatever else there is beside it."""
    torch.manual_seed(1)
    trained = row.build(choices.own(row.given.model))
    checkpoint.save_weights(tmp_path / "best.safetensors", trained.state_dict())
    begun = Row(recipe(clips, "model.dropout=0", f"model.weights='{tmp_path}'"))
    x = torch.rand(2, 1, moving.FRAMES, *moving.SIZE)
    alone = begun.supernet().network(choices.own(begun.given.model))
    torch.testing.assert_close(alone.train()(x), trained.train()(x))
    narrow = Row(recipe(clips, f"model.weights='{tmp_path}'", text=moving.TEXT + SEARCH + FEW))
    narrow.supernet().network(narrow.space.values(narrow.space.largest()))  # all else begins at random


def test_differences_of_frames_do_not_learn(row: Row) -> None:
    net = row.supernet()
    assert [name for name, weight in net.weights.items() if not weight.requires_grad] == ["difference/conv/weight"]


def test_kernels_over_time_learn_by_themselves(row: Row) -> None:
    values = row.space.values(row.space.largest())
    names = {taps: row.key("look.4.conv.weight", {**values, "depth1": 0, "taps1": taps}) for taps in (3, 5)}
    assert names == {3: "time1x3.conv.weight", 5: "time1x5.conv.weight"}
    assert row.key("look.5.weight", {**values, "depth1": 0, "taps1": 3}) == row.key(
        "look.6.weight", {**values, "depth1": 1, "taps1": 3}
    )


def test_the_parts_of_a_network_are_all_of_its_step_but_the_differences(row: Row) -> None:
    values = row.space.values(row.space.random(np.random.default_rng(2)))
    without = lambda part: macs(row.graph(dict(part.without)))  # noqa: E731
    work = sum(count * (macs(row.graph(dict(part.whole))) - without(part)) for part, count in row.parts(values).items())
    step = row.graph(values)
    told = modelfile.metadata_of(step, "step")
    assert told is not None and told.kind == "step" and told.states
    assert work == macs(step) - 2 * 3 * prod(moving.SIZE)


def macs(graph: onnx.ModelProto) -> int:
    """Multiply-adds of a graph's convolutions, counted from their shapes."""
    made = onnx.shape_inference.infer_shapes(graph, data_prop=True)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*made.graph.value_info, *made.graph.output)
    } | {weight.name: list(weight.dims) for weight in made.graph.initializer}
    convs = [node for node in made.graph.node if node.op_type == "Conv"]
    return sum(prod(shapes[node.input[1]]) * prod(shapes[node.output[0]][2:]) for node in convs)


def test_a_name_says_a_network() -> None:
    name = spelled(STAGES, FEATURES, 3)
    assert name == "motionnet_16k5s2d0t1_32k3s2d0t3_48k3s2d0t3_64k3s2d0t3_f96x3"
    plain, said = (models.create(each, 8) for each in ("motionnet_1.0x", name))
    assert {key: value.shape for key, value in plain.state_dict().items()} == {
        key: value.shape for key, value in said.state_dict().items()
    }  # fmt: skip
    for wrong in (name.replace("k5", "k4"), name.replace("x3", "x4"), name.replace("16k", "0k")):
        with pytest.raises(UsageError, match="no such network"):
            models.create(wrong, 8)


@pytest.mark.slow
def test_a_search_leaves_all_of_it(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))
    (tmp_path / "small.toml").write_text(moving.TEXT + SEARCH + FEW)
    done = ef.search(str(tmp_path / "small.toml"), clips, tmp_path / "run", settings=["training.epochs=1"])
    assert done.ended and done.model.graph.node
    log = (tmp_path / "run" / "trials.jsonl").read_text()
    assert len(log.splitlines()) == 2 and all(json.loads(line)["ms"] <= 50 for line in log.splitlines())
    told = modelfile.metadata_of(modelfile.load(tmp_path / "run" / "final" / "step.onnx"), "step")
    assert told is not None and told.kind == "step" and (told.provenance.model or "").startswith("motionnet_8k3s2")
    ef.search(output=tmp_path / "run", resume=True, retrain=False)
    assert (tmp_path / "run" / "trials.jsonl").read_text() == log


def test_what_does_not_fit_is_refused_before_any_work(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(moving.TEXT + SEARCH)
    for change, word in (
        ("search.choices.kernel=[4]", "3, 5"),
        ("search.choices.taps=[0]", "1 to 9"),
        ("search.choices.heigth=[1]", "no such choice"),
        ("model.name='x3d_xs'", "not searched"),
        ("model.train='head'", "whole networks"),
    ):
        with pytest.raises(RecipeError, match=word):
            ef.search(str(tmp_path / "small.toml"), clips, tmp_path / "run", settings=[change])
    (tmp_path / "few" / "up").mkdir(parents=True)
    (tmp_path / "few" / "up" / "0.mp4").write_bytes(next((clips / "train" / "up").iterdir()).read_bytes())
    with pytest.raises(SourceError):
        ef.search(str(tmp_path / "small.toml"), tmp_path / "few", tmp_path / "run")
    with pytest.raises(UsageError):
        ef.search(str(tmp_path / "small.toml"), tmp_path / "nowhere", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match="not searched"):
        choices.base(recipes.training.ModelSection(name="r3d_18"))
