"""What is chosen of a network that enlarges: one table of architecture and pruning, and the [model] of a recipe it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, get_args

from everyframe.errors import RecipeError
from everyframe.nas.space import Space, Values
from everyframe.recipes.pruning import SCHEMES
from everyframe.recipes.search import Search
from everyframe.recipes.super_resolution import Block, ModelSection

DEEPEST = 8
RATES = (0.25, 0.5, 0.75)
#: what schemes prune before the second stage asks for rates
USUAL = 0.5

#: grid: on squares of how many pixels a side the network works, and with how many channels, in vectors of what engines compute
#: at a time; scheme: of the block of this number
CHOICES: dict[str, tuple[Any, ...]] = {
    "grid": ("1x16", "1x32", "2x16", "2x32", "2x48", "2x64"),
    "depth": (1, 2, 3, 4, 6, 8),
    "first": (3, 5),
    "activation": ("relu", "prelu"),
    **{f"block{at}": ("separable3", "separable5", "conv3") for at in range(1, DEEPEST + 1)},
    **{f"scheme{at}": ("none", "filter", "vanilla", "kgs", "plane") for at in range(1, DEEPEST + 1)},
}


def space(search: Search) -> Space:
    """As the recipe has it. Raises RecipeError."""
    table = {choice.name: choice.values for choice in Space.of(CHOICES).changed(search.choices).choices}
    made = Space.of(table, partial(settle, {name: values[0] for name, values in table.items()}))
    known = {"first": (3, 5), "activation": ("relu", "prelu"), "block": get_args(Block), "scheme": ("none", *SCHEMES)}
    for choice in made.choices:
        allowed = known.get(choice.name.rstrip("0123456789"))
        for value in choice.values:
            if choice.name == "grid":
                grid(value)
            elif choice.name == "depth" and not (isinstance(value, int) and 1 <= value <= DEEPEST):
                raise _unknown(choice.name, f"1 to {DEEPEST}", value)
            elif allowed and value not in allowed:
                raise _unknown(choice.name, ", ".join(map(str, allowed)), value)
        if choice.name.startswith("scheme") and "none" not in choice.values:
            raise _unknown(choice.name, "none, and others", ", ".join(choice.values))
    return made


def grid(value: str) -> tuple[int, int]:
    """`2x32`: (squares of 2 x 2 pixels, 32 channels). Raises RecipeError."""
    reduce, _, channels = str(value).partition("x")
    if reduce not in ("1", "2") or not channels.isdecimal() or not 1 <= int(channels) <= 256:
        raise _unknown("grid", "`1xCHANNELS` or `2xCHANNELS`, such as 2x32", value)
    return int(reduce), int(channels)


def settle(first: Values, values: dict[str, Any]) -> dict[str, Any]:
    """What is behind the last block does not matter. Separable blocks are not pruned: their 1x1 is the cheap half."""
    made = dict(values)
    for at in range(1, DEEPEST + 1):
        if at > made["depth"]:
            made[f"block{at}"] = first[f"block{at}"]
        if made[f"block{at}"].startswith("separable") or at > made["depth"]:
            made[f"scheme{at}"] = "none"
    return made


def settings(model: ModelSection, values: Values) -> ModelSection:
    """[model] of this network. Rates are `rate1`, ...; where they are not there yet, the usual one."""
    reduce, channels = grid(values["grid"])
    places = range(1, values["depth"] + 1)
    schemes = tuple(values[f"scheme{at}"] for at in places)
    rates = tuple(0.0 if scheme == "none" else values.get(f"rate{at}", USUAL) for at, scheme in zip(places, schemes, strict=True))
    pruned = {"schemes": schemes, "rates": rates} if any(rates) else {}
    told = {
        **model.model_dump(exclude_unset=True, exclude={"channels", "depth", "kernel", "blocks", "schemes", "rates", "weights"}),
        "channels": channels, "reduce": reduce, "first": values["first"], "activation": values["activation"],
        "blocks": tuple(values[f"block{at}"] for at in places), **pruned,
    }  # fmt: skip
    return ModelSection(**told)


def pruning(values: Values, at: int) -> tuple[str, float]:
    """Scheme and rate of a block."""
    scheme = values[f"scheme{at}"]
    return (scheme, 0.0 if scheme == "none" else values.get(f"rate{at}", USUAL))


def describe(values: Values) -> str:
    reduce, channels = grid(values["grid"])
    blocks = []
    for at in range(1, values["depth"] + 1):
        scheme, rate = pruning(values, at)
        blocks.append(values[f"block{at}"] + ("" if scheme == "none" else f" {scheme} {rate:g}"))
    squares = f"squares of {reduce}, " if reduce > 1 else ""
    return f"{squares}{channels} channels, first {values['first']}, {values['activation']}: {', '.join(blocks)}"


def roads(made: Space) -> Mapping[int, int]:
    """Reduction -> the most channels: what a supernet has to hold."""
    found: dict[int, int] = {}
    for value in next(choice.values for choice in made.choices if choice.name == "grid"):
        reduce, channels = grid(value)
        found[reduce] = max(found.get(reduce, 0), channels)
    return found


def _unknown(name: str, expected: str, got: object) -> RecipeError:
    return RecipeError("This cannot be chosen.", where=f"search.choices.{name}", expected=expected, got=got)
