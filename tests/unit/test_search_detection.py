"""`everyframe search` for detection: the supernet and its networks, what is measured, and a search from scans to a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import everyframe as ef
from everyframe import modelfile, recipes
from everyframe.errors import RecipeError, SourceError, WeightsError
from everyframe.nas.supernet import dense, part
from everyframe.recipes import DetectionRecipe
from everyframe.recipes.detection import Teacher
from everyframe.tasks.detection import choices
from everyframe.tasks.detection.detector import Detector
from everyframe.tasks.detection.export import graph_from
from everyframe.tasks.detection.network import Network
from everyframe.tasks.detection.order import loudest_first
from everyframe.tasks.detection.pillars import group
from everyframe.tasks.detection.searched import Row
from everyframe.training import checkpoint

RECIPE = """
name = "small"
task = "detect"
[model]
features = 16
widths = [16, 24]
depths = [0, 1]
strides = [2, 2]
neck = 16
head = 16
[model.grid]
low = [0, -16, -3]
high = [32, 16, 2]
cell = 1.0
slots = 500
[data]
train = "all"
holdout = 0.34
[optimizer]
kind = "adamw"
learning_rate = 5e-3
[training]
epochs = 1
batch = 2
threads = 1
[search]
engine = "ort"
target_ms = 50
evaluations = 3
rate_evaluations = 1
checked = 3
sampled = 1
"""
FEW = """
[search.choices]
cell = [2.0, 1.0]
features = [16]
width = [16]
depth1 = [0]
depth2 = [1]
block = ["plain"]
kernel = [3]
neck = [16]
head = [16]
up = ["nearest"]
activation = ["relu"]
scheme = ["none"]
scheme21 = ["none", "kgs"]
"""


def recipe(*changes: str, text: str = RECIPE) -> DetectionRecipe:
    made = recipes.parse(text, changes=changes)
    assert isinstance(made, DetectionRecipe)
    return made


@pytest.fixture(scope="module")
def row() -> Row:
    """With all choices there are."""
    return Row(recipe("search.engine='native'"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ef.render("scenes", tmp_path_factory.mktemp("scenes") / "single", count=6, beams=16).folder


@pytest.fixture(scope="module")
def found(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    (folder / "small.toml").write_text(RECIPE + FEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERYFRAME_CACHE", str(folder / "cache"))
        done = ef.search(str(folder / "small.toml"), scenes, folder / "run")
    assert done.ended and done.model.graph.node and done.recipe.is_file()
    return folder / "run"


def scan(net: Network, seed: int) -> torch.Tensor:
    rng, grid = np.random.default_rng(seed), net.settings.grid
    points = np.column_stack([rng.uniform(grid.low, grid.high, (300, 3)), rng.random(300)])
    return torch.from_numpy(group(points.astype(np.float32), grid))[None]


def test_its_networks_are_the_networks_of_their_recipes(row: Row) -> None:
    net, rng = row.supernet(), np.random.default_rng(0)
    for number in range(8):
        values = row.space.values(row.space.random(rng))
        alone = net.network(values)
        assert isinstance(alone, Network)
        x = scan(alone, number)
        net.train()
        alone.train()  # norms of the moment
        for one, other in zip(alone(x), net(x, values), strict=True):
            torch.testing.assert_close(one, other)
        told = recipes.parse(row.recipe(values, "found"))
        assert isinstance(told, DetectionRecipe) and told.search is None
        again = Network(told.model, 3)
        again.load_state_dict(alone.state_dict())
        torch.testing.assert_close(again.train()(x), alone(x))


def test_a_supernet_begins_with_the_weights_of_its_recipe(row: Row, tmp_path: Path) -> None:
    """Its network of the recipe's shape is the one that was trained, whatever else there is beside it."""
    torch.manual_seed(1)
    trained = Network(row.given.model, len(row.given.data.classes))
    checkpoint.save_weights(tmp_path / "best.safetensors", trained.state_dict())
    begun = Row(recipe("search.engine='native'", f"model.weights='{tmp_path}'"))
    values = dense(begun.space, begun.space.largest()) | {"cell": 1.0, "up": "transposed", "activation": "relu", "head_kernel": 3}
    values |= {f"{name}{at}": value for at, depth in enumerate(begun.given.model.depths, 1)
               for name, value in {"depth": depth, "block": "plain", "kernel": 3}.items()}  # fmt: skip
    x = scan(trained, 0)
    for one, other in zip(begun.supernet().network(begun.space.settle(values)).train()(x), trained.train()(x), strict=True):
        torch.testing.assert_close(one, other)
    checkpoint.save_weights(tmp_path / "best.safetensors", {"other": torch.zeros(1)})
    with pytest.raises(WeightsError, match="of another network"):
        begun.supernet()


