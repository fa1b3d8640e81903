"""What drives units of weights to zero during a training: reweighted group lasso, ADMM; and what keeps them there.

Reweighted (RT3D, arXiv:2007.09835, section 4; the penalty of Candès, Wakin, Boyd: arXiv:0711.1612): the loss gets
lambda * sum over units of r * ||w||, with the norm of the live weights, and r = 1 / (||w||^2 + epsilon) refreshed now and then:
small units are pushed harder and harder, large ones are released. Norms are taken per square root of a unit's size and in
multiples of the layer's, so that one lambda and one epsilon suit all layers.

ADMM (RT3D's published code): the loss gets rho / 2 * ||W + U||^2 over the units that the projection Z of W + U prunes;
Z and U += W - Z are refreshed now and then, and rho rises from round to round.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from everyframe.train.fit.hook import Hook
from everyframe.train.prune.mask import Layer, Mask
from everyframe.train.prune.pattern import Pattern
from everyframe.train.prune.units import Applied, arrays, sizes, squares, weight_of

#: norms are smoothed below this share of the layer's: a gradient of full size at zero would throw units over it
SMOOTH = 0.02


class Choice:
    """Which units are pruned: the weakest of each layer by its rate, or all whose norm is below a share of their layer's.

    rates: by module path; with a threshold only its keys count.
    """

    def __init__(self, pattern: Pattern, rates: Mapping[str, float], threshold: float | None = None) -> None:
        self.pattern, self.rates, self.threshold = pattern, rates, threshold

    def mask(self, net: nn.Module) -> Mask:
        """What is kept of the weights as they are."""
        weights = arrays(net, self.rates)
        if self.threshold is None:
            return Mask.choose(self.pattern, weights, self.rates)
        layers = {}
        for name, weight in weights.items():
            scores = self.pattern.scores(weight)
            norms = scores / math.sqrt(float((weight**2).mean()) or 1.0)
            kept = norms >= min(self.threshold, norms.max())
            if not kept.all():
                layers[name] = Layer(weight.shape, kept)
        return Mask(self.pattern, layers)

    def removed(self, net: nn.Module) -> float:
        """The share of the squared norm that pruning would take now."""
        mask, weights = self.mask(net), arrays(net, self.rates)
        total = sum(float((weight**2).sum()) for weight in weights.values())
        left = sum(float((weights[name] ** 2)[mask.weights(name)].sum()) for name in mask.layers)
        dense = sum(float((weight**2).sum()) for name, weight in weights.items() if name not in mask.layers)
        return 1 - (left + dense) / total if total else 0.0


class Regulariser(Hook):
    """refreshes: looks at the weights in the whole training, the first before it."""

    kept: tuple[str, ...] = ()  # what a subclass remembers

    def __init__(self, choice: Choice, refreshes: int) -> None:
        self.choice, self.pattern, self.names, self.refreshes = choice, choice.pattern, list(choice.rates), refreshes
        self.looks = 0
        self.seen = [0.0, 0.0]  # sums of penalty and loss over the epoch

    def begin_epoch(self, net: nn.Module, done: float) -> None:
        self.seen = [0.0, 0.0]
        if done * self.refreshes >= self.looks - 1e-9:
            self.look(net)
            self.looks += 1

    def penalty(self, net: nn.Module, loss: Tensor) -> Tensor:
        found = self.term(net, float(loss))
        self.seen = [self.seen[0] + float(found.detach()), self.seen[1] + float(loss)]
        return found

    def figures(self, net: nn.Module) -> dict[str, float]:
        share = self.seen[0] / self.seen[1] if self.seen[1] else 0.0
        return {"penalty_of_loss": round(share, 5), "pruning_would_take": round(self.choice.removed(net), 5)}

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("looks", "seen", *self.kept)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    @abstractmethod
    def look(self, net: nn.Module) -> None:
        """Refreshes what the penalty depends on beside the live weights."""

    @abstractmethod
    def term(self, net: nn.Module, loss: float) -> Tensor:
        """The penalty with its gradient."""


class Reweighted(Regulariser):
    """share: of the loss that the penalty is at the first step, which sets lambda. A fitted network's loss says little, so the
    loss counts as `least` if it is lower. growth: of lambda at each refresh.
    """

    kept = ("strength", "factors", "scales")

    def __init__(
        self, choice: Choice, refreshes: int, share: float, epsilon: float = 1e-2, growth: float = 1.0, least: float = 0.0
    ) -> None:  # fmt: skip
        super().__init__(choice, refreshes)
        self.share, self.epsilon, self.growth, self.least = share, epsilon, growth, least
        self.strength: float | None = None  # lambda
        self.factors: dict[str, Tensor] = {}  # r, (P, Q, R)
        self.scales: dict[str, float] = {}  # mean square of a layer's weights

    @torch.no_grad()
    def look(self, net: nn.Module) -> None:
        if self.strength is not None:
            self.strength *= self.growth
        for name in self.names:
            weight = weight_of(net, name)
            self.scales[name] = float(weight.float().square().mean()) or 1.0
            self.factors[name] = 1 / (self._squares(name, weight) + self.epsilon)

    def term(self, net: nn.Module, loss: float) -> Tensor:
        total = torch.stack([self._layer(name, weight_of(net, name)) for name in self.names]).sum()
        if self.strength is None:
            self.strength = self.share * max(loss, self.least) / float(total.detach())
        return self.strength * total

    def _layer(self, name: str, weight: Tensor) -> Tensor:
        norms = (self._squares(name, weight) + SMOOTH**2).sqrt()
        return (self.factors[name].to(weight.device) * norms).sum()

    def _squares(self, name: str, weight: Tensor) -> Tensor:
        """(P, Q, R): mean square of each unit in multiples of the layer's."""
        return squares(self.pattern, weight) / (sizes(self.pattern, weight) * self.scales[name])


