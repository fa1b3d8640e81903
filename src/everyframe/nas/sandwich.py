"""How a supernet is trained: each step trains the largest network, the smallest and some in between (the sandwich rule of Yu and
Huang, 2019, arXiv:1903.05134); all but the largest may also learn from the largest's answer (BigNAS, Yu et al., 2020,
arXiv:2003.11142). Where a choice prunes a layer its kernel is pruned in that step as well, so that the weights learn to bear it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from everyframe.nas.space import Values
from everyframe.nas.supernet import Chosen, Family, Supernet, dense
from everyframe.recipes.search import Search
from everyframe.training import statistics
from everyframe.training.loader import Batch
from everyframe.training.objective import Objective, Row

#: share of the networks in between that are trained without what prunes them
DENSE = 0.5
#: batches that the statistics of a network's norms are taken from before it is judged
STATISTICS = 8


class Sandwich:
    """An objective for a supernet, out of that of its networks. Which are trained in a step is drawn with torch's own numbers,
    which the loop seeds. search: says how many, and what they learn from the largest. rates: of pruning, that may be chosen.
    """

    def __init__(self, inner: Objective, family: Family, search: Search, rates: Mapping[str, Sequence[float]]) -> None:
        self.inner, self.family, self.search, self.rates = inner, family, search, rates
        self.steps, self.batches, self.deployed, self.rank = inner.steps, inner.batches, inner.deployed, self._rank
        self._seen: list[Batch] = []

    @property
    def unit(self) -> str:
        return self.inner.unit

    def loss(self, net: nn.Module, batch: Batch, epochs_left: int) -> Tensor:
        seed = int(torch.randint(2**31, ()).item())
        losses: list[Tensor] = []
        teacher: tuple[Tensor, ...] = ()
        for values in self.drawn(np.random.default_rng(seed)):
            chosen = Chosen(net, values)
            loss = self.inner.loss(chosen, batch, epochs_left)
            if not losses:
                teacher = tuple(each.detach() for each in chosen.said)
            elif self.search.distill:
                away = sum((mine - its).abs().mean() for mine, its in zip(chosen.said, teacher, strict=True))
                loss = (1 - self.search.distill) * loss + self.search.distill * away
            losses.append(loss)
        return torch.stack(losses).mean()

    def drawn(self, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
        """The largest network of a road that is drawn, the smallest, and some in between."""
        roads = [*self.family.roads.values()]
        road = roads[int(rng.integers(len(roads)))]
        yield dense(road, road.largest())
        yield dense(road, road.smallest())
        for _ in range(self.search.sampled):
            point = road.random(rng)
            rates = {name: float(rng.choice(values)) for name, values in self.rates.items()}
            yield dense(road, point) if rng.random() < DENSE else {**road.values(point), **rates}

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Figures of the largest and smallest network of each road, and their means."""
        each: dict[str, dict[str, float]] = {}
        for name, road in self.family.roads.items():
            for which, point in (("smallest", road.smallest()), ("largest", road.largest())):
                each[f"{name}_{which}"] = self.measure(net, dense(road, point))
        figures = [*next(iter(each.values()))]
        means = {figure: float(np.mean([one[figure] for one in each.values()])) for figure in figures}
        more = (figure for figure in figures if figure != "validation_loss")
        return means | {f"{figure}_{name}": one[figure] for figure in more for name, one in each.items()}

    def measure(self, net: nn.Module, values: Values) -> dict[str, float]:
        """Figures of one network, the same whenever it is asked. net: the supernet."""
        if not isinstance(net, Supernet):
            raise TypeError(type(net).__name__)
        one = net.network(values)
        if statistics.norms(one):
            self._seen = self._seen or [*islice(self.batches(0, 0, 0, 1), STATISTICS)]
            with statistics.anew(one):
                for batch in self._seen:
                    self.inner.loss(one, batch, 0)
        return self.inner.validate(one)

    def _rank(self, row: Row) -> tuple[float, ...]:
        return self.inner.rank(row)
