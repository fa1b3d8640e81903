"""All networks of a search in one: each is a part of its weights.

A road for each reduction, as wide as the widest network on it; a narrower one is its first channels, a shorter one its first
blocks. Kinds of blocks have weights of their own. A step trains the largest and the smallest network of a road and some in
between (the sandwich rule of Yu and Huang, 2019, arXiv:1903.05134); all but the largest may also learn from the largest's answer
(BigNAS, Yu et al., 2020, arXiv:2003.11142). Where a choice prunes a block its kernel is pruned in that step as well, so that the
weights learn to bear it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe.nas.space import Space, Values
from everyframe.recipes.search import Search
from everyframe.recipes.super_resolution import ModelSection
from everyframe.tasks.super_resolution import choices, metrics
from everyframe.tasks.super_resolution.network import (
    Collapsible,
    Network,
    activate,
    block,
    cut,
    ending,
    interpolated,
    interpolation,
    subpixels,
    whole,
)  # fmt: skip
from everyframe.tasks.super_resolution.objective import Enlarging, Held, enlarged
from everyframe.training.loader import Batch, Loader

#: what random blocks add to the identity at first
QUIET = 0.1
#: share of the networks in between that are trained without what prunes them
DENSE = 0.5


class Road(nn.Module):
    """Networks that work on squares of r x r pixels, with at most so many channels."""

    def __init__(self, space: Space, scale: int, reduce: int, channels: int, wide: int) -> None:
        super().__init__()
        values = {choice.name: choice.values for choice in space.choices}
        self.scale, self.reduce = scale, reduce
        self.first = nn.ModuleDict(
            {str(taps): Collapsible(1, channels, taps * reduce, wide, stride=reduce) for taps in values["first"]}
        )
        self.blocks = nn.ModuleList(
            nn.ModuleDict({kind: quiet(block(kind, channels, wide)) for kind in values[f"block{at}"]})
            for at in range(1, max(values["depth"]) + 1)
        )
        self.slopes = nn.Parameter(torch.full((1 + len(self.blocks), channels), 0.1))
        self.last = ending(channels, scale * reduce, wide)
        self.skip = nn.Parameter(interpolation(scale))

    def forward(self, x: Tensor, values: Values) -> Tensor:
        (height, width), channels = x.shape[-2:], choices.grid(values["grid"])[1]
        slopes = self.slopes if values["activation"] == "prelu" else None
        x = whole(x, self.reduce)
        first = _active(self.first[str(values["first"])](x, channels), slopes, 0)
        made = first
        for at in range(1, values["depth"] + 1):
            layer = self._block(at, values)
            made = _active(layer(made, channels, choices.pruning(values, at)), slopes, at)
        made = self.last(made + first) + interpolated(x, self.skip, self.reduce)
        return cut(subpixels(made, self.scale * self.reduce), height * self.scale, width * self.scale)

    def _block(self, at: int, values: Values) -> nn.Module:
        return cast(nn.ModuleDict, self.blocks[at - 1])[values[f"block{at}"]]

    def take(self, net: Network, values: Values) -> None:
        """The weights of a network of this road, into it."""
        places = range(1, values["depth"] + 1)
        parts = [
            (net.first, self.first[str(values["first"])]), (net.last, self.last),
            *((net.blocks[at - 1], self._block(at, values)) for at in places),
        ]  # fmt: skip
        with torch.no_grad():
            for own, given in parts:
                for name, value in own.named_parameters():
                    value.copy_(given.get_parameter(name)[tuple(slice(size) for size in value.shape)])
            net.skip.copy_(self.skip)
            if net.settings.activation == "prelu":
                net.slopes.copy_(self.slopes[: net.slopes.shape[0], : net.slopes.shape[1]])


def quiet(layer: Collapsible) -> Collapsible:
    """Nearly the identity: random blocks that grow what they are given make the deepest networks so loud at first that all
    learn to shut the features off, which they never recover from.
    """
    with torch.no_grad():
        layer.narrow.mul_(QUIET)
    return layer


def _active(x: Tensor, slopes: Tensor | None, place: int) -> Tensor:
    return F.relu(x) if slopes is None else activate(x, slopes[place, : x.shape[1]])


class Supernet(nn.Module):
    """(N, 1, H, W) and the values of a network -> (N, 1, sH, sW)."""

    def __init__(self, space: Space, model: ModelSection) -> None:
        super().__init__()
        self.space, self.model = space, model
        self.roads = nn.ModuleDict({
            str(reduce): Road(space, model.scale, reduce, channels, model.wide)
            for reduce, channels in sorted(choices.roads(space).items())
        })  # fmt: skip

    def forward(self, x: Tensor, values: Values) -> Tensor:
        return self.roads[str(choices.grid(values["grid"])[0])](x, values)

    def network(self, values: Values) -> Network:
        """One of its networks, with its weights."""
        net = Network(choices.settings(self.model, values))
        self.roads[str(net.settings.reduce)].take(net, values)  # type: ignore[operator]
        return net


class Sandwich(Enlarging):
    """Batches, and pictures that are held out, of the ordinary training; the networks of each step are drawn with torch's own
    numbers, which the loop seeds. search: says how many, and what they learn from the largest.
    """

    def __init__(
        self, fabric: Fabric, training: Loader, held: Sequence[Held], scale: int, moving: bool, *, space: Space, search: Search
    ) -> None:
        super().__init__(fabric, training, held, scale, moving)
        self.sampled, self.distill = search.sampled, search.distill
        grids = next(choice.values for choice in space.choices if choice.name == "grid")
        self.roads = [
            space.changed({"grid": [value for value in grids if choices.grid(value)[0] == reduce]})
            for reduce in sorted(choices.roads(space))
        ]

    def loss(self, net: nn.Module, batch: Batch, epochs_left: int) -> Tensor:
        small, large = self.put(batch)
        seed = int(torch.randint(2**31, ()).item())
        first, *others = self.drawn(np.random.default_rng(seed))
        answer = net(small, first)
        losses = [F.l1_loss(answer, large)]
        teacher = answer.detach()
        for values in others:
            made = net(small, values)
            losses.append((1 - self.distill) * F.l1_loss(made, large) + self.distill * F.l1_loss(made, teacher))
        return torch.stack(losses).mean()

    def drawn(self, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        """The largest network of a road that is drawn, the smallest, and some in between."""
        on_road = self.roads[int(rng.integers(len(self.roads)))]
        yield dense(on_road, on_road.largest())
        yield dense(on_road, on_road.smallest())
        for _ in range(self.sampled):
            point = on_road.random(rng)
            rates = {f"rate{at}": float(rng.choice(choices.RATES)) for at in range(1, choices.DEEPEST + 1)}
            yield dense(on_road, point) if rng.random() < DENSE else {**on_road.values(point), **rates}

    def validate(self, net: nn.Module) -> dict[str, float]:
        """PSNR of the largest and smallest network of each road, and their mean."""
        each: dict[str, dict[str, float]] = {}
        for on_road in self.roads:
            for which, point in (("smallest", on_road.smallest()), ("largest", on_road.largest())):
                values = dense(on_road, point)
                each[f"{choices.grid(values['grid'])[0]}_{which}"] = super().validate(_Chosen(net, values))
        means = {name: float(np.mean([one[name] for one in each.values()])) for name in ("validation_loss", "psnr", "ssim")}
        return {**means, **{f"psnr_{name}": one["psnr"] for name, one in each.items()}}


class _Chosen(nn.Module):
    """A network of the supernet, as a network."""

    def __init__(self, net: nn.Module, values: Values) -> None:
        super().__init__()
        self.net, self.values = net, values

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, self.values)


def dense(space: Space, point: tuple[int, ...]) -> dict[str, Any]:
    """The values of a point, without what prunes, where that can be left out."""
    values = space.values(point)
    for choice in space.choices:
        if choice.name.startswith("scheme") and "none" in choice.values:
            values[choice.name] = "none"
    return values


def judge(net: Supernet, values: Values, held: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The mean PSNR of a network on pictures, small (1, h, w) and large (1, H, W) uint8."""
    one, found = net.network(values).collapsed(), []
    for small, large in held:
        made = metrics.luma_of_gray(enlarged(one, small, False))
        found.append(metrics.psnr(made, metrics.luma_of_gray(large[-1]), net.model.scale))
    return float(np.mean(found))