def test_a_search_of_narrower_networks_alone_begins_with_the_loudest_channels(tmp_path: Path) -> None:
    torch.manual_seed(1)
    trained = Network(recipe().model, 3)
    for value in trained.parameters():
        value.data.uniform_(0.1, 1)
    checkpoint.save_weights(tmp_path / "best.safetensors", trained.state_dict())
    few = [f"search.choices.{name}={values}" for name, values in (
        ("width", [8]), ("features", [8]), ("neck", [8]), ("head", [8]), ("head_kernel", [1]), ("depth2", [1]), ("depth1", [0]),
        ("block", ["plain"]), ("kernel", [3]), ("up", ["transposed"]), ("cell", [1.0]), ("activation", ["relu"]),
    )]  # fmt: skip
    begun = Row(recipe(f"model.weights='{tmp_path}'", *few))
    net = begun.supernet().network(begun.space.values(begun.space.largest()))
    loudest_first(trained)
    joined = trained.head[0].weight.unflatten(1, (2, 16))[:8, :, :8, 1:2, 1:2].flatten(1, 2)
    torch.testing.assert_close(net.head[0].weight, joined)
    torch.testing.assert_close(net.stages[0][0][0].weight, trained.stages[0][0][0].weight[:8, :8])
    torch.testing.assert_close(net.heat.weight, trained.heat.weight[:, :8])


