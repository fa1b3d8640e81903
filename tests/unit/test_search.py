"""`everyframe search` for super-resolution: the supernet and its networks, and a search from pictures to a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import enlarging
import everyframe as ef
from command_line import everyframe
from everyframe import modelfile, recipes
from everyframe.errors import RecipeError, SourceError, UsageError, WeightsError
from everyframe.nas.supernet import Supernet
from everyframe.recipes.search import Search
from everyframe.recipes.super_resolution import ModelSection, SuperResolutionRecipe
from everyframe.tasks.super_resolution import choices
from everyframe.tasks.super_resolution.enhance import Enhancer
from everyframe.tasks.super_resolution.export import export
from everyframe.tasks.super_resolution.metrics import psnr
from everyframe.tasks.super_resolution.network import Network
from everyframe.tasks.super_resolution.resize import bicubic
from everyframe.tasks.super_resolution.searched import Row as SuperResolution
from everyframe.training import checkpoint


def recipe(*changes: str) -> SuperResolutionRecipe:
    made = recipes.parse(enlarging.SEARCH, changes=changes)
    assert isinstance(made, SuperResolutionRecipe)
    return made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return enlarging.write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def found(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    (folder / "small.toml").write_text(enlarging.SEARCH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERYFRAME_CACHE", str(folder / "cache"))
        done = ef.search(str(folder / "small.toml"), pictures, folder / "run")
    assert done.ended and done.model.graph.node and done.recipe.is_file()
    return folder / "run"


@pytest.fixture(scope="module")
def task() -> SuperResolution:
    """With all choices there are."""
    whole = enlarging.SEARCH.partition("[search.choices]")[0]
    parsed = recipes.parse(whole, changes=["search.choices.grid=['1x16','2x16','2x48']"])
    assert isinstance(parsed, SuperResolutionRecipe)
    return SuperResolution(parsed)


def noisy(task: SuperResolution) -> Supernet:
    net = task.supernet()
    with torch.no_grad():
        for value in net.parameters():
            value += 0.02 * torch.randn_like(value)
    return net


def test_its_networks_are_the_networks_of_their_recipes(task: SuperResolution) -> None:
    net, rng = noisy(task), np.random.default_rng(0)
    x = torch.rand(1, 1, 13, 11)
    for _ in range(8):
        values = task.space.values(task.space.random(rng))
        made = net(x, values)
        alone = net.network(values)
        assert made.shape == (1, 1, 26, 22)
        torch.testing.assert_close(alone(x), made)
        torch.testing.assert_close(alone.collapsed()(x), made)
        told = recipes.parse(task.recipe(values, "found"))
        assert isinstance(told, SuperResolutionRecipe) and told.search is None
        again = Network(told.model)
        again.load_state_dict(alone.state_dict())
        torch.testing.assert_close(again(x), made)


def test_a_supernet_begins_with_the_weights_of_its_recipe(task: SuperResolution, tmp_path: Path) -> None:
    """Its network of the recipe's shape is the one that was trained; of another scale all but what answers."""
    torch.manual_seed(1)
    told = task.given.model.model_copy(update={"blocks": ("conv3", "separable5"), "channels": 12, "wide": 4})
    trained = Network(told)
    trained.last.narrow.data.normal_()
    checkpoint.save_weights(tmp_path / "best.safetensors", trained.state_dict())
    change = {"blocks": told.blocks, "channels": 12, "wide": 4, "weights": str(tmp_path)}
    begun = SuperResolution(task.given.model_copy(update={"model": task.given.model.model_copy(update=change)}))
    values = begun.space.values(begun.space.largest()) | choices.own(told) | {"depth": 2, "activation": "relu"}
    values |= {f"scheme{at}": "none" for at in range(1, choices.DEEPEST + 1)}
    x = torch.rand(1, 1, 13, 11)
    torch.testing.assert_close(begun.supernet().network(values)(x), trained(x))
    larger = SuperResolution(begun.given.model_copy(update={"model": begun.given.model.model_copy(update={"scale": 3})}))
    made = larger.supernet().network(values)
    assert torch.equal(made.first.wide, trained.first.wide) and not made.last.narrow.any()  # type: ignore[attr-defined]
    squares = begun.search.model_copy(update={"choices": {**begun.search.choices, "grid": ("2x16",), "block": ("conv5",)}})
    with pytest.raises(WeightsError, match="Nothing of these weights"):
        SuperResolution(begun.given.model_copy(update={"search": squares})).supernet()


