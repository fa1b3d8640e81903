"""All networks of a search in one set of weights.

A network is built as a training would build it, and computes with weights that are lent to it: of the tensor of that name the
first so many entries of each dimension, so that a narrower one has the first channels, a shorter one the first blocks, and a
smaller kernel the middle of a larger one (Cai et al., 2020, arXiv:1908.09791). What must not share says so by its name. Norms
have no statistics here: those of a network are taken anew before it is judged (Yu et al., 2020, arXiv:2003.11142).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from everyframe.errors import WeightsError
from everyframe.nas.space import Space, Values


class Family(Protocol):
    """Networks of a task."""

    #: those that may be trained in one step: parts of the space, by name
    roads: Mapping[str, Space]

    def build(self, values: Values) -> nn.Module:
        """With random weights. Modules that learn the same have the same name in all networks."""

    def key(self, name: str, values: Values) -> str:
        """Parameters of one name share weights where this is the same."""

    def joined(self, name: str) -> tuple[int, int]:
        """(dimension, parts): a dimension in which so many equal parts lie one behind another, each of which is cut; 1 part where
        there is none.
        """

    def begin(self, name: str, value: Tensor) -> Tensor:
        """How a parameter begins, from what a network alone begins with."""


class Supernet(nn.Module):
    """What a network is given and its values -> what that network answers."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family
        shapes: dict[str, tuple[int, ...]] = {}
        given: dict[str, nn.Parameter] = {}
        for values in _covering(family):
            for name, value in family.build(values).named_parameters():
                key = family.key(name, values)
                before = shapes.get(key, value.shape)
                shapes[key] = tuple(max(pair) for pair in zip(before, value.shape, strict=True))
                if key not in given or given[key].numel() < value.numel():
                    given[key] = nn.Parameter(family.begin(name, value.detach()).clone(), value.requires_grad)
        if missing := [key for key, shape in shapes.items() if tuple(given[key].shape) != shape]:
            raise WeightsError("No network of this search holds all the others.", where=missing[0], expected=shapes[missing[0]])
        self.weights = nn.ParameterDict({_stored(key): value for key, value in given.items()})

    def forward(self, x: Any, values: Values) -> Any:
        net = self._built(values).train(self.training)
        return functional_call(net, {name: self._lent(name, value, values) for name, value in net.named_parameters()}, (x,))

    def network(self, values: Values) -> nn.Module:
        """One of its networks alone, with a copy of its weights."""
        net = self._built(values).eval()
        with torch.no_grad():
            for name, value in net.named_parameters():
                value.copy_(self._lent(name, value, values))
        return net

    def begin_with(self, given: Mapping[str, Tensor], values: Values) -> int:
        """Takes what the weights of a network of these values have in common with its own; of how many tensors."""
        taken = 0
        for name, value in given.items():
            whole, joined = self.weights.get(_stored(self.family.key(name, values))), self.family.joined(name)
            if whole is None or whole.ndim != value.ndim:
                continue
            mine, its = common(whole.data, value, joined)
            mine.copy_(its)
            taken += bool(mine.numel())
        return taken

    def _built(self, values: Values) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            return self.family.build(values)

    def _lent(self, name: str, wanted: Tensor, values: Values) -> Tensor:
        weight = self.weights[_stored(self.family.key(name, values))]
        return part(weight, tuple(wanted.shape), self.family.joined(name))


class Chosen(nn.Module):
    """A network of the supernet, as a network. said: its last answer."""

    def __init__(self, net: nn.Module, values: Values) -> None:
        super().__init__()
        self.net, self.values = net, values
        self.said: tuple[Tensor, ...] = ()

    def forward(self, x: Any) -> Any:
        answer = self.net(x, self.values)
        self.said = answer if isinstance(answer, tuple) else (answer,)
        return answer


def part(whole: Tensor, shape: tuple[int, ...], joined: tuple[int, int] = (0, 1)) -> Tensor:
    """A view of the first so many entries of the first two dimensions, and of those in the middle of the others, which are taps.
    joined: see `Family`; that gives a copy.
    """
    for at, (have, want) in enumerate(zip(whole.shape, shape, strict=True)):
        if have == want:
            continue
        if joined[1] > 1 and at == joined[0]:
            whole = whole.unflatten(at, (joined[1], have // joined[1])).narrow(at + 1, 0, want // joined[1]).flatten(at, at + 1)
        else:
            whole = whole.narrow(at, (have - want) // 2 if at > 1 else 0, want)
    return whole


def common(one: Tensor, other: Tensor, joined: tuple[int, int] = (0, 1)) -> tuple[Tensor, Tensor]:
    """Views of what two tensors share, by the rule of `part`: the first entries, of each joined part its first, the middle
    taps.
    """
    taps = 2
    if joined[1] > 1:
        one, other = (each.unflatten(joined[0], (joined[1], -1)) for each in (one, other))
        taps += 1
    for at, (have, want) in enumerate(zip(one.shape, other.shape, strict=True)):
        least = min(have, want)
        one = one.narrow(at, (have - least) // 2 if at >= taps else 0, least)
        other = other.narrow(at, (want - least) // 2 if at >= taps else 0, least)
    return one, other


def dense(space: Space, point: tuple[int, ...]) -> dict[str, Any]:
    """The values of a point, without what prunes, where that can be left out."""
    values = space.values(point)
    for choice in space.choices:
        if choice.name.startswith("scheme") and "none" in choice.values:
            values[choice.name] = "none"
    return values


def _covering(family: Family) -> Iterator[dict[str, Any]]:
    """The largest network of each road, and the same with each other value in turn."""
    for road in family.roads.values():
        largest = dense(road, road.largest())
        yield largest
        for choice in road.choices:
            if not choice.name.startswith("scheme"):
                yield from (road.settle({**largest, choice.name: value}) for value in choice.values[:-1])


def _stored(key: str) -> str:
    """As modules may call a tensor."""
    return key.replace(".", "/")