@pytest.mark.parametrize("block", ["plain", "residual", "separable"])
@pytest.mark.parametrize("up", ["nearest", "transposed"])
def test_sorted_channels_answer_the_same(block: str, up: str) -> None:
    model = recipe(f"model.block='{block}'", f"model.up='{up}'", "model.depths=[1,1]", "model.neck=6", "model.head=10").model
    torch.manual_seed(0)
    net = Network(model, 3).eval()
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 1)
    x, before = scan(net, 0), net.head[0].weight.clone()
    with torch.inference_mode():
        wanted = net(x)
        loudest_first(net)
        for one, other in zip(net(x), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not torch.equal(before, net.head[0].weight)
    loud = net.head[1].weight.abs() * (net.heat.weight.abs().sum((0, 2, 3)) + net.boxes.weight.abs().sum((0, 2, 3)))
    assert bool((loud.diff() <= 0).all())


def test_what_is_found_is_taught_where_it_sees_the_same_cells(row: Row) -> None:
    taught = row.given.model_copy(update={"teacher": Teacher(weights="runs/detect")})
    kept = {}
    for cell in (1.0, 2.0):
        told = recipes.parse(Row(taught).recipe({**row.space.values(row.space.largest()), "cell": cell}, "found"))
        assert isinstance(told, DetectionRecipe)
        kept[cell] = told.teacher
    assert kept == {1.0: Teacher(weights="runs/detect"), 2.0: None}


def test_gradients_reach_what_a_network_is_lent_and_the_smallest_is_lent_a_part(row: Row) -> None:
    net = row.supernet().train()
    reached = {}
    for name, point in (("smallest", row.space.smallest()), ("largest", row.space.largest())):
        values = dense(row.space, point) | {"up": "transposed"}
        heat, boxes = net(scan(net.network(values), 0), values)  # type: ignore[arg-type]
        (heat.square().sum() + boxes.square().sum()).backward()
        reached[name] = {key for key, weight in net.weights.items() if weight.grad is not None}
        net.zero_grad()
    assert reached["largest"] > reached["smallest"]


@pytest.mark.parametrize("joined", [1, 3])
def test_a_part_is_the_first_of_each_and_the_middle_of_taps(joined: int) -> None:
    whole = torch.arange(8 * 12 * 5 * 5).reshape(8, 12, 5, 5)
    made = part(whole, (4, 6, 3, 3), (1, joined))
    places = [at for group in range(joined) for at in range(group * 12 // joined, group * 12 // joined + 6 // joined)]
    assert torch.equal(made, whole[:4][:, places][:, :, 1:4, 1:4])


def test_the_parts_of_a_network_are_all_of_its_work(row: Row) -> None:
    rng = np.random.default_rng(1)
    for _ in range(2):
        values = dense(row.space, row.space.random(rng))
        parts = row.parts(values)
        work = sum(count * (macs(row.graph(dict(p.whole))) - (macs(row.graph(dict(p.without))) if p.without else 0))
                   for p, count in parts.items())  # fmt: skip
        assert work == macs(row.graph(values))


def macs(graph: modelfile.Held | object) -> int:
    """Multiply-adds of a graph's convolutions, counted from their shapes."""
    import onnx

    made = onnx.shape_inference.infer_shapes(graph, data_prop=True)  # type: ignore[arg-type]
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*made.graph.value_info, *made.graph.output, *made.graph.input)
    } | {weight.name: list(weight.dims) for weight in made.graph.initializer}
    total = 0
    for node in made.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            where = shapes[node.output[0] if node.op_type == "Conv" else node.input[0]]
            total += int(np.prod(shapes[node.input[1]])) * where[2] * where[3]
    return total


def test_what_is_pruned_is_zero_in_the_file(row: Row) -> None:
    values = dense(row.space, row.space.largest()) | {"scheme21": "kgs", "rate21": 0.75, "scheme0": "filter", "rate0": 0.25}
    net = row.build(values)
    whole = {name: float((value == 0).float().mean()) for name, value in net.named_parameters()}
    assert not any(share for name, share in whole.items() if name.endswith("0.weight"))
    assert row.pruned(values) == ["rate21", "rate0"]
    graph = graph_from(net)
    assert graph.graph.node
    pruned = {name: float((value == 0).float().mean()) for name, value in net.named_parameters() if value.ndim == 4}
    wanted = {"stages.1.1.0.weight": 0.75, "head.0.weight": 0.25}
    assert {name: share for name, share in pruned.items() if share} == pytest.approx(wanted, abs=0.04)


def test_a_search_leaves_all_of_it(found: Path, scenes: Path) -> None:
    log = [json.loads(line) for line in (found / "trials.jsonl").read_text().splitlines()]
    assert {row["values"]["cell"] for row in log} == {1.0, 2.0} and all(row["ms"] <= 50 for row in log)
    told = json.loads((found / "search.json").read_text())
    assert told["ended"] and told["best"]["measured_ms"] > 0 and told["final"]["ended"]
    assert "best.toml" in {path.name for path in found.iterdir()}
    supernet = [json.loads(line) for line in (found / "supernet" / "metrics.jsonl").read_text().splitlines()]
    assert {"ap_ground_1m_smallest", "ap_space_2m_largest"} <= set(supernet[0])
    step = found / "final" / "step.onnx"
    with Detector(step, engine="ort") as detector:
        assert detector.grid.cell == told["best"]["values"]["cell"]
    kept = recipes.load(str(found / "final" / "recipe.toml"))
    assert isinstance(kept, DetectionRecipe) and kept.model.weights == str(found / "inherited.safetensors")


def test_a_search_that_was_taken_up_again_judges_nothing_twice(found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(found.parent / "cache"))
    before = (found / "trials.jsonl").read_text()
    ef.search(output=found, resume=True, retrain=False)
    assert (found / "trials.jsonl").read_text() == before


def test_a_network_is_judged_alike_whenever_it_is_asked(found: Path) -> None:
    given = recipes.load(str(found / "search.toml"))
    assert isinstance(given, DetectionRecipe)
    task = Row(given)
    task.open_supernet(found / "supernet")
    values = [json.loads(line) for line in (found / "trials.jsonl").read_text().splitlines()]
    assert [round(task.judge(one["values"]), 5) for one in reversed(values)] == [one["score"] for one in reversed(values)]


def test_what_does_not_fit_is_refused_before_any_work(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    for change, word in (
        ("search.choices.cell=[0.9]", "multiple of 4 cells"),
        ("search.choices.block=['dense']", "separable"),
        ("search.choices.scheme=['kgs']", "none, and others"),
        ("search.choices.depth2=[9]", "0 to 2"),
        ("search.choices.width=[0]", "1 to 512"),
        ("search.choices.heigth=[1]", "no such choice"),
        ("model.schemes=['kgs']", "one entry a layer: 4"),
        ("model.kernels=[3]", "one entry a stage: 2"),
    ):
        with pytest.raises(RecipeError, match=word):
            ef.search(str(tmp_path / "small.toml"), scenes, tmp_path / "run", settings=[change])
    with pytest.raises(SourceError):
        ef.search(str(tmp_path / "small.toml"), tmp_path / "nowhere", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_schemes_are_proposed_where_engines_gain_by_them() -> None:
    def schemes(engine: str, *more: str) -> set[str]:
        made = choices.space(recipe().model, recipe(f"search.engine='{engine}'", *more).search)  # type: ignore[arg-type]
        return {value for choice in made.choices if choice.name.startswith("scheme") for value in choice.values}

    assert schemes("ort") == {"none"} and {"kgs", "filter"} < schemes("native")
    assert schemes("ort", "search.choices.scheme21=['none','kgs']") == {"none", "kgs"}, "and where they are asked for"