@pytest.mark.parametrize("scale", [2, 3])
def test_a_last_convolution_on_squares_holds_every_one_that_is_not(scale: int) -> None:
    """Kernels of single places, put where their place is in the square, are a kernel of the square; the rest is the same."""
    given = ModelSection(scale=scale, channels=4, depth=1, wide=4, size=(16, 16))
    torch.manual_seed(0)
    single, square = Network(given), Network(given.model_copy(update={"last": 2}))
    single.last.narrow.data.normal_()
    square.load_state_dict(
        {**single.state_dict(), **{name: value for name, value in square.state_dict().items() if "last" in name}}
    )
    kernel, wanted = single.last.kernel(), torch.zeros(scale, 2, scale, 2, 4, 4, 4)
    wanted = wanted.permute(1, 0, 3, 2, 4, 5, 6).contiguous()  # row of the square, place within its pixel, and so for columns
    for row in range(2):
        for column in range(2):
            wanted[row, :, column, :, :, row : row + 3, column : column + 3] = kernel.unflatten(0, (scale, scale))
    plain = square.collapsed()
    plain.last.kernel.data = wanted.flatten(0, 3).detach()  # type: ignore[union-attr]
    for height, width in ((12, 10), (13, 11)):
        x = torch.rand(1, 1, height, width)
        made = plain(x)
        assert made.shape == (1, 1, scale * height, scale * width)
        # where the picture's border goes on to a whole square, single places see zeros
        inner = (..., slice(0, scale * (height - 5)), slice(0, scale * (width - 5))) if height % 2 else (...,)
        torch.testing.assert_close(made[inner], single(x)[inner])


def test_what_is_pruned_is_zero(task: SuperResolution) -> None:
    values = task.space.values(task.space.largest()) | {"block1": "conv3", "scheme1": "kgs", "rate1": 0.75, "depth": 2}
    values = task.space.settle(values)
    plain = noisy(task).network(values).collapsed()
    kernel = next(iter(plain.blocks.children())).kernel
    assert float((kernel == 0).float().mean()) == pytest.approx(0.75, abs=0.01)
    assert float((plain.first.kernel == 0).float().mean()) < 0.01


def test_a_network_of_every_part_is_a_graph(task: SuperResolution) -> None:
    values = task.space.settle({**task.space.values(task.space.largest()), "depth": 2})
    parts = task.parts(values)
    assert sum(parts.values()) == 1 + 2 + 3  # ends, blocks, and PReLU behind each convolution
    graph = task.graph(values)
    assert [value.name for value in (*graph.graph.input, *graph.graph.output)] == ["clip", "logits"]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("squares", [{"reduce": 2}, {"last": 2}, {"reduce": 2, "last": 2}], ids=str)
def test_a_new_network_on_squares_is_bicubic_interpolation_too(scale: int, squares: dict[str, int]) -> None:
    picture = np.array(Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5)).astype(np.uint8)).resize((23, 21)))
    net = Network(ModelSection(scale=scale, **squares, channels=4, depth=1, wide=4, size=(16, 16)))  # type: ignore[arg-type]
    with torch.no_grad():
        made = net(torch.from_numpy(picture).float()[None, None] / 255)[0, 0].numpy() * 255
    assert made.shape == (21 * scale, 23 * scale)
    assert psnr(made, bicubic(picture.astype(np.float32), made.shape), 2 * scale) > 70


@pytest.mark.parametrize("squares", ["reduce", "last"])
def test_pictures_of_any_size_go_through_a_network_on_squares_whole_or_in_parts(tmp_path: Path, squares: str) -> None:
    torch.manual_seed(0)
    net = Network(ModelSection(scale=2, **{squares: 2}, channels=4, depth=2, wide=4, size=(16, 16)))  # type: ignore[arg-type]
    net.last.narrow.data.normal_()
    step = export(net, tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (41, 55)).astype(np.uint8)
    with torch.no_grad():
        wanted = net(torch.from_numpy(picture).float()[None, None] / 255)[0, 0].numpy() * 255
    for whole, part in ((1 << 20, 768), (100, 37)):
        with Enhancer(step, engine="ort", whole=whole, part=part) as enhancer:
            assert enhancer.facts.squares == 2 and enhancer.reach % 2 == 0
            np.testing.assert_allclose(enhancer.stream((41, 55)).gray(picture), wanted, atol=1e-2)


