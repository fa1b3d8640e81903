"""Evolution in which the oldest die (Real et al., 2019, arXiv:1802.01548): the best of a few of the youngest is changed a little,
or crossed with another.
"""

from __future__ import annotations

from everyframe.nas.controllers import uniform
from everyframe.nas.space import Point

#: of the evaluations: those at random that begin; networks that are alive; those of them that compete to be a parent
FIRST, ALIVE, COMPETING = 0.25, 20, 6
#: probability that a child has two parents, and of each choice to be changed
CROSSED, CHANGED = 0.3, 0.08


class Controller(uniform.Controller):
    """See `controllers.Controller`."""

    def ask(self) -> Point:
        if len(self.told) < max(2, round(FIRST * self.evaluations)):
            return super().ask()
        return self.fitting(self._child, tries=200)

    def _child(self) -> Point:
        parent = self._parent()
        if self.rng.random() < CROSSED:
            return self.space.changed_at_random(self.space.crossed(parent, self._parent(), self.rng), self.rng, CHANGED / 2)
        return self.space.changed_at_random(parent, self.rng, CHANGED)

    def _parent(self) -> Point:
        alive = list(self.told)[-ALIVE:]
        drawn = self.rng.permutation(len(alive))[:COMPETING]
        return max((alive[int(at)] for at in drawn), key=self.told.__getitem__)
