"""Networks at random, among those that are fast enough."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from everyframe.nas.space import Point, Space

#: draws until one is fast enough
TRIES = 300


class Controller:
    """See `controllers.Controller`."""

    def __init__(self, space: Space, rng: np.random.Generator, fits: Callable[[Point], bool], evaluations: int) -> None:
        self.space, self.rng, self.fits, self.evaluations = space, rng, fits, evaluations
        self.told: dict[Point, float] = {}

    def ask(self) -> Point:
        return self.fitting(lambda: self.space.random(self.rng))

    def fitting(self, draw: Callable[[], Point], tries: int = TRIES) -> Point:
        """One that is fast enough and new; the last one where there is none."""
        point = draw()
        for _ in range(tries):
            if point not in self.told and self.fits(point):
                break
            point = draw()
        return point

    def tell(self, point: Point, score: float) -> None:
        self.told[point] = score

    def refuse(self, point: Point, over: float) -> None: ...
