"""Where to prune: what layers cost, published profiles, rates for a FLOPs target."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from everyframe.errors import UsageError
from everyframe.models.registry import build, describe
from everyframe.pruning import cost, presets
from everyframe.pruning.greedy import greedy
from everyframe.pruning.pattern import Pattern
from everyframe.pruning.plan import candidates
from everyframe.recipes.pruning import Scheme


def on_meta(name: str, frames: int | None = None, size: int | None = None, classes: int = 101) -> nn.Module:
    with torch.device("meta"):
        return build(describe(name), num_classes=classes, frames=frames, size=size)


@functools.cache
def costs_of(name: str, frames: int, size: int, channels: int = 3) -> list[cost.LayerCost]:
    return cost.layers(on_meta(name, frames, size), (1, channels, frames, size, size))


class Twice(nn.Module):
    """One convolution that is called twice, at two sizes, and a depthwise and a string-padded one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, 8, 3, padding=1)
        self.again = nn.Conv3d(8, 8, (1, 3, 3), padding="same")
        self.depthwise = nn.Conv3d(8, 8, 3, padding=1, groups=8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.again(self.stem(x))
        x = self.depthwise(self.again(x[..., ::2, ::2]))
        return self.fc(x.mean((2, 3, 4)))


class TestCosts:
    @pytest.mark.parametrize(
        "name", ["c3d", "s3d", "x3d_xs", "tsm_mobilenet_v2", "slowfast_r50", "resnext3d_101", "motionnet_1.0x"]
    )
    def test_add_up_to_what_torch_counts(self, name: str) -> None:
        entry = describe(name)
        shape = (2, entry.preprocess.channels, entry.frames, *entry.size)
        net = on_meta(name)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(torch.empty(shape, device="meta"))
        assert cost.left(cost.layers(net, shape), {}) == counter.get_total_flops() // 2

    def test_each_layer_once_with_all_of_its_calls(self) -> None:
        net = Twice()
        found = {layer.name: layer for layer in cost.layers(net, (1, 3, 4, 16, 16))}
        assert list(found) == ["stem", "again", "depthwise", "fc"]
        assert found["again"].macs == 8 * 8 * 9 * 4 * (16 * 16 + 8 * 8)
        assert (found["again"].padding, found["again"].input) == ((0, 1, 1), (1, 8, 4, 16, 16))
        assert [name for name, layer in found.items() if layer.prunable] == ["again"]
        assert net.stem.weight.device.type == "cpu" and not net.stem._forward_hooks

    def test_bad_input(self) -> None:
        costs = cost.layers(Twice(), (1, 3, 4, 16, 16))
        with pytest.raises(UsageError, match=r"no convolution[^$]*again"):
            cost.left(costs, {"agian": 0.5})
        for rate in (-0.1, 1.0, float("nan")):
            with pytest.raises(UsageError, match="pruned share"):
                cost.left(costs, {"again": rate})
        with pytest.raises(UsageError, match="clips of this shape"):
            cost.layers(Twice(), (1, 4, 4, 16, 16))


class TestPresets:
    @pytest.mark.parametrize("preset", presets.table(), ids=lambda preset: preset.name)
    def test_cost_in_the_zoo_what_the_table_says(self, preset: presets.Preset) -> None:
        _, frames, size, _ = preset.shape
        costs = costs_of(preset.network, frames, size)
        rates = presets.preset(preset.name, on_meta(preset.network, frames, size))
        assert round(cost.left(costs, {}) / cost.left(costs, rates), 3) == preset.measured
        assert all(cost.prunable or cost.reads_clip for cost in costs if cost.name in rates)

    def test_s3d_as_the_source_builds_it(self) -> None:
        """One 3x7x7 convolution with all frames left, and the second pool halves them."""
        net = on_meta("s3d", 16, 224)
        with torch.device("meta"):
            stem = nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        net.features[0] = nn.Sequential(nn.Sequential(stem))
        net.features[4] = nn.MaxPool3d(3, 2, 1)
        costs = cost.layers(net, (1, 3, 16, 224, 224))
        assert round(cost.left(costs, {}) / 1e9, 2) == 24.53
        assert round(cost.left(costs, {}) / cost.left(costs, presets.preset("s3d-2.09x", net)), 3) == 2.096

    def test_another_network(self) -> None:
        with pytest.raises(UsageError, match=r"another network[^$]*take r2plus1d"):
            presets.preset("c3d-2.53x", on_meta("r2plus1d_18"))
        with pytest.raises(UsageError, match="no published profile fits"):
            presets.preset("r2plus1d-3.20x", on_meta("r3d_18"))

    def test_another_name(self) -> None:
        with pytest.raises(UsageError, match=r"no profile[^$]*c3d-2.53x"):
            presets.preset("c3d_2.53", on_meta("c3d"))


class TestGreedy:
    @given(target=st.floats(1, 8), cap=st.sampled_from([0.7, 0.9]), step=st.sampled_from([0.05, 0.1]))
    def test_reaches_the_target_and_goes_no_step_too_far(self, target: float, cap: float, step: float) -> None:
        costs = costs_of("r2plus1d_18", 16, 112)
        total = cost.left(costs, {})
        largest = total / cost.left(costs, {one.name: cap for one in costs if one.prunable})
        if target > largest:
            with pytest.raises(UsageError, match="at most") as refused:
                greedy(costs, target, cap=cap, step=step)
            reachable = float(str(refused.value.expected).split()[2].rstrip("x,"))
            assert abs(reachable - largest) < 1e-3
            target = reachable
        rates = greedy(costs, target, cap=cap, step=step)
        assert total / cost.left(costs, rates) >= target * (1 - 1e-6)
        assert all(one.prunable for one in costs if one.name in rates)
        assert all(0 < rate <= cap + 1e-9 for rate in rates.values())
        last_step = step * max(one.macs for one in costs)
        assert not rates or total / (cost.left(costs, rates) + last_step) < target

    @pytest.mark.parametrize("scheme", ["vanilla", "kgs", "balanced"])
    @pytest.mark.parametrize("target", [1.5, 2.0, 3.0, 6.0])
    def test_what_it_gives_is_met_by_whole_units(self, scheme: Scheme, target: float) -> None:
        """A small layer has few groups, of which one is left; what cannot be met is refused with what can."""
        pattern, costs = Pattern(scheme, (8, 4)), costs_of("motionnet_0.5x", 16, 48, channels=1)
        only, rng = candidates(costs, pattern, target), np.random.default_rng(0)
        try:
            rates = greedy(costs, target, only=only, pattern=pattern)
        except UsageError as refused:
            reachable = float(str(refused.expected).split()[2].rstrip("x,"))
            assert reachable < target
            rates, target = greedy(costs, reachable, only=only, pattern=pattern), reachable
        kept = {
            name: pattern.keep(rng.random(pattern.units(shape)), rate).mean()
            for name, rate, shape in ((one.name, rates.get(one.name, 0.0), one.weight_shape) for one in costs if one.name in only)
        }
        left = sum(one.macs * kept.get(one.name, 1.0) for one in costs)
        assert cost.left(costs, {}) / left >= target * (1 - 1e-6)

    def test_dense(self) -> None:
        assert greedy(costs_of("c3d", 16, 112), 1) == {}

    @pytest.mark.parametrize(
        ("settings", "message"),
        [({"target": 0.5}, "1 or more"), ({"target": float("nan")}, "1 or more"), ({"target": 2, "cap": 1}, "below 1")],
    )
    def test_bad_input(self, settings: dict[str, float], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            greedy(costs_of("c3d", 16, 112), **settings)

    def test_a_network_without_prunable_layers(self) -> None:
        with pytest.raises(UsageError, match="at most 1x"):
            greedy(costs_of("x3d_s", 13, 160), 1.5)
