"""The table of measured layers, the guess of the accuracy, and the search for rates that meet a time."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

import moving
from everyframe import recipes as recipes
from everyframe.cli import main
from everyframe.errors import EveryframeError, UsageError
from everyframe.pruning import cost, latency, proxy, search
from everyframe.pruning import run as pruning
from everyframe.pruning.bayes import expected_improvement
from everyframe.pruning.pattern import Pattern
from everyframe.pruning.space import Space
from everyframe.recipes.training import ClipRecipe
from everyframe.training import run as train

PATTERN = Pattern("kgs", (4, 2))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))


class Small(nn.Module):
    """Three convolutions worth pruning, two of one shape."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, width, 3, padding=1)
        self.a, self.b = (nn.Conv3d(width, width, 3, padding=1) for _ in range(2))
        self.c = nn.Conv3d(width, 2 * width, (1, 3, 3), padding=(0, 1, 1))
        self.norm, self.fc = nn.BatchNorm3d(2 * width), nn.Linear(2 * width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.b(F.relu(self.a(F.relu(self.stem(x))))))
        return self.fc(F.relu(self.norm(self.c(x))).mean((2, 3, 4)))


@functools.cache
def small(width: int = 8) -> tuple[nn.Module, list[cost.LayerCost]]:
    torch.manual_seed(0)
    net = Small(width).eval()
    return net, cost.layers(net, (1, 3, 4, 12, 12))


def clips(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    drawn = torch.Generator().manual_seed(count)
    return [(torch.randn(4, 3, 4, 12, 12, generator=drawn) + 1, torch.randint(5, (4,), generator=drawn)) for _ in range(count)]


def linear_table(costs: list[cost.LayerCost], *patterns: Pattern) -> latency.Latency:
    """Milliseconds that fall with the rate as MACs do; the second pattern saves half as much."""
    ms = {
        latency.key(one): {
            "dense": one.macs / 1e6,
            **{f"{p} {r:g}": one.macs / 1e6 * (1 - r / (i + 1)) for i, p in enumerate(patterns) for r in latency.RATES},
        }
        for one in costs
    }
    layers = latency.worthwhile(costs, patterns, 1.0)
    return latency.Latency(latency.Table("ort", Path("none"), ms), costs, layers, 1 + cost.left(costs, {}) / 1e6)


class TestLayersAlone:
    @settings(max_examples=40)
    @given(st.data())
    def test_compute_what_they_compute_in_the_network(self, data: st.DataObject) -> None:
        axes = data.draw(st.sampled_from([2, 3]))
        some = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
        groups, kernel, dilation = data.draw(st.integers(1, 2)), some(1, 3), some(1, 2)
        make = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        how: Any = {"stride": some(1, 2), "padding": some(0, 2), "dilation": dilation, "groups": groups, "bias": False}
        layer = make(2 * groups, 3 * groups, kernel, **how)
        shape = (3, 2 * groups, 5, 6, 7) if axes == 3 else (3, 2 * groups, 6, 7)
        (found,) = cost.layers(nn.Sequential(layer), shape)
        model = latency.network(found, None)
        with torch.no_grad():
            stored = model.graph.initializer[0]
            weight = torch.frombuffer(bytearray(stored.raw_data), dtype=torch.float32).view(layer.weight.shape)
            layer.weight.copy_(weight)
            clip = torch.randn(shape)
            wanted = layer(clip).mean((-2, -1))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        if axes == 2:
            (got,) = session.run(None, {"clip": clip.transpose(0, 1)[None].numpy()})
            wanted = wanted.mean(0, keepdim=True)
        else:
            got, wanted = np.concatenate([session.run(None, {"clip": one[None].numpy()})[0] for one in clip]), wanted.mean(2)
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("scheme", ["kgs", "vanilla", "balanced", "filter"])
    def test_have_the_zeros_of_the_pattern(self, scheme: str) -> None:
        _, costs = small()
        pattern = Pattern(scheme, (4, 2))  # type: ignore[arg-type]
        weight = latency.network(costs[1], (pattern, 0.5)).graph.initializer[0]
        values = np.frombuffer(weight.raw_data, np.float32).reshape(costs[1].weight_shape)
        assert abs(np.mean(values == 0) - 0.5) < 0.05  # balanced: 14 of 27 locations
        units = pattern.norms(values) == 0
        assert np.array_equal(pattern.spread(units, values.shape), values == 0)


class TestTable:
    def test_keeps_what_was_measured_when_it_is_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, costs = small()
        worth = latency.worthwhile(costs, [PATTERN], 1.0)
        assert [one.name for one in worth] == ["a", "b", "c"]
        asked, real = list[set[str]](), latency.milliseconds

        def measured(models, *rest):  # type: ignore[no-untyped-def]
            asked.append(set(models))
            if len(asked) == 2:
                raise KeyboardInterrupt
            return real(models, *rest)

        monkeypatch.setattr(latency, "milliseconds", measured)
        with pytest.raises(KeyboardInterrupt):
            latency.Table.open("ort").measure(worth, [PATTERN], (0.5, 0.9), seconds=0)
        table = latency.Table.open("ort")
        assert set(table.ms) == {latency.key(worth[0])}  # a and b are alike
        table.measure(worth, [PATTERN], (0.5, 0.9), seconds=0)
        table.measure(worth, [PATTERN, Pattern("vanilla", (4, 2))], (0.5,), seconds=0)
        names = {"dense", "kgs 4x2 0.5", "kgs 4x2 0.9"}
        assert asked == [names, names, names, {"vanilla 4x2 0.5"}, {"vanilla 4x2 0.5"}]
        assert all(ms > 0 for row in latency.Table.open("ort").ms.values() for ms in row.values())

    def test_between_rates_time_is_linear(self) -> None:
        _, costs = small()
        clock = linear_table(costs, PATTERN)
        rates = {"a": 0.25, "b": 0.6, "c": 0.9}
        assert clock.ms(rates, PATTERN) == pytest.approx(1 + cost.left(costs, rates) / 1e6)
        assert clock.ms({}, PATTERN) == clock.dense
        with pytest.raises(UsageError, match="not measured"):
            clock.ms(rates, Pattern("vanilla", (4, 2)))
        with pytest.raises(UsageError, match="no convolution"):
            clock.ms({"d": 0.5}, PATTERN)

    @pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '{"a": {"dense": "fast"}}'])
    def test_a_damaged_file_is_measured_again(self, text: str) -> None:
        path = latency.Table.open("ort").path
        path.parent.mkdir(parents=True)
        path.write_text(text)
        assert latency.Table.open("ort").ms == {}

    def test_an_unknown_engine(self) -> None:
        with pytest.raises(UsageError, match=r"cannot be timed[^$]*native"):
            latency.whole(small()[0], (1, 3, 4, 12, 12), "fast")


