"""What proposes the next network, one a file, behind one interface.

A controller depends on its seed and on what it is told alone, so that a search that is run again with the figures it had goes the
same way: that is how one is resumed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol

import numpy as np

from everyframe.errors import UsageError
from everyframe.nas.space import Point, Space

#: name -> module with a class `Controller`
CONTROLLERS = {
    "random": "everyframe.nas.controllers.uniform",
    "evolution": "everyframe.nas.controllers.evolution",
    "bayesian": "everyframe.nas.controllers.bayesian",
    "policy": "everyframe.nas.controllers.policy",
}


class Controller(Protocol):
    """fits: whether a network is fast enough, which costs nothing to ask. evaluations: of the whole search."""

    def __init__(self, space: Space, rng: np.random.Generator, fits: Callable[[Point], bool], evaluations: int) -> None: ...

    def ask(self) -> Point:
        """The next network, settled. It may be too slow, or known already."""

    def tell(self, point: Point, score: float) -> None:
        """What was asked for is this good; more is better."""

    def refuse(self, point: Point, over: float) -> None:
        """What was asked for is too slow, by this share of the target."""


def make(name: str, space: Space, seed: int, fits: Callable[[Point], bool], evaluations: int) -> Controller:
    """Raises UsageError for a name that there is not, and where no network at random is fast enough."""
    if name not in CONTROLLERS:
        raise UsageError("There is no such controller.", expected=", ".join(CONTROLLERS), got=name)
    return importlib.import_module(CONTROLLERS[name]).Controller(space, np.random.default_rng(seed), fits, evaluations)
