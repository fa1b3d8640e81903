"""What is chosen of a network that enlarges: one table of architecture and pruning, and the [model] of a recipe it stands for."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

from everyframe.errors import RecipeError
from everyframe.nas import schemes
from everyframe.nas.schemes import pruning
from everyframe.nas.space import Space, Values, unknown
from everyframe.recipes.search import Search
from everyframe.recipes.super_resolution import Block, ModelSection

DEEPEST = 8

#: grid: on squares of how many pixels a side the network works, and with how many channels, in vectors of what engines compute
#: at a time; last: on squares of how many places a side the last convolution answers, which fills those vectors as well;
#: scheme: of the block of this number
CHOICES: dict[str, tuple[Any, ...]] = {
    "grid": ("1x16", "1x32", "2x16", "2x32", "2x48", "2x64"),
    "depth": (1, 2, 3, 4, 6, 8),
    "first": (3, 5),
    "last": (1, 2),
    "activation": ("relu", "prelu"),
    **{f"block{at}": ("separable3", "separable5", "conv3") for at in range(1, DEEPEST + 1)},
    **{f"scheme{at}": ("none", "filter", "vanilla", "kgs", "plane") for at in range(1, DEEPEST + 1)},
}


def space(search: Search, size: tuple[int, int]) -> Space:
    """As the recipe has it, for pictures of this (height, width): of what is not told no squares that they are not made of.
    Raises RecipeError.
    """
    single = {"grid": [value for value in CHOICES["grid"] if grid(value)[0] == 1], "last": [1]}
    told = {**(single if any(side % 2 for side in size) else {}), **search.choices}
    told.setdefault("scheme", schemes.usual(search.engine))
    table = {choice.name: choice.values for choice in Space.of(CHOICES).changed(told).choices}
    made = Space.of(table, partial(settle, {name: values[0] for name, values in table.items()}))
    reduced = {grid(value)[0] for value in table["grid"]}
    made.allow({
        "depth": range(1, DEEPEST + 1), "first": (3, 5), "last": (1, 2), "activation": ("relu", "prelu"),
        "block": get_args(Block), "scheme": schemes.ALLOWED,
    })  # fmt: skip
    most = max(each * last for each in reduced for last in table["last"][: 1 if each > 1 else None])
    if any(side % most for side in size):
        raise RecipeError(
            "The pictures are not made of whole squares.", where="model.size", got=f"{size[0]} x {size[1]} (height x width)",
            expected=f"multiples of {most}", hint="give other sides, or smaller ones in search.choices grid and last",
        )  # fmt: skip
    return made


def grid(value: str) -> tuple[int, int]:
    """`2x32`: (squares of 2 x 2 pixels, 32 channels). Raises RecipeError."""
    reduce, _, channels = str(value).partition("x")
    if reduce not in ("1", "2") or not channels.isdecimal() or not 1 <= int(channels) <= 256:
        raise unknown("grid", "`1xCHANNELS` or `2xCHANNELS`, such as 2x32", value)
    return int(reduce), int(channels)


def settle(first: Values, values: dict[str, Any]) -> dict[str, Any]:
    """What is behind the last block does not matter. Separable blocks are not pruned: their 1x1 is the cheap half. On squares
    the last convolution fills vectors as it is.
    """
    made = dict(values)
    if grid(made["grid"])[0] > 1:
        made["last"] = first["last"]
    for at in range(1, DEEPEST + 1):
        if at > made["depth"]:
            made[f"block{at}"] = first[f"block{at}"]
        if made[f"block{at}"].startswith("separable") or at > made["depth"]:
            made[f"scheme{at}"] = "none"
    return made


def own(model: ModelSection) -> dict[str, Any]:
    """What the recipe's own network is; also where it cannot be chosen."""
    blocks = {f"block{at}": kind for at, kind in enumerate(model.layers, 1)}
    return {"grid": f"{model.reduce}x{model.channels}", "first": model.first, "last": model.last, **blocks}


def settings(model: ModelSection, values: Values) -> ModelSection:
    """[model] of this network. Rates are `rate1`, ...; where they are not there yet, the usual one."""
    reduce, channels = grid(values["grid"])
    places = range(1, values["depth"] + 1)
    each = [pruning(values, at) for at in places]
    rates = tuple(rate for _, rate in each)
    pruned = {"schemes": tuple(scheme for scheme, _ in each), "rates": rates} if any(rates) else {}
    told = {
        **model.model_dump(exclude_unset=True, exclude={"channels", "depth", "kernel", "blocks", "schemes", "rates", "weights"}),
        "channels": channels, "reduce": reduce, "first": values["first"], "last": values["last"],
        "activation": values["activation"], "blocks": tuple(values[f"block{at}"] for at in places), **pruned,
    }  # fmt: skip
    return ModelSection(**told)


def describe(values: Values) -> str:
    reduce, channels = grid(values["grid"])
    blocks = []
    for at in range(1, values["depth"] + 1):
        scheme, rate = pruning(values, at)
        blocks.append(values[f"block{at}"] + ("" if scheme == "none" else f" {scheme} {rate:g}"))
    squares = f"squares of {reduce}, " if reduce > 1 else ""
    last = f", last {values['last']}" if values["last"] > 1 else ""
    return f"{squares}{channels} channels, first {values['first']}{last}, {values['activation']}: {', '.join(blocks)}"


def roads(made: Space) -> dict[str, Space]:
    """Those that work on squares of one size."""
    found: dict[str, list[str]] = {}
    for value in next(choice.values for choice in made.choices if choice.name == "grid"):
        found.setdefault(str(grid(value)[0]), []).append(value)
    return {reduce: made.changed({"grid": values}) for reduce, values in sorted(found.items())}


def key(name: str, values: Values) -> str:
    """Squares of each size, kinds of blocks and sizes of the first and the last convolution learn by themselves."""
    reduce, (place, *rest) = grid(values["grid"])[0], name.split(".")
    if place in ("first", "last"):
        place = f"{place}{values[place]}"
    elif place == "blocks":
        place = f"{values[f'block{int(rest[0]) + 1}']}s"
    return ".".join((str(reduce), place, *rest))
