"""A recurrent network that says one choice after another, trained by policy gradient: the generator of Zhao et al.
(arXiv:2012.13801), which is that of Zoph and Le (2017, arXiv:1611.01578).

An LSTM is given what was chosen before and says the probabilities of the next choice's values. REINFORCE (Williams, 1992) makes
vectors likelier that are better than the mean of those before, in their standard deviations; a term for entropy keeps it trying.
Networks that are too slow are told as bad as they are slow: that costs no evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from everyframe.nas.space import Point, Space

WIDTH, RATE, ENTROPY = 48, 8e-3, 0.01
#: advantage of a network that is refused: at most, and by how far it is over
REFUSED, WORST = 0.5, 2.0
#: what the mean and the deviation of the scores keep of those before
KEEPS = 0.9


class Controller(nn.Module):
    """See `controllers.Controller`."""

    def __init__(self, space: Space, rng: np.random.Generator, fits: Callable[[Point], bool], evaluations: int) -> None:
        super().__init__()
        self.space = space
        self.random = torch.Generator().manual_seed(int(rng.integers(2**31)))
        sizes = [len(choice.values) for choice in space.choices]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            self.begin = nn.Parameter(torch.zeros(1, WIDTH))
            self.cell = nn.LSTMCell(WIDTH, WIDTH)
            self.chosen = nn.ModuleList(nn.Embedding(size, WIDTH) for size in sizes)
            self.said = nn.ModuleList(nn.Linear(WIDTH, size) for size in sizes)
        for layer in self.said:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.optimizer = torch.optim.Adam(self.parameters(), RATE)
        self.scores: list[float] = []
        self.asked: tuple[int, ...] = ()

    def ask(self) -> Point:
        with torch.no_grad():
            self.asked, _, _ = self._say(None)
        return self.space.settled(self.asked)

    def tell(self, point: Point, score: float) -> None:
        """The baseline is the mean of the scores before this one."""
        before = np.array(self.scores or [score])
        weights = KEEPS ** np.arange(len(before))[::-1]
        mean = float(np.average(before, weights=weights))
        deviation = float(np.std(before)) or abs(score - mean) or 1.0
        self.scores.append(score)
        self._learn(float(np.clip((score - mean) / deviation, -WORST, WORST)))

    def refuse(self, point: Point, over: float) -> None:
        self._learn(-min(WORST, REFUSED + over))

    def _learn(self, advantage: float) -> None:
        _, likely, entropy = self._say(self.asked)
        loss = -advantage * likely - ENTROPY * entropy
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), 5.0)
        self.optimizer.step()

    def _say(self, given: tuple[int, ...] | None) -> tuple[tuple[int, ...], Tensor, Tensor]:
        """A vector that is drawn, or the one given; the logarithm of its probability, and the sum of the entropies."""
        hidden = torch.zeros(1, WIDTH), torch.zeros(1, WIDTH)
        x, found = self.begin, []
        likely, entropy = torch.zeros(()), torch.zeros(())
        for at, (said, chosen) in enumerate(zip(self.said, self.chosen, strict=True)):
            hidden = self.cell(x, hidden)
            logs = torch.log_softmax(said(hidden[0])[0], 0)
            value = given[at] if given is not None else int(torch.multinomial(logs.exp(), 1, generator=self.random))
            likely, entropy = likely + logs[value], entropy - (logs.exp() * logs).sum()
            found.append(value)
            x = chosen(torch.tensor([value]))
        return tuple(found), likely, entropy