def test_a_search_leaves_all_of_it(found: Path) -> None:
    there = {path.name for path in found.iterdir()}
    assert {"search.toml", "supernet", "latency.json", "trials.jsonl", "front.png", "best.toml", "search.json", "final"} <= there
    log = [json.loads(line) for line in (found / "trials.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in log] == ["architecture"] * 2 and all(row["ms"] <= 50 for row in log)
    told = json.loads((found / "search.json").read_text())
    assert told["ended"] and told["best"]["measured_ms"] > 0 and told["final"]["ended"]
    latency = json.loads((found / "latency.json").read_text())
    assert latency["engine"] == "ort" and {one["fitted"] for one in latency["networks"]} == {True, False}
    assert modelfile.metadata_of(modelfile.load(found / "final" / "step.onnx"), "step").task == "enhance"
    supernet = [json.loads(line) for line in (found / "supernet" / "metrics.jsonl").read_text().splitlines()]
    assert {"psnr_2_smallest", "psnr_2_largest"} <= set(supernet[0])


def test_the_recipe_that_is_found_trains_alone(found: Path, tmp_path: Path) -> None:
    done = ef.train(None, tmp_path / "run", recipe=str(found / "best.toml"))
    assert done is not None and done.ended


def test_a_search_that_was_taken_up_again_judges_nothing_twice(found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(found.parent / "cache"))
    before = (found / "trials.jsonl").read_text()
    again = ef.search(output=found, resume=True, retrain=False)
    assert (found / "trials.jsonl").read_text() == before and again.to_dict()["evaluations"] == len(before.splitlines())


def test_a_time_that_no_network_has_is_refused_before_the_supernet_is_trained(
    found: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(found.parent / "cache"))
    with pytest.raises(UsageError, match="so fast"):
        ef.search(str(found.parent / "small.toml"), pictures, tmp_path / "run", target_ms=1e-4)
    assert not (tmp_path / "run" / "supernet").exists()


def test_what_does_not_fit_is_refused_before_any_work(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    for change, word in (
        ("search.choices.grid=['3x16']", "1xCHANNELS"),
        ("search.choices.block=['conv4']", "conv3"),
        ("search.choices.scheme=['kgs']", "none, and others"),
        ("search.choices.depth=[99]", "1 to 8"),
        ("search.choices.heigth=[1]", "no such choice"),
        ("search.controller='genetic'", "evolution"),
        ("model.shift=0.25", "for video"),
        ("search.choices.last=[3]", "1, 2"),
    ):
        with pytest.raises(RecipeError, match=word):
            ef.search(data=pictures, output=path, target_ms=9, settings=[change])
    with pytest.raises(UsageError, match="target"):
        ef.search(data=pictures, output=path)
    with pytest.raises(UsageError, match="cannot be timed"):
        ef.search(data=pictures, output=path, target_ms=9, settings=["search.engine='ert'"])
    with pytest.raises(WeightsError, match="cannot be read"):
        ef.search(data=pictures, output=path, target_ms=9, settings=["model.weights='nowhere'"])
    with pytest.raises(SourceError, match="no such folder"):
        ef.search(data=tmp_path / "nowhere", output=path, target_ms=9)
    with pytest.raises(UsageError, match="not searched"):
        ef.search("motions", pictures, path)
    with pytest.raises(UsageError, match="no search"):
        ef.search(output=path, resume=True)
    assert not path.exists()
    done = everyframe("search", "--data", pictures, "-o", path)
    assert done.returncode == 2 and "--target-ms" in done.stderr and not path.exists()


def test_a_search_is_not_written_over(found: Path, pictures: Path) -> None:
    with pytest.raises(UsageError, match="lies in this folder already"):
        ef.search(data=pictures, output=found, target_ms=9)


def test_sections_of_a_recipe_that_contradict_each_other_are_refused() -> None:
    for change, word in (
        ("model.size=[15,16]", "multiples of reduce"),
        ("model.schemes=['kgs']", "one entry a block"),
        ("model.rates=[1.5]", "one entry a block"),
    ):
        with pytest.raises(RecipeError, match=word):
            recipe("model.reduce=2", change)
    odd = recipe("model.size=[16,15]", "search.choices.grid=['1x16']")
    assert choices.space(odd.search or Search(), odd.model.size).largest()  # squares are left out
    with pytest.raises(RecipeError, match="multiples of 2"):
        SuperResolution(recipe("model.size=[16,15]", "search.choices.last=[1,2]", "search.choices.grid=['1x16']"))
    assert choices.describe(SuperResolution(recipe()).space.values((0,) * len(choices.CHOICES))).startswith("squares of 2")
