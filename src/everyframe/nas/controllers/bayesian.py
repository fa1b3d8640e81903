"""Bayesian optimization: the network of which a Gaussian process expects the largest improvement, of random ones and of neighbors
of the best (the model of `pruning.bayes`, which searches rates by it as well).
"""

from __future__ import annotations

import numpy as np

from everyframe.nas.controllers import uniform
from everyframe.nas.space import Point
from everyframe.pruning.bayes import expected_improvement

#: of the evaluations, drawn at random before the model is used
FIRST = 0.25
#: candidates of each kind; how many of the best have neighbors; probabilities of a choice to be changed
CANDIDATES, BEST, CHANGED = 200, 5, (0.05, 0.1, 0.2)


class Controller(uniform.Controller):
    """See `controllers.Controller`."""

    def ask(self) -> Point:
        if len(self.told) < max(2, round(FIRST * self.evaluations)):
            return super().ask()
        best = sorted(self.told, key=self.told.__getitem__)[-BEST:]
        near = (
            self.space.changed_at_random(
                best[int(self.rng.integers(len(best)))], self.rng, float(self.rng.choice(CHANGED))
            )
            for _ in range(CANDIDATES)
        )  # fmt: skip
        drawn = [*(self.space.random(self.rng) for _ in range(CANDIDATES)), *near]
        fresh = [point for point in dict.fromkeys(drawn) if point not in self.told and self.fits(point)]
        if not fresh:
            return super().ask()
        known, scores = list(self.told), np.array([*self.told.values()])
        promised = expected_improvement(self.space.features(known), -scores, self.space.features(fresh))
        return fresh[int(np.argmax(promised))]
