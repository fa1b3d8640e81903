"""What a recipe means for its network: which layers, and how much of each. What does not fit is found here, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from everyframe.errors import RecipeError
from everyframe.pruning import cost, presets
from everyframe.pruning.cost import LayerCost
from everyframe.pruning.greedy import CAP, greedy
from everyframe.pruning.mask import Mask
from everyframe.pruning.pattern import Pattern
from everyframe.pruning.regularize import Choice
from everyframe.recipes.pruning import RATE, Prune
from everyframe.training.network import Trained


@dataclass(frozen=True)
class PruningPlan:
    """costs: of all layers, for one clip. mask: where it is given already."""

    costs: Sequence[LayerCost]
    choice: Choice
    mask: Mask | None = None

    def report(self, mask: Mask) -> dict[str, object]:
        """What a mask leaves, layer by layer and in all. macs, params: of convolutions and linear layers."""
        macs = {one.name: one.macs for one in self.costs}
        params = {one.name: one.params for one in self.costs}
        layers = []
        for one in self.costs:
            if one.name not in mask.layers:
                continue
            kept = mask.layers[one.name].kept
            fewest, most = mask.balance(one.name)
            layers.append({
                "layer": one.name, "weight": list(one.weight_shape), "units": int(kept.size), "kept": int(kept.sum()),
                "macs": one.macs, "macs_left": round(one.macs * mask.density(one.name)),
                "fewest_in_a_group": fewest, "most_in_a_group": most,
            })  # fmt: skip
        total, left = sum(macs.values()), mask.scale(macs)
        return {
            "pattern": str(mask.pattern), "macs": total, "macs_left": round(left), "rate": round(total / left, 4),
            "params": sum(params.values()), "params_left": round(mask.scale(params)), "layers": layers,
        }  # fmt: skip


def make(settings: Prune, trained: Trained) -> PruningPlan:
    """Raises RecipeError or UsageError where the settings do not fit the network."""
    net, made = trained.net, trained.made
    pattern = Pattern(settings.scheme, settings.group)
    costs = cost.layers(net, (1, trained.preprocess.channels, made.frames, *made.size))
    shapes = {one.name: one.weight_shape for one in costs}
    if settings.mask is not None:
        mask = Mask.load(Path(settings.mask))
        mask.check(shapes, settings.mask)
        return PruningPlan(costs, Choice(mask.pattern, mask.rates()), mask)
    if settings.rates is not None:
        rates = {name: rate for name, rate in settings.rates.items() if rate}
        cost.check(costs, rates)
    elif settings.preset is not None:
        rates = presets.preset(settings.preset, net)
    else:
        target = settings.rate or RATE
        names = candidates(costs, pattern, target)
        if not names:
            raise RecipeError(
                "No layer of the network can be pruned in these groups.", where=f"{made.entry.name}, {pattern}",
                hint="take smaller groups, or scheme = 'filter'",
            )  # fmt: skip
        if settings.threshold is not None:
            rates = dict.fromkeys(names, 0.0)
        else:
            rates = greedy(costs, target, only=names, pattern=pattern)
    for name in rates:
        pattern.check(shapes[name], name)
    return PruningPlan(costs, Choice(pattern, rates, settings.threshold))


def candidates(costs: Sequence[LayerCost], pattern: Pattern, target: float = RATE) -> list[str]:
    """The layers that are worth pruning and have as many channels as a group; where they cannot reach the FLOPs rate `target`,
    as in X3D, with the 1x1x1 convolutions.
    """
    fitting = [one for one in costs if pattern.fits(one.weight_shape)]
    chosen = [one for one in fitting if one.prunable]
    total = sum(one.macs for one in costs)
    if (total - sum(one.macs * pattern.share(one.weight_shape, CAP) for one in chosen)) * target > total:
        chosen += [one for one in fitting if one.kind == "conv" and one.places == 1 and not one.reads_clip]
    return [one.name for one in chosen]
