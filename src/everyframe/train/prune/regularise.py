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
    """refresh: epochs between looks at the weights."""

    def __init__(self, choice: Choice, refresh: int) -> None:
        self.choice, self.pattern, self.names, self.refresh = choice, choice.pattern, list(choice.rates), refresh
        self.seen = [0.0, 0.0]  # sums of penalty and loss over the epoch

    def begin_epoch(self, net: nn.Module, epoch: int) -> None:
        self.seen = [0.0, 0.0]
        if epoch % self.refresh == 0:
            self.look(net, epoch)

    def penalty(self, net: nn.Module, loss: Tensor) -> Tensor:
        found = self.term(net, float(loss))
        self.seen = [self.seen[0] + float(found.detach()), self.seen[1] + float(loss)]
        return found

    def figures(self, net: nn.Module) -> dict[str, float]:
        share = self.seen[0] / self.seen[1] if self.seen[1] else 0.0
        return {"penalty_of_loss": round(share, 5), "pruning_would_take": round(self.choice.removed(net), 5)}

    @abstractmethod
    def look(self, net: nn.Module, epoch: int) -> None:
        """Refreshes what the penalty depends on beside the live weights."""

    @abstractmethod
    def term(self, net: nn.Module, loss: float) -> Tensor:
        """The penalty with its gradient."""


class Reweighted(Regulariser):
    """share: of the loss that the penalty is at the first step, which sets lambda. A fitted network's loss says little, so the
    loss counts as `least` if it is lower. growth: of lambda at each refresh.
    """

    def __init__(
        self, choice: Choice, refresh: int, share: float, epsilon: float = 1e-2, growth: float = 1.0, least: float = 0.0
    ) -> None:  # fmt: skip
        super().__init__(choice, refresh)
        self.share, self.epsilon, self.growth, self.least = share, epsilon, growth, least
        self.strength: float | None = None  # lambda
        self.factors: dict[str, Tensor] = {}  # r, (P, Q, R)
        self.scales: dict[str, float] = {}  # mean square of a layer's weights

    @torch.no_grad()
    def look(self, net: nn.Module, epoch: int) -> None:
        if epoch and self.strength is not None:
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

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "strength": self.strength, "factors": self.factors, "scales": self.scales}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen, self.strength = list(state["seen"]), state["strength"]
        self.factors, self.scales = dict(state["factors"]), dict(state["scales"])


class Admm(Regulariser):
    """rounds: rho of each, equally long. epochs: of all."""

    def __init__(self, choice: Choice, refresh: int, rounds: Sequence[float], epochs: int) -> None:
        super().__init__(choice, refresh)
        self.rounds, self.epochs = tuple(rounds), epochs
        self.rho = self.rounds[0]
        self.duals: dict[str, Tensor] = {}  # U, as the weight
        self.pruned: dict[str, Tensor] = {}  # True where Z is 0, as the weight

    def begin_epoch(self, net: nn.Module, epoch: int) -> None:
        self.rho = self.rounds[min(epoch * len(self.rounds) // self.epochs, len(self.rounds) - 1)]
        super().begin_epoch(net, epoch)

    @torch.no_grad()
    def look(self, net: nn.Module, epoch: int) -> None:
        for name in self.names:
            weight = weight_of(net, name).float()
            raised = weight + self.duals[name].to(weight.device) if name in self.duals else weight.clone()
            kept = self.pattern.keep(self.pattern.scores(raised.cpu().numpy()), self.choice.rates[name])
            self.pruned[name] = torch.from_numpy(~self.pattern.spread(kept, tuple(weight.shape))).to(weight.device)
            # U + W - Z: what Z keeps of W + U cancels, what it prunes stays
            self.duals[name] = torch.where(self.pruned[name], raised, 0.0) if epoch else torch.zeros_like(weight)

    def term(self, net: nn.Module, loss: float) -> Tensor:
        parts = []
        for name in self.names:
            weight = weight_of(net, name)
            raised = weight + self.duals[name].to(weight.device)
            parts.append(torch.where(self.pruned[name].to(weight.device), raised, 0.0).square().sum())
        return self.rho / 2 * torch.stack(parts).sum()

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "rho": self.rho, "duals": self.duals, "pruned": self.pruned}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen, self.rho = list(state["seen"]), state["rho"]
        self.duals, self.pruned = dict(state["duals"]), dict(state["pruned"])


class Masked(Hook):
    """Retraining: what is pruned stays zero."""

    def __init__(self, mask: Mask) -> None:
        self.apply = Applied(mask)

    def begin_epoch(self, net: nn.Module, epoch: int) -> None:
        self.apply(net)

    def after_step(self, net: nn.Module) -> None:
        self.apply(net)
