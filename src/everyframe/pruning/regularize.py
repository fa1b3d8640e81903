"""What drives units of weights to zero during a training: reweighted group lasso, ADMM; and what keeps them there.

Reweighted (RT3D, arXiv:2007.09835, section 4; the penalty of Candès, Wakin, Boyd: arXiv:0711.1612): minimizes the loss plus
lambda * sum over units of r * ||w||, r = 1 / (||w||^2 + epsilon): small units are pushed harder and harder, large ones let go.
Each step of the optimizer is followed by the proximal step of the penalty (group soft-thresholding), with the r of the moment:

    n <- max(0, n - push / (n^2 + epsilon))

n: the norm of a unit per square root of its size and in multiples of the layer's. So units reach zero exactly, whatever the
optimizer does with gradients. A unit that nothing holds is there after (n^3 / 3 + epsilon n) / push steps, which gives the push
(lambda times the learning rate) that meets the rates in time; it is refreshed, because the loss does hold units. Units that stay
are pushed no further than the strongest that goes, so none of them ends at zero.

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

from everyframe.pruning.mask import LayerMask, Mask
from everyframe.pruning.pattern import Pattern
from everyframe.pruning.units import Applied, arrays, sizes, spread, squares, weight_of
from everyframe.training.hook import Hook

#: the share of the training by which what has to go is at zero; the rest heals
SPENT = 0.75


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
                layers[name] = LayerMask(weight.shape, kept)
        return Mask(self.pattern, layers)

    def removed(self, net: nn.Module) -> float:
        """The share of the squared norm that pruning would take now."""
        mask, weights = self.mask(net), arrays(net, self.rates)
        total = sum(float((weight**2).sum()) for weight in weights.values())
        left = sum(float((weights[name] ** 2)[mask.weights(name)].sum()) for name in mask.layers)
        dense = sum(float((weight**2).sum()) for name, weight in weights.items() if name not in mask.layers)
        return 1 - (left + dense) / total if total else 0.0


class Regularizer(Hook):
    """refreshes: looks at the weights in the whole training, the first before it."""

    kept: tuple[str, ...] = ()  # what a subclass remembers

    def __init__(self, choice: Choice, refreshes: int) -> None:
        self.choice, self.pattern, self.names, self.refreshes = choice, choice.pattern, list(choice.rates), refreshes
        self.looks = 0

    def begin_epoch(self, net: nn.Module, done: float, step: float) -> None:
        if done * self.refreshes >= self.looks - 1e-9:
            self.look(net, done, step)
            self.looks += 1

    def figures(self, net: nn.Module) -> dict[str, float]:
        return {"pruning_would_take": round(self.choice.removed(net), 5)}

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("looks", *self.kept)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    @abstractmethod
    def look(self, net: nn.Module, done: float, step: float) -> None:
        """Refreshes what is remembered of the weights. done, step: as in `begin_epoch`."""


class Reweighted(Regularizer):
    """reach: the norm, in multiples of the layer's, up to which units go if the loss does not hold them, where no rate says how
    many have to.
    """

    kept = ("scales", "pushes")

    def __init__(self, choice: Choice, refreshes: int, reach: float = 0.5, epsilon: float = 1e-2) -> None:
        super().__init__(choice, refreshes)
        self.reach, self.epsilon = reach, epsilon
        self.scales: dict[str, float] = {}  # mean square of a layer's weights
        self.pushes: dict[str, Tensor] = {}  # lambda times the learning rate, where units compete with each other

    @torch.no_grad()
    def look(self, net: nn.Module, done: float, step: float) -> None:
        within = SPENT if self.choice.threshold is not None else max(SPENT - done, 1 / self.refreshes)
        for name in self.names:
            weight = weight_of(net, name)
            self.scales[name] = float(weight.float().square().mean()) or 1.0
            heaviest = self._heaviest(name, self._norms(name, weight))
            self.pushes[name] = (heaviest**3 / 3 + self.epsilon * heaviest) * step / within

    @torch.no_grad()
    def after_step(self, net: nn.Module) -> None:
        for name, push in self.pushes.items():
            weight = weight_of(net, name)
            norms = self._norms(name, weight)
            left = (norms - push.to(weight.device) / (norms.square() + self.epsilon)).clamp_min(0)
            if self.choice.threshold is None:  # what stays is pushed no further than what goes, and let go when that is at zero
                goes = self._heaviest(name, norms)
                left = torch.where(norms > goes, torch.where(goes > 0, torch.maximum(left, goes), norms), left)
            weight.mul_(spread(self.pattern, left / norms.clamp_min(1e-12), weight))

    def _heaviest(self, name: str, norms: Tensor) -> Tensor:
        """The largest norm among the units that have to go, of those that compete with each other."""
        if self.choice.threshold is not None:
            return norms.new_full((1, 1, 1), self.reach)
        p, q, r = norms.shape if self.pattern.scheme == "balanced" else (1, 1, norms.numel())
        count = min(round(self.choice.rates[name] * r), r - 1)
        return norms.reshape(p, q, r).kthvalue(count, keepdim=True).values if count else norms.new_zeros(1, 1, 1)

    def _norms(self, name: str, weight: Tensor) -> Tensor:
        """(P, Q, R): root mean square of each unit in multiples of the layer's."""
        return (squares(self.pattern, weight.float()) / (sizes(self.pattern, weight) * self.scales[name])).sqrt()