class TestProxy:
    def test_is_the_loss_of_the_network_and_leaves_it_alone(self) -> None:
        net, _ = small()
        before = copy.deepcopy(net.state_dict())
        guess = proxy.Proxy(net, clips(3), clips(2))
        one, other, again = guess({}, PATTERN), guess({"a": 0.9, "c": 0.5}, PATTERN), guess({}, PATTERN)
        assert one == again != other
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
        proxy.recalibrate(net, clips(3))
        with torch.no_grad():
            losses = [F.cross_entropy(net(x), y, reduction="sum") for x, y in clips(2)]
        assert one == pytest.approx(float(sum(losses)) / 8, rel=1e-5)

    def test_batch_norm_takes_the_mean_over_the_batches(self) -> None:
        net = nn.Sequential(nn.BatchNorm3d(3)).eval()
        batches = clips(3)
        proxy.recalibrate(net, batches)
        means = torch.stack([x.mean((0, 2, 3, 4)) for x, _ in batches])
        torch.testing.assert_close(net[0].running_mean, means.mean(0))
        assert not net[0].training and net[0].momentum == 0.1

    def test_needs_clips(self) -> None:
        with pytest.raises(UsageError, match="Clips are needed"):
            proxy.Proxy(small()[0], [], clips(1))


class TestSearch:
    @settings(max_examples=30)
    @given(speedup=st.floats(1, 1.6), seed=st.integers(0, 99))
    def test_every_point_meets_the_target_and_hardly_more(self, speedup: float, seed: int) -> None:
        _, costs = small()
        clock = linear_table(costs, PATTERN, Pattern("vanilla", (4, 2)))
        patterns = [PATTERN, Pattern("vanilla", (4, 2))]
        space = Space(clock, patterns, clock.dense / speedup)
        rng = np.random.default_rng(seed)
        numbers, positions = rng.integers(len(space.patterns), size=20), rng.random((20, 3))
        for number, position in zip(numbers, space.fit(numbers, positions), strict=True):
            rates = space.rates(number, position)
            ms = clock.ms(rates, space.patterns[number])
            assert ms <= space.target_ms + 1e-9
            assert max(rates.values(), default=0) <= 0.9
            assert ms >= space.target_ms - 0.02 * clock.dense or not all(rates.values())
        assert (Pattern("vanilla", (4, 2)) in space.patterns) == (
            clock.dense / speedup >= clock.ms(dict.fromkeys("abc", 0.9), patterns[1])
        )

    def test_a_target_out_of_reach(self) -> None:
        _, costs = small()
        clock = linear_table(costs, PATTERN)
        with pytest.raises(UsageError, match=r"cannot become so fast[^$]*at least"):
            Space(clock, [PATTERN], clock.dense / 20)

    def test_finds_what_random_search_does_not(self) -> None:
        """Layers that bear pruning unequally well, equal numbers of evaluations, medians over problems."""
        layers = [cost.LayerCost(f"layer{n}", "conv", (8, 8, 3, 3, 3), 10**6, (1, 8, 4, 9, 9 + n)) for n in range(10)]
        clock = linear_table(layers, PATTERN)
        space = Space(clock, [PATTERN], clock.dense / 2.5)
        ratios = []
        for problem in range(5):
            rng = np.random.default_rng(problem)
            bears, mixed = rng.lognormal(0, 1.5, 10), rng.standard_normal((10, 10)) * 0.1

            def guess(rates, pattern, bears=bears, mixed=mixed):  # type: ignore[no-untyped-def]
                x = np.array([rates.get(layer.name, 0.0) for layer in layers])
                return float((bears * x**3 / (1.01 - x)).sum() + (mixed @ x**2).clip(0).sum())

            trials = search.search(space, guess, 40, seed=problem)
            points = search._random(space, rng, 40)
            ratios.append(min(t.loss for t in trials) / min(guess(space.rates(*point), PATTERN) for point in points))
            assert len({json.dumps(trial.rates) for trial in trials}) == len(trials) == 40
            assert [t.loss for t in search.search(space, guess, 15, seed=1)] == [
                t.loss for t in search.search(space, guess, 15, seed=1)
            ]
        assert np.median(ratios) < 0.8

    def test_an_interrupted_search_keeps_its_trials(self) -> None:
        _, costs = small()
        clock = linear_table(costs, PATTERN)
        left = iter([1.0, 2.0, np.inf])

        def guess(*_: object) -> float:
            for value in left:
                return value
            raise KeyboardInterrupt

        trials = search.search(Space(clock, [PATTERN], clock.dense / 2), guess, 40, seed=0)
        assert [trial.loss for trial in trials] == [1.0, 2.0, np.inf]

    def test_improvement_is_expected_where_the_loss_falls(self) -> None:
        known = np.linspace(0, 0.6, 7)[:, None]
        promised = expected_improvement(known, (known[:, 0] - 0.8) ** 2, np.array([[0.0], [0.3], [0.7]]))
        assert promised.argmax() == 2 and (promised >= 0).all()
        assert np.isfinite(expected_improvement(known, np.full(7, np.inf), known)).all()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, "neither"),
            ({"target_ms": 3.0, "speedup": 2.0}, "both"),
            ({"speedup": 0.0}, "positive"),
            ({"target_ms": float("nan")}, "positive"),
            ({"speedup": 2.0, "evaluations": 0}, "positive"),
            ({"speedup": 1.0, "engine": "ort"}, "that fast already"),
            ({"target_ms": 1e6, "engine": "ort"}, "that fast already"),
        ],
    )
    def test_bad_input(self, settings: dict[str, float], message: str) -> None:
        net, _ = small()
        with pytest.raises(UsageError, match=message):
            search.find(net, (1, 3, 4, 12, 12), clips(1), clips(1), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(clips, run folder of a network that was trained on them)"""
    data = moving.write_clips(tmp_path_factory.mktemp("clips"))
    made, path = recipes.parse(moving.TEXT, changes=["training.epochs=1"]), tmp_path_factory.mktemp("dense") / "run"
    assert isinstance(made, ClipRecipe)
    train.start(made, path, data=data)
    return data, path


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that follow from the multiply-adds."""
    monkeypatch.setattr(latency, "whole", lambda net, shape, engine: 1 + cost.left(cost.layers(net, shape), {}) / 1e6)
    monkeypatch.setattr(
        latency.Table, "measure", lambda table, costs, patterns: table.ms.update(linear_table(costs, *patterns).table.ms)
    )


class TestRun:
    @pytest.mark.usefixtures("linear")
    def test_a_recipe_in_and_a_recipe_out(self, dense: tuple[Path, Path], tmp_path: Path) -> None:
        data, path = dense
        given, where = pruning.settings(str(path), ["prune.group=[4, 2]", "prune.rate=2"])
        found = search.run(
            given, tmp_path / "found.toml", where=where, data=data, speedup=1.2, schemes=["kgs", "vanilla"], evaluations=6
        )
        written, _ = pruning.settings(str(tmp_path / "found.toml"))
        assert written.prune.rates == found.best.rates and written.prune.rate is None
        assert (written.prune.scheme, written.prune.group) == (found.best.pattern.scheme, (4, 2))
        assert {**written.model_dump(), "prune": None, "data": None} == {**given.model_dump(), "prune": None, "data": None}
        assert Path(written.data.root) == data.resolve()
        assert "6 choices" in (tmp_path / "found.toml").read_text()

    @pytest.mark.usefixtures("linear")
    def test_the_command_prunes_by_what_it_found(
        self, dense: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data, path = dense
        words = ["prune", str(path), "--data", str(data), "-o", str(tmp_path / "run"), "--speedup", "1.2", "--json"]
        words += ["--set", "prune.group=[4,2]", "--set", "training.epochs=1"]

        def said(*more: str, code: int = 0) -> str:
            with pytest.raises(SystemExit) as ended:
                main.run([*words, *more])
            assert ended.value.code == code
            out, err = capsys.readouterr()
            return err if code else out

        found = json.loads(said("--search-only"))
        assert found["recipe"] == str(tmp_path / "run" / "search.toml") and found["ms"] <= found["target_ms"]
        assert not (tmp_path / "run" / "recipe.toml").exists()
        assert json.loads(said())["done"] == ["regularize", "retrain"]
        searched, pruned = (pruning.settings(str(tmp_path / "run" / f"{name}.toml"))[0] for name in ("search", "recipe"))
        assert searched.prune.rates == pruned.prune.rates == found["rates"]
        assert "lies in this folder already" in said(code=2) and "or the rate" in said("--rate", "2", code=2)

    def test_bad_input_before_any_work(self, dense: tuple[Path, Path], tmp_path: Path) -> None:
        data, path = dense
        given, where = pruning.settings(str(path))
        without = given.model_copy(update={"prune": given.prune.model_copy(update={"dense": None})})
        for recipe, output, asked, message in (
            (without, "found.toml", {"speedup": 2.0}, "needs a trained network"),
            (given, "nowhere/found.toml", {"speedup": 2.0}, "cannot be written"),
            (given, "found.toml", {}, "needs a target"),
            (given, "found.toml", {"speedup": 2.0, "schemes": ["star"]}, "no such pattern"),
            (given, "found.toml", {"speedup": 2.0, "engine": "fast"}, "cannot be timed"),
        ):
            with pytest.raises(EveryframeError, match=message):
                search.run(recipe, tmp_path / output, where=where, data=data, **asked)  # type: ignore[arg-type]
        assert not (tmp_path / "found.toml").exists()

    def test_several_processes_would_spoil_each_others_times(
        self, dense: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        given, where = pruning.settings(str(dense[1]))
        with pytest.raises(EveryframeError, match="spoil"):
            search.into(given, tmp_path / "run", where=where, speedup=1.5)


@pytest.mark.slow
def test_a_network_on_the_native_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is timed runs there; its time is taken to be that of its weights that are not zero."""
    real = latency.milliseconds

    def counted(models: dict[str, onnx.ModelProto], engine: str, _: float) -> dict[str, float]:
        assert engine == "native" and all(ms > 0 for ms in real(models, engine, 0.0).values())
        weights = {name: map(numpy_helper.to_array, model.graph.initializer) for name, model in models.items()}
        return {name: float(sum(np.count_nonzero(one) for one in arrays)) for name, arrays in weights.items()}

    monkeypatch.setattr(latency, "milliseconds", counted)
    net, costs = small(64)
    found = search.find(
        net, (1, 3, 4, 12, 12), clips(2), clips(2), speedup=1.3, patterns=[Pattern("kgs", (16, 4))], evaluations=8
    )
    assert len(found.trials) == 8 and found.best.loss == min(trial.loss for trial in found.trials)
    assert all(trial.ms <= found.target_ms for trial in found.trials)
    assert cost.left(costs, found.best.rates) < cost.left(costs, {})
