"""Patterns: the weights of a convolution in units that are kept or pruned together (RT3D: arXiv:2007.09835, section 3).

M output channels, N input channels (of one group), K kernel locations (row-major): a weight is (M, N, *kernel), its units are
(P, Q, R) with P = ceil(M / gM), Q = ceil(N / gN) and R = K, 1 or the kernel's length in time. Groups at the border are
smaller where sizes do not divide.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from everyframe.errors import RecipeError
from everyframe.recipes.pruning import GROUP, SCHEMES, Scheme

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Pattern:
    """scheme: `vanilla` prunes whole groups of gM x gN kernels; `kgs` kernel locations, the same in all kernels of a group;
    `balanced` the same with as many locations left in every group; `plane` all locations of one moment, which transformed kernels
    (Winograd's) leave out as well; `filter` whole filters (`group` has no meaning then).
    """

    scheme: Scheme = "kgs"
    group: tuple[int, int] = GROUP

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES or len(self.group) != 2 or min(self.group) < 1:
            raise RecipeError(
                "There is no such pattern.", expected=f"{', '.join(SCHEMES)}, with a group of two positive sizes",
                got=f"{self.scheme}, group {self.group}",
            )  # fmt: skip

    def __str__(self) -> str:
        return self.scheme if self.scheme == "filter" else f"{self.scheme} {self.group[0]}x{self.group[1]}"

    def block(self, shape: Shape) -> tuple[int, int, int]:
        """(output channels, input channels, locations) of a unit."""
        m, n = self.group
        locations = prod(shape[2:])
        return {
            "vanilla": (m, n, locations), "kgs": (m, n, 1), "balanced": (m, n, 1), "plane": (m, n, prod(shape[2:][-2:])),
            "filter": (1, shape[1], locations),
        }[self.scheme]  # fmt: skip

    def units(self, shape: Shape) -> tuple[int, int, int]:
        """(P, Q, R) of a weight."""
        p, q, r = (ceil(size / unit) for size, unit in zip(_matrix(shape), self.block(shape), strict=True))
        return p, q, r

    def fits(self, shape: Shape) -> bool:
        """Whether a layer has as many channels as a group."""
        return all(unit <= size for size, unit in zip(_matrix(shape), self.block(shape), strict=True))

    def check(self, shape: Shape, where: str) -> None:
        """Raises RecipeError where a group is larger than the layer."""
        if not self.fits(shape):
            raise RecipeError(
                "A kernel group is larger than the layer.", where=f"layer {where}",
                expected=f"at most {shape[0]} output and {shape[1]} input channels", got=f"{self.group[0]} x {self.group[1]}",
                hint="leave the layer out, or take a smaller group",
            )  # fmt: skip

    def sizes(self, shape: Shape) -> np.ndarray:
        """(P, Q, R): weights in each unit; fewer at the border."""
        parts = [
            np.minimum(unit, size - unit * np.arange(ceil(size / unit)))
            for size, unit in zip(_matrix(shape), self.block(shape), strict=True)
        ]
        return parts[0][:, None, None] * parts[1][None, :, None] * parts[2][None, None, :]

    def norms(self, weight: np.ndarray) -> np.ndarray:
        """(P, Q, R): the L2 norm of each unit."""
        m, n, k = self.block(weight.shape)
        p, q, r = self.units(weight.shape)
        squares = np.square(weight.reshape(_matrix(weight.shape)), dtype=np.float64)
        pads = [(0, count * unit - size) for count, unit, size in zip((p, q, r), (m, n, k), squares.shape, strict=True)]
        return np.sqrt(np.pad(squares, pads).reshape(p, m, q, n, r, k).sum((1, 3, 5)))

    def scores(self, weight: np.ndarray) -> np.ndarray:
        """(P, Q, R): norms per square root of size, so that smaller units at the border compare."""
        return self.norms(weight) / np.sqrt(self.sizes(weight.shape))

    def keep(self, scores: np.ndarray, rate: float) -> np.ndarray:
        """(P, Q, R), True for what is kept: all but the share `rate` with the lowest scores, of the layer or, `balanced`, of
        each group. At least one unit is left; of equal ones the later.
        """
        if not 0 <= rate < 1:
            raise RecipeError("This share of units cannot be pruned.", expected="0 or more, below 1", got=rate)
        rows = scores.reshape(-1, scores.shape[-1]) if self.scheme == "balanced" else scores.reshape(1, -1)
        pruned = _pruned(rate, rows.shape[1])
        kept = np.ones(rows.shape, bool)
        np.put_along_axis(kept, np.argsort(rows, axis=1, kind="stable")[:, :pruned], False, axis=1)
        return kept.reshape(scores.shape)

    def share(self, shape: Shape, rate: float) -> float:
        """What `keep` prunes of a layer where `rate` is asked for: whole units, of which one is left."""
        p, q, r = self.units(shape)
        count = r if self.scheme == "balanced" else p * q * r
        return _pruned(rate, count) / count

    def spread(self, units: np.ndarray, shape: Shape) -> np.ndarray:
        """One value a unit, (P, Q, R), to one a weight."""
        for axis, (unit, size) in enumerate(zip(self.block(shape), _matrix(shape), strict=True)):
            units = units.repeat(unit, axis).take(range(size), axis)
        return units.reshape(shape)


def _pruned(rate: float, count: int) -> int:
    """Units of so many."""
    return min(round(rate * count), count - 1)


def _matrix(shape: Shape) -> tuple[int, int, int]:
    """(M, N, K)"""
    return shape[0], shape[1], prod(shape[2:])