class Admm(Regularizer):
    """rounds: rho of each, equally long."""

    kept = ("rho", "duals", "pruned", "seen")
    penalizes = True

    def __init__(self, choice: Choice, refreshes: int, rounds: Sequence[float]) -> None:
        super().__init__(choice, refreshes)
        self.rounds = tuple(rounds)
        self.rho = self.rounds[0]
        self.duals: dict[str, Tensor] = {}  # U, as the weight
        self.pruned: dict[str, Tensor] = {}  # True where Z is 0, as the weight
        self.seen = [0.0, 0.0]  # sums of penalty and loss over the epoch

    def begin_epoch(self, net: nn.Module, done: float, step: float) -> None:
        self.seen = [0.0, 0.0]
        self.rho = self.rounds[min(int(done * len(self.rounds) + 1e-9), len(self.rounds) - 1)]
        super().begin_epoch(net, done, step)

    @torch.no_grad()
    def look(self, net: nn.Module, done: float, step: float) -> None:
        for name in self.names:
            weight = weight_of(net, name).float()
            raised = weight + self.duals[name].to(weight.device) if name in self.duals else weight.clone()
            kept = self.pattern.keep(self.pattern.scores(raised.cpu().numpy()), self.choice.rates[name])
            self.pruned[name] = torch.from_numpy(~self.pattern.spread(kept, tuple(weight.shape))).to(weight.device)
            # U + W - Z: what Z keeps of W + U cancels, what it prunes stays
            self.duals[name] = torch.where(self.pruned[name], raised, 0.0) if self.looks else torch.zeros_like(weight)

    def penalty(self, net: nn.Module, loss: Tensor) -> Tensor:
        parts = []
        for name in self.names:
            weight = weight_of(net, name)
            raised = weight + self.duals[name].to(weight.device)
            parts.append(torch.where(self.pruned[name].to(weight.device), raised, 0.0).square().sum())
        found = self.rho / 2 * torch.stack(parts).sum()
        self.seen = [self.seen[0] + float(found.detach()), self.seen[1] + float(loss)]
        return found

    def figures(self, net: nn.Module) -> dict[str, float]:
        share = self.seen[0] / self.seen[1] if self.seen[1] else 0.0
        return {"penalty_of_loss": round(share, 5), **super().figures(net)}


class Masked(Hook):
    """Retraining: what is pruned stays zero."""

    def __init__(self, mask: Mask) -> None:
        self.apply = Applied(mask)

    def begin_epoch(self, net: nn.Module, done: float, step: float) -> None:
        self.apply(net)

    def after_step(self, net: nn.Module) -> None:
        self.apply(net)
