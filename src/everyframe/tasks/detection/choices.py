"""What is chosen of a network that detects: choices around the network of a recipe, and the [model] that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import ceil, prod
from typing import Any, get_args

from everyframe.modelfile.schema import Grid
from everyframe.nas import schemes
from everyframe.nas.schemes import pruning
from everyframe.nas.space import Space, Values, narrower, unknown
from everyframe.recipes.detection import Block, Kernel, ModelSection
from everyframe.recipes.search import Search

#: cells' sides to choose from, in those of the recipe; blocks of a stage beyond the recipe's
CELLS, DEEPER = (1.5, 1.2, 1.0), 1
HEAD = "0"


def table(model: ModelSection) -> dict[str, tuple[Any, ...]]:
    """From the fastest to the dearest. cell: side of a pillar, in meters; of each stage width, depth, block and kernel; scheme12:
    of the second block of the first stage, scheme10: of its first convolution, scheme0: of the head.
    """
    stages = range(1, len(model.widths) + 1)
    return {
        "cell": tuple(cell for share in CELLS if _fits(model, cell := round(model.grid.cell * share, 4))),
        "features": narrower(model.features),
        **{f"width{at}": narrower(model.widths[at - 1]) for at in stages},
        **{f"depth{at}": tuple(range(model.depths[at - 1] + DEEPER + 1)) for at in stages},
        **{f"block{at}": ("separable", "residual", "plain") for at in stages},
        **{f"kernel{at}": (3, 5) for at in stages},
        "neck": narrower(model.neck), "head": narrower(model.head), "head_kernel": (1, 3), "up": ("nearest", "transposed"),
        "activation": ("relu", "hard_swish"),
        **{f"scheme{name}": ("none",) for name in layers(model)},
    }  # fmt: skip


def layers(model: ModelSection) -> list[str]:
    """Numbers of layers that may be pruned, in the order of the recipe's."""
    return [
        *(f"{at}{block}" for at, depth in enumerate(model.depths, 1) for block in range(depth + DEEPER + 1)), HEAD
    ]  # fmt: skip


def space(model: ModelSection, search: Search) -> Space:
    """As the recipe has it. Raises RecipeError."""
    told = {**search.choices}
    told.setdefault("scheme", schemes.usual(search.engine))
    made = Space.of(table(model)).changed(told)
    values = {choice.name: choice.values for choice in made.choices}
    for cell in values["cell"]:
        if not isinstance(cell, int | float) or not _fits(model, cell):
            raise unknown("cell", f"meters, so that the grid has a multiple of {prod(model.strides)} cells a side", cell)
    made.allow({
        "block": get_args(Block), "kernel": get_args(Kernel), "scheme": schemes.ALLOWED,
        **{name: get_args(ModelSection.model_fields[name].annotation) for name in ("up", "activation", "head_kernel")},
        **{name: range(1, 513) for name in ("features", "width", "neck", "head")},
        **{f"depth{at}": range(depth + DEEPER + 1) for at, depth in enumerate(model.depths, 1)},
    })  # fmt: skip
    return Space.of(values, partial(settle, len(model.widths), {name: each[0] for name, each in values.items()}))


def settle(stages: int, first: Values, values: dict[str, Any]) -> dict[str, Any]:
    """What is behind a stage's last block does not matter, and separable blocks are not pruned."""
    made = dict(values)
    for at in range(1, stages + 1):
        if not made[f"depth{at}"]:
            made |= {name: first[name] for name in (f"block{at}", f"kernel{at}")}
        for name in (name for name in values if name.startswith(f"scheme{at}") and len(name) > len(f"scheme{at}")):
            block = int(name.removeprefix(f"scheme{at}"))
            if block > made[f"depth{at}"] or (block and made[f"block{at}"] == "separable"):
                made[name] = "none"
    return made


def grid(model: ModelSection, cell: float) -> Grid:
    """Larger cells are fewer pillars, as walls and not areas are what a lidar sees."""
    slots = model.grid.slots if cell == model.grid.cell else 100 * ceil(model.grid.slots * model.grid.cell / cell / 100)
    return model.grid.model_copy(update={"cell": cell, "slots": slots})


def settings(model: ModelSection, values: Values) -> ModelSection:
    """[model] of this network. Rates are `rate12`, ...; where they are not there yet, the usual one."""
    stages = range(1, len(model.widths) + 1)
    each = lambda name: tuple(values[f"{name}{at}"] for at in stages)  # noqa: E731
    names = [*(f"{at}{block}" for at in stages for block in range(values[f"depth{at}"] + 1)), HEAD]
    kinds, rates = zip(*(pruning(values, name) for name in names), strict=True)
    pruned = {"schemes": kinds, "rates": rates} if any(rates) else {}
    own = {"block", "kernel", "blocks", "kernels", "schemes", "rates", "weights", "grid"}
    return ModelSection(
        **{
            **model.model_dump(exclude_unset=True, exclude=own), "grid": grid(model, values["cell"]), "widths": each("width"),
            "depths": each("depth"), "blocks": each("block"), "kernels": each("kernel"), **pruned,
            **{name: values[name] for name in ("features", "neck", "head", "head_kernel", "up", "activation")},
        }
    )  # fmt: skip


def describe(model: ModelSection, values: Values) -> str:
    made = settings(model, values)
    schemes_ = iter(made.pruning)
    told = []
    for width, depth, (block, kernel) in zip(made.widths, made.depths, made.kinds, strict=True):
        pruned = [_pruned(*next(schemes_)) for _ in range(depth + 1)]
        told.append(f"{width}{pruned[0]}" + "".join(f" + {block}{kernel}{each}" for each in pruned[1:]))
    return (
        f"pillars of {made.grid.cell:g} m, {made.features} features, {made.activation}; stages {'; '.join(told)}; "
        f"{made.up} to {made.neck}, head {made.head} of {made.head_kernel}x{made.head_kernel}{_pruned(*next(schemes_))}"
    )


def roads(made: Space) -> Mapping[str, Space]:
    """Those whose scans are in the same cells."""
    cells = next(choice.values for choice in made.choices if choice.name == "cell")
    return {f"{cell:g}m": made.changed({"cell": (cell,)}) for cell in cells}


def _pruned(scheme: str, rate: float) -> str:
    return "" if scheme == "none" else f" {scheme} {rate:g}"


def _fits(model: ModelSection, cell: float) -> bool:
    """Whole cells, as many as the strides ask for."""
    if cell <= 0:
        return False
    sides = [(high - low) / cell for low, high in zip(model.grid.low[:2], model.grid.high[:2], strict=True)]
    return all(abs(side - round(side)) < 1e-6 and round(side) % prod(model.strides) == 0 for side in sides)
