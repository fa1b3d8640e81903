"""What searches of all tasks have in common: the supernet, its training and judgement, and what is left at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import onnx
from safetensors.torch import load_file
from torch import Tensor, nn

from everyframe import recipes
from everyframe.errors import RecipeError, SourceError, WeightsError
from everyframe.nas.sandwich import Sandwich
from everyframe.nas.space import Space, Values
from everyframe.nas.supernet import Supernet
from everyframe.nas.task import Part
from everyframe.recipes import ClipRecipe, DetectionRecipe, SuperResolutionRecipe
from everyframe.recipes.search import Search
from everyframe.tasks import learning
from everyframe.training import checkpoint, folder
from everyframe.training.objective import Objective

Told = TypeVar("Told", SuperResolutionRecipe, DetectionRecipe, ClipRecipe)

#: an objective of the networks alone -> that of the supernet
Wrap = Callable[[Objective], Objective]


class Searched(ABC, Generic[Told]):
    """A `nas.task.Task`, and the family of networks of its supernet. recipe: with [search], and its `data.root` absolute."""

    figure: str
    unit: str
    #: figures of a validation whose mean networks are judged by
    judged_by: ClassVar[tuple[str, ...]]
    #: of that mean, in the unit
    worth: ClassVar[float] = 1.0
    space: Space
    roads: Mapping[str, Space]
    rates: Mapping[str, tuple[float, ...]]

    def __init__(self, recipe: Told) -> None:
        if recipe.search is None:
            raise RecipeError("The recipe says nothing of a search.", where=recipe.name, expected="a table [search]")
        self.given: Told = recipe
        self.search: Search = recipe.search
        self.net: Supernet | None = None
        self._objective: Sandwich | None = None

    # -- what a task says

    @abstractmethod
    def model(self, values: Values) -> Any:
        """[model] of the recipe that trains this network."""

    @abstractmethod
    def build(self, values: Values) -> nn.Module: ...

    @abstractmethod
    def key(self, name: str, values: Values) -> str: ...

    @abstractmethod
    def own(self) -> tuple[nn.Module, Values]:
        """The recipe's own network with the weights of `model.weights`; its values, as far as `key` looks at them. Raises
        WeightsError.
        """

    @abstractmethod
    def graph(self, values: Values) -> onnx.ModelProto: ...

    @abstractmethod
    def parts(self, values: Values) -> Mapping[Part, int]: ...

    @abstractmethod
    def describe(self, values: Values) -> str: ...

    @staticmethod
    @abstractmethod
    def held_out(recipe: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        """(for training, held out). Raises SourceError."""

    @abstractmethod
    def fit(self, path: Path, minutes: float | None, resumed: bool, wrap: Wrap) -> bool:
        """Trains the supernet, by `wrap` of the task's objective; whether to the end."""

    @abstractmethod
    def judging(self) -> Objective:
        """The task's objective, to judge networks by what is held out."""

    @abstractmethod
    def train(self, recipe: Told | None, path: Path, where: Path, minutes: float | None) -> Any:
        """Trains a network alone; without a recipe goes on."""

    def pruned(self, values: Values) -> list[str]:
        return [name for name in self.rates if values[name.replace("rate", "scheme")] != "none"]

    def joined(self, name: str) -> tuple[int, int]:
        return 0, 1

    def begin(self, name: str, value: Tensor) -> Tensor:
        return value

    def beside(self, model: Any) -> dict[str, Any]:
        """What else of the recipe is another for this network."""
        return {}

    # -- what all do

    @classmethod
    def prepared(cls, recipe: Told, where: str, data: Path | None) -> Told:
        """A recipe with a table [search], and an absolute `data.root`. where: its file; data: another root. Raises UsageError,
        and SourceError where there is nothing to learn from.
        """
        given: Any = recipe.model_copy(update={"search": recipe.search or Search()})
        whole: Told = learning.settled(given, where, data)
        cls.held_out(whole)
        return whole

    def recipe(self, values: Values, told: str, weights: Path | None = None) -> str:
        model = self.model(values)
        if weights is not None:
            model = model.model_copy(update={"weights": str(weights.resolve())})
            model.model_fields_set.add("weights")
        changed = {"model": model, "search": None, "name": f"{self.given.name}-searched", **self.beside(model)}
        made = self.given.model_copy(update=changed)
        comment = "".join(f"# {line}\n" for line in told.splitlines())
        return f"{comment}\n{folder.as_toml(made)}"

    def check(self) -> None:
        """Raises WeightsError, before layers are measured, where `model.weights` are not of the recipe's own network."""
        if self.given.model.weights is not None:
            self.own()

    def supernet(self) -> Supernet:
        """Begins with `model.weights` as far as they are a part of it. Raises WeightsError."""
        net = learning.seeded(lambda: Supernet(self), self.given.training.seed)
        if self.given.model.weights is not None:
            own, values = self.own()
            if not net.begin_with(own.state_dict(), values):
                raise WeightsError(
                    "Nothing of these weights is a part of the supernet.", where=self.given.model.weights,
                    hint="take the recipe's own network into [search.choices], or leave model.weights out",
                )  # fmt: skip
        return net

    def train_supernet(self, path: Path, minutes: float | None) -> bool:
        resumed = (path / "recipe.toml").exists()
        minutes = None if resumed else minutes  # the clock of the sitting before goes on
        return self.fit(path, minutes, resumed, self._sandwich)

    def open_supernet(self, path: Path) -> None:
        self.net = self.supernet()
        self.net.load_state_dict(load_file(folder.read(path, type(self.given)).best))
        self.net.eval()
        self._objective = self._sandwich(self.judging())

    def judge(self, values: Values) -> float:
        found = self._objective.measure(self._trained(), values) if self._objective else {}
        score = self.worth * sum(found[name] for name in self.judged_by) / len(self.judged_by)
        if not isfinite(score):
            raise self.nothing_held_out("none that tell networks apart")
        return score

    def inherit(self, values: Values, path: Path) -> Path:
        """The weights that the supernet has for a network, as a file."""
        checkpoint.save_weights(path, self._trained().network(values).state_dict())
        return path

    def retrain(self, recipe: Path, path: Path, minutes: float | None) -> Any:
        if (path / "recipe.toml").exists():
            return self.train(None, path, recipe, None)
        found = recipes.load(str(recipe))
        if type(found) is not type(self.given):
            raise RecipeError("This recipe is for another task.", where=recipe, got=found.task)
        return self.train(cast(Told, found), path, recipe, minutes)

    def _sandwich(self, inner: Objective) -> Sandwich:
        return Sandwich(inner, self, self.search, self.rates)

    def _trained(self) -> Supernet:
        if self.net is None:
            raise WeightsError("There is no supernet yet.", hint="train it first")
        return self.net

    def nothing_held_out(self, got: str) -> SourceError:
        return SourceError(
            f"There are no {self.given.unit} to judge networks by.", where=self.given.data.root, got=got,
            hint="set data.holdout or data.validation",
        )  # fmt: skip
