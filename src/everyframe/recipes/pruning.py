"""What a recipe for pruning may say: that of a training on labeled clips, and two sections more."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from everyframe.modelfile.schema import Strict
from everyframe.recipes.training import ClipRecipe, Distillation, Schedule

Scheme = Literal["vanilla", "kgs", "balanced", "plane", "filter"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
#: what generated kernels compute at a time: 16 output channels, and the 4 input channels that an int8 product sums
GROUP = (16, 4)
#: the same for planes, which floats alone profit from
PLANE_GROUP = (16, 1)


def usual_group(scheme: str) -> tuple[int, int]:
    return PLANE_GROUP if scheme == "plane" else GROUP


RATE = 3.0  # FLOPs, where a recipe says nothing

Method = Literal["reweighted", "admm", "magnitude"]


class Prune(Strict):
    """What goes, and how it is chosen.

    dense: the run folder of the trained network, whose model and preprocessing are taken, or a file with its weights; without
    it the recipe trains the network first. scheme, group: as in `everyframe.pruning.pattern`. method: how units
    are driven to zero before they are cut: `reweighted` group lasso, `admm`, or `magnitude`, which cuts at once.

    How much, one of: rate, of the FLOPs, which the layers share so that the costliest give most; preset, a published profile;
    rates, the pruned share of units by module path; threshold, units whose norm falls below this share of their layer's; mask, a
    file that says which units are kept, so that nothing has to be chosen.
    """

    dense: str | None = None
    scheme: Scheme = "kgs"
    group: tuple[int, int] = GROUP
    method: Method = "reweighted"
    rate: float | None = Field(default=None, gt=1)
    preset: str | None = None
    rates: dict[str, float] | None = None
    threshold: float | None = Field(default=None, gt=0, lt=1)
    mask: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _usual_group(cls, given: Any) -> Any:
        return {"group": usual_group("plane"), **given} if isinstance(given, dict) and given.get("scheme") == "plane" else given

    @model_validator(mode="after")
    def _possible(self) -> Prune:
        given = [name for name in ("rate", "preset", "rates", "threshold", "mask") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"one of rate, preset, rates, threshold and mask says how much is pruned, not {' and '.join(given)}")
        for name, rate in (self.rates or {}).items():
            if not 0 <= rate < 1:
                raise ValueError(f"rates are shares of units, 0 or more and below 1; {name} has {rate:g}")
        if self.rates is not None and not any(self.rates.values()):
            raise ValueError("rates prune nothing")
        if self.threshold is not None and self.method != "reweighted":
            raise ValueError("a threshold needs norms in two heaps, which method = 'reweighted' makes")
        if min(self.group) < 1:
            raise ValueError("a group has at least one output and one input channel")
        return self


class Regularize(Strict):
    """The training that drives units to zero. epochs, learning_rate: default: those of the retraining.

    refreshes: how often in all the weights are looked at anew: lambda of `reweighted`, Z and U of `admm`. epsilon: of r, for
    norms in multiples of the layer's. reach: where no rate says what has to go, units up to this norm go unless the loss holds
    them. rounds: rho of ADMM, one a round, all equally long.
    """

    epochs: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    schedule: Schedule = Schedule(kind="constant")
    refreshes: int = Field(default=10, ge=1)
    reach: float = Field(default=0.5, gt=0)
    epsilon: float = Field(default=1e-2, gt=0)
    rounds: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)

    @model_validator(mode="after")
    def _possible(self) -> Regularize:
        if not self.rounds or min(self.rounds) <= 0:
            raise ValueError("rounds are values of rho, above 0")
        return self


class Soft(Distillation):
    """The teacher is the dense network, if none is named. A weight of 0: no teacher."""

    teacher: str = ""
    weight: float = Field(default=0.5, ge=0, le=1)


class PruneRecipe(ClipRecipe):
    """[training], [optimizer], [schedule] and [distillation] are those of the retraining, and of the dense network where it has
    to be trained first, without distillation.
    """

    task: Literal["prune"] = "prune"  # type: ignore[assignment]
    prune: Prune = Prune()
    regularize: Regularize = Regularize()
    distillation: Soft = Soft()  # type: ignore[assignment]

    @model_validator(mode="after")
    def _whole(self) -> PruneRecipe:
        if self.surrogate or self.model.train == "head":
            raise ValueError("the whole network is trained, with labels: leave out surrogate and model.train")
        return self
