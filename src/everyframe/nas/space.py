"""What can be chosen: a vector of named choices, each with a few values. A point has the number of a value for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Any, TypeVar

import numpy as np

from everyframe.errors import RecipeError

#: channels
VECTOR = 8

Values = Mapping[str, Any]
Point = tuple[int, ...]
T = TypeVar("T")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Choice:
    """values: from the smallest to the largest where that means something."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Space:
    """settle: what of some values does not matter, such as the kind of a layer that is not there, becomes its first value, so
    that equal networks are equal points.
    """

    choices: tuple[Choice, ...]
    settle: Callable[[dict[str, Any]], dict[str, Any]] = dict

    @classmethod
    def of(cls, table: Mapping[str, Sequence[Any]], settle: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> Space:
        return cls(tuple(Choice(name, tuple(values)) for name, values in table.items()), settle)

    def changed(self, given: Mapping[str, Sequence[Any]]) -> Space:
        """With other values of some choices; `block` stands for `block1`, `block2`, ... Raises RecipeError for unknown names."""
        known = [choice.name for choice in self.choices]
        for name in given:
            if not any(name in _names(each) for each in known):
                raise RecipeError(
                    "There is no such choice.", where=f"search.choices.{name}", got=name,
                    expected=", ".join(dict.fromkeys(each.rstrip("0123456789") for each in known)),
                )  # fmt: skip
        table = {choice.name: _meant(given, choice.name, choice.values) for choice in self.choices}
        return Space.of(table, self.settle)

    def allow(self, known: Mapping[str, Sequence[Any]]) -> Space:
        """Itself. known: values that there are, by the name of a choice or of all of a kind. Raises RecipeError for others."""
        for choice in self.choices:
            allowed = _meant(known, choice.name, None)
            for value in choice.values:
                if allowed is not None and (value not in allowed or isinstance(value, bool)):
                    whole = isinstance(allowed, range)
                    expected = f"{allowed[0]} to {allowed[-1]}" if whole else ", ".join(map(str, allowed))
                    raise unknown(choice.name, expected, value)
            if choice.name.startswith("scheme") and "none" not in choice.values:
                raise unknown(choice.name, "none, and others", ", ".join(choice.values))
        return self

    def values(self, point: Point) -> dict[str, Any]:
        return {choice.name: choice.values[at] for choice, at in zip(self.choices, point, strict=True)}

    def point(self, values: Values) -> Point:
        """Of values, settled. Raises RecipeError for one that cannot be chosen."""
        settled = self.settle(dict(values))
        for choice in self.choices:
            if settled[choice.name] not in choice.values:
                raise unknown(choice.name, ", ".join(map(str, choice.values)), settled[choice.name])
        return tuple(choice.values.index(settled[choice.name]) for choice in self.choices)

    def has(self, values: Values) -> bool:
        """They name all choices, each with a value that may be chosen."""
        return all(choice.name in values and values[choice.name] in choice.values for choice in self.choices)

    def settled(self, point: Point) -> Point:
        return self.point(self.values(point))

    def random(self, rng: np.random.Generator) -> Point:
        return self.settled(tuple(int(rng.integers(len(choice.values))) for choice in self.choices))

    def changed_at_random(self, point: Point, rng: np.random.Generator, share: float) -> Point:
        """Each choice anew with this probability, and one at least."""
        free = [at for at, choice in enumerate(self.choices) if len(choice.values) > 1]
        if not free:
            return point
        again = {at for at in free if rng.random() < share} or {int(rng.choice(free))}
        return self.settled(tuple(
            int(rng.integers(len(self.choices[at].values))) if at in again else value for at, value in enumerate(point)
        ))  # fmt: skip

    def crossed(self, one: Point, other: Point, rng: np.random.Generator) -> Point:
        """Each choice from one or the other."""
        return self.settled(tuple(a if rng.random() < 0.5 else b for a, b in zip(one, other, strict=True)))

    def smallest(self) -> Point:
        return self.settled((0,) * len(self.choices))

    def largest(self) -> Point:
        return self.settled(tuple(len(choice.values) - 1 for choice in self.choices))

    @property
    def size(self) -> int:
        """Points, of which some are the same when settled."""
        return int(np.prod([len(choice.values) for choice in self.choices], dtype=object))

    def features(self, points: Sequence[Point]) -> np.ndarray:
        """(n, d) in [0, 1]: a place for each number, and one for each value where there are three or more that are no numbers."""
        columns = []
        for at, choice in enumerate(self.choices):
            numbers = np.array([point[at] for point in points])
            if len(choice.values) < 2:
                continue
            if len(choice.values) == 2 or all(isinstance(value, int | float) for value in choice.values):
                columns.append(numbers[:, None] / (len(choice.values) - 1))
            else:
                columns.append(np.eye(len(choice.values))[numbers])
        return np.hstack(columns) if columns else np.zeros((len(points), 1))

    def some(self, count: int, rng: np.random.Generator, fits: Callable[[Point], bool], tries: int = 200) -> list[Point]:
        """At most so many different points at random that fit."""

        def drawn() -> Iterator[Point]:
            seen = set()
            for _ in range(count * tries):
                point = self.random(rng)
                if point not in seen and fits(point):
                    seen.add(point)
                    yield point

        return list(islice(drawn(), count))


def narrower(width: int) -> tuple[int, ...]:
    """Half, three quarters and all of so many channels, in multiples of what engines compute at a time."""
    return tuple(sorted({min(width, VECTOR * ceil(width * share / VECTOR)) for share in (0.5, 0.75, 1.0)}))


def unknown(name: str, expected: str, got: object) -> RecipeError:
    return RecipeError("This cannot be chosen.", where=f"search.choices.{name}", expected=expected, got=got)


def _names(name: str) -> tuple[str, str]:
    """Its own and that of all of its kind; what is said of itself counts first."""
    return name, name.rstrip("0123456789")


def _meant(given: Mapping[str, T], name: str, other: Other) -> T | Other:
    return next((given[each] for each in _names(name) if each in given), other)
