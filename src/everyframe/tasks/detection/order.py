"""The channels of a trained network, the loudest first: its answers stay as they are, and narrower networks, which a search makes
of the first channels of each layer, begin with those that say most (as once-for-all networks do: Cai et al., 2020,
arXiv:1908.09791).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from everyframe.tasks.detection.network import Network, Residual


@dataclass
class Channels:
    """Those that have one order. made, taken: tensors, each with the dimension that they lie in; of what is taken also where the
    first of them is. loud: how loud each is when it is made, once for each place.
    """

    made: list[tuple[Tensor, int]] = field(default_factory=list)
    taken: list[tuple[Tensor, int, int]] = field(default_factory=list)
    loud: list[Tensor] = field(default_factory=list)

    def make(self, conv: Any, norm: Any = None) -> Channels:
        at = 1 if isinstance(conv, nn.ConvTranspose2d) else 0
        rows = [conv.bias, *([] if norm is None else (norm.weight, norm.bias, norm.running_mean, norm.running_var))]
        self.made += [(conv.weight, at), *((row, 0) for row in rows if row is not None)]
        self.loud.append(_size(conv.weight, at) if norm is None else norm.weight.abs())
        return self

    def take(self, conv: Any, first: int = 0) -> Channels:
        self.taken.append((conv.weight, 0 if isinstance(conv, nn.ConvTranspose2d) else 1, first))
        return self

    def sort(self) -> None:
        """How loud a channel is when it is made, times what is made of it."""
        count = len(self.loud[0])
        said = torch.stack([_size(weight.narrow(at, first, count), at) for weight, at, first in self.taken]).sum(0)
        order = (torch.stack(self.loud).sum(0) * said).argsort(descending=True, stable=True)
        for whole, at, first in [*((each, at, 0) for each, at in self.made), *self.taken]:
            part = whole.narrow(at, first, count)
            part.copy_(part.index_select(at, order))


@torch.no_grad()
def loudest_first(net: Network) -> None:
    """In place."""
    for channels in groups(net):
        channels.sort()


def groups(net: Network) -> Iterator[Channels]:
    """All channels of a network but those of its input and answers. A group is to be sorted before the next is asked for."""
    stages: list[Any] = list(net.stages)
    ups = [_conv_and_norm(up) for up in net.ups]
    yield Channels().make(net.points).take(stages[0][0][0])
    for number, (first, *blocks) in enumerate(stages):
        now = Channels().make(*first[:2])
        for block in blocks:
            if isinstance(block, Residual):  # what it makes is added to what it takes
                inner: Any = block.inner
                now.take(inner[0]).make(*inner[:2])
                continue
            alone, one = block if isinstance(block[0], nn.Sequential) else (None, block)
            if alone is not None:  # each channel by itself
                now.make(*alone[:2])
            yield now.take(one[0])
            now = Channels().make(*one[:2])
        for behind in (ups[number][0], *(stage[0][0] for stage in stages[number + 1 : number + 2])):
            now.take(behind)
        yield now
    for number, (conv, norm) in enumerate(ups):
        yield Channels().make(conv, norm).take(net.head[0], number * net.settings.neck)
    yield Channels().make(net.head[0], net.head[1]).take(net.heat).take(net.boxes)


def _conv_and_norm(up: Any) -> tuple[Any, Any]:
    """Of a way up: `nearest` has its layer inside."""
    return _conv_and_norm(up[0]) if isinstance(up[0], nn.Sequential) else (up[0], up[1])


def _size(weight: Tensor, at: int) -> Tensor:
    return weight.abs().transpose(0, at).flatten(1).sum(1)
