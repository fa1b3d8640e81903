"""What a task gives to be searched: little, so that any task can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import onnx

from everyframe.nas.space import Space, Values
from everyframe.recipes.search import Search


@dataclass(frozen=True)
class Part:
    """Something of a network whose time is measured: that of the network `whole` less that of the one `without`, divided by
    `times`. name: parts of the same name take the same time on the same engine; it says all that the time depends on.
    """

    name: str
    whole: tuple[tuple[str, Any], ...]
    without: tuple[tuple[str, Any], ...] | None = None
    times: int = 1


class Task(Protocol):
    """Networks of one recipe. values: of the space's choices and, of a pruned network, of `rates`."""

    search: Search
    space: Space
    #: what is chosen in the second stage, given the values of the first: pruning rates
    rates: Mapping[str, tuple[float, ...]]
    #: of the figure that `judge` gives, more of which is better
    figure: str
    unit: str

    def parts(self, values: Values) -> Mapping[Part, int]:
        """What a network consists of, and how many times."""

    def graph(self, values: Values) -> onnx.ModelProto:
        """The network for one input `clip` with an output `logits`; its weights do not matter, but for zeros."""

    def pruned(self, values: Values) -> list[str]:
        """The names of `rates` that matter to a network."""

    def judge(self, values: Values) -> float:
        """The supernet's figure for a network; the same whenever it is asked."""

    def describe(self, values: Values) -> str:
        """In a line, for people."""

    def recipe(self, values: Values, told: str, weights: Path | None = None) -> str:
        """What trains this network alone, from weights if there are any, as TOML with `told` as a comment on top."""

    def train_supernet(self, path: Path, minutes: float | None) -> bool:
        """Trains it in a folder, or goes on; False: it was interrupted, but there is one."""

    def open_supernet(self, path: Path) -> None:
        """Reads the trained one, after which networks can be judged."""

    def inherit(self, values: Values, path: Path) -> Path:
        """Writes the weights that the supernet has for a network."""

    def retrain(self, recipe: Path, path: Path, minutes: float | None) -> Any:
        """Trains the network of a recipe in a folder, or goes on; what `training` says of it, or None."""
