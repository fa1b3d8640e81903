"""Units of the weights of a torch network: live norms, masks on weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe.pruning.mask import Mask
from everyframe.pruning.pattern import Pattern


def weight_of(net: nn.Module, name: str) -> Tensor:
    """The weight of the layer with this module path."""
    return net.get_submodule(name).weight  # type: ignore[return-value]


def arrays(net: nn.Module, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Weights by module path."""
    return {name: weight_of(net, name).detach().float().cpu().numpy() for name in names}


def squares(pattern: Pattern, weight: Tensor) -> Tensor:
    """(P, Q, R): the sum of squares of each unit, with gradient."""
    shape = tuple(weight.shape)
    (m, n, k), (p, q, r) = pattern.block(shape), pattern.units(shape)
    matrix = weight.square().reshape(shape[0], shape[1], -1)  # (M, N, K)
    padded = F.pad(matrix, (0, r * k - matrix.shape[2], 0, q * n - matrix.shape[1], 0, p * m - matrix.shape[0]))
    return padded.reshape(p, m, q, n, r, k).sum((1, 3, 5))


def sizes(pattern: Pattern, weight: Tensor) -> Tensor:
    """(P, Q, R): weights in each unit."""
    return torch.from_numpy(pattern.sizes(tuple(weight.shape))).to(weight.device, torch.float32)


def spread(pattern: Pattern, units: Tensor, weight: Tensor) -> Tensor:
    """One value a unit, (P, Q, R), to one a weight."""
    shape = tuple(weight.shape)
    for axis, (unit, size) in enumerate(zip(pattern.block(shape), weight.flatten(2).shape, strict=True)):
        units = units.repeat_interleave(unit, axis).narrow(axis, 0, size)
    return units.reshape(shape).to(weight.dtype)


class Applied:
    """A mask on the device of a network. pruned: by module path, True where a weight is 0."""

    def __init__(self, mask: Mask) -> None:
        self.pruned: Mapping[str, Tensor] = {name: torch.from_numpy(~mask.weights(name)) for name in mask.layers}

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        for name, pruned in self.pruned.items():
            weight = weight_of(net, name)
            weight.masked_fill_(pruned.to(weight.device), 0.0)
