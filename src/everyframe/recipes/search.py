"""What a recipe may say of a search: [search], beside the sections of the training that its networks get."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from everyframe.limits import MAX_SEED, MAX_THREADS
from everyframe.modelfile.schema import Strict

ControllerName = Literal["random", "evolution", "bayesian", "policy"]


class Search(Strict):
    """How a network is searched that is fast enough and as good as can be.

    target_ms: of one picture of `model.size`, one scan or one step, on `engine` with so many `threads`. controller: what proposes
    networks. evaluations: networks that are judged; rate_evaluations: choices of pruning rates for the best of them, where it is
    pruned. choices: what may be chosen, by name, instead of the task's own values. supernet_minutes, retrain_minutes: of
    training; None: as [training] says. sampled: networks of a step of the supernet between the smallest and the largest;
    distill: how much of the loss of all but the largest is its distance to the largest one's answer (by itself none: that is
    interpolation at first, and holds them there). checked: whole networks that are measured to fit the latency model, and as
    many more to say how far it is off. inherit: the final network begins with the supernet's weights.
    """

    target_ms: float | None = Field(default=None, gt=0)
    engine: str = "native"
    threads: int = Field(default=1, ge=1, le=MAX_THREADS)
    controller: ControllerName = "evolution"
    evaluations: int = Field(default=60, ge=1)
    rate_evaluations: int = Field(default=20, ge=0)
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    choices: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    supernet_minutes: float | None = Field(default=None, gt=0)
    retrain_minutes: float | None = Field(default=None, gt=0)
    sampled: int = Field(default=2, ge=0, le=16)
    distill: float = Field(default=0.0, ge=0, le=1)
    checked: int = Field(default=10, ge=3, le=100)
    inherit: bool = True

    @model_validator(mode="after")
    def _possible(self) -> Search:
        for name, values in self.choices.items():
            if not values or len({str(value) for value in values}) != len(values):
                raise ValueError(f"choices.{name} needs one or more different values")
        return self