class Admm(Regulariser):
    """rounds: rho of each, equally long."""

    kept = ("rho", "duals", "pruned")

    def __init__(self, choice: Choice, refreshes: int, rounds: Sequence[float]) -> None:
        super().__init__(choice, refreshes)
        self.rounds = tuple(rounds)
        self.rho = self.rounds[0]
        self.duals: dict[str, Tensor] = {}  # U, as the weight
        self.pruned: dict[str, Tensor] = {}  # True where Z is 0, as the weight

    def begin_epoch(self, net: nn.Module, done: float) -> None:
        self.rho = self.rounds[min(int(done * len(self.rounds) + 1e-9), len(self.rounds) - 1)]
        super().begin_epoch(net, done)

    @torch.no_grad()
    def look(self, net: nn.Module) -> None:
        for name in self.names:
            weight = weight_of(net, name).float()
            raised = weight + self.duals[name].to(weight.device) if name in self.duals else weight.clone()
            kept = self.pattern.keep(self.pattern.scores(raised.cpu().numpy()), self.choice.rates[name])
            self.pruned[name] = torch.from_numpy(~self.pattern.spread(kept, tuple(weight.shape))).to(weight.device)
            # U + W - Z: what Z keeps of W + U cancels, what it prunes stays
            self.duals[name] = torch.where(self.pruned[name], raised, 0.0) if self.looks else torch.zeros_like(weight)

    def term(self, net: nn.Module, loss: float) -> Tensor:
        parts = []
        for name in self.names:
            weight = weight_of(net, name)
            raised = weight + self.duals[name].to(weight.device)
            parts.append(torch.where(self.pruned[name].to(weight.device), raised, 0.0).square().sum())
        return self.rho / 2 * torch.stack(parts).sum()


class Masked(Hook):
    """Retraining: what is pruned stays zero."""

    def __init__(self, mask: Mask) -> None:
        self.apply = Applied(mask)

    def begin_epoch(self, net: nn.Module, done: float) -> None:
        self.apply(net)

    def after_step(self, net: nn.Module) -> None:
        self.apply(net)
