"""What is chosen of a network that recognizes: choices around the MotionNet of a recipe, and the name that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from everyframe import models
from everyframe.errors import RecipeError
from everyframe.models.families.motion import DILATIONS, FEATURES, STAGES, Stage, roles, spelled
from everyframe.nas.space import Space, Values, narrower
from everyframe.recipes.search import Search
from everyframe.recipes.training import ModelSection

DEEPER = 1


def base(model: ModelSection) -> tuple[tuple[Stage, ...], int, int]:
    """Stages, features, and how many temporal convolutions follow. Raises RecipeError for other networks."""
    entry = models.describe(model.name)
    if not entry.build.endswith(":MotionNet"):
        raise RecipeError(
            "This network is not searched.", where="model.name", expected="a motionnet, such as motionnet_1.0x", got=model.name,
            hint="`everyframe prune --speedup` searches the pruning rates of any trained network",
        )  # fmt: skip
    told, width = entry.options, float(entry.options.get("width", 1.0))
    stages = [Stage(*each) for each in told.get("stages", STAGES)]
    scaled = tuple(each._replace(channels=round(each.channels * width)) for each in stages)
    return scaled, round(told.get("features", FEATURES) * width), len(told.get("dilations", DILATIONS))


def space(model: ModelSection, search: Search) -> Space:
    """As the recipe has it. taps: over time, of the temporal convolution of a stage; 1: there is none. Raises RecipeError."""
    stages, features, follow = base(model)
    each = dict(enumerate(stages, 1))
    made = Space.of({
        "stride1": (2 * each[1].stride, each[1].stride),
        **{f"width{at}": narrower(stage.channels) for at, stage in each.items()},
        **{f"depth{at}": tuple(range(stage.depth + DEEPER + 1)) for at, stage in each.items()},
        **{f"kernel{at}": (3, 5) for at in each},
        **{f"taps{at}": (1, 3) if stage.taps == 1 else (1, 3, 5) for at, stage in each.items()},
        "features": narrower(features), "follow": tuple(range(1, follow + 1)),
    }).changed(search.choices)  # fmt: skip
    return made.allow({
        "stride": range(1, 9), "width": range(1, 513), "depth": range(9), "kernel": (1, 3, 5, 7), "taps": range(1, 10),
        "features": range(1, 1025), "follow": range(len(DILATIONS) + 1),
    })  # fmt: skip


def own(model: ModelSection) -> dict[str, int]:
    """What the recipe's own network is."""
    stages, features, follow = base(model)
    each = {
        f"{name}{at}": value
        for at, stage in enumerate(stages, 1)
        for name, value in (("width", stage.channels), ("depth", stage.depth), ("kernel", stage.kernel), ("taps", stage.taps))
    }
    return {"stride1": stages[0].stride, **each, "features": features, "follow": follow}


def stages_of(model: ModelSection, values: Values) -> list[Stage]:
    return [
        Stage(
            values[f"width{at}"], values[f"kernel{at}"], values["stride1"] if at == 1 else stage.stride, values[f"depth{at}"],
            values[f"taps{at}"],
        )
        for at, stage in enumerate(base(model)[0], 1)
    ]  # fmt: skip


def settings(model: ModelSection, values: Values) -> ModelSection:
    """[model] of this network."""
    name = spelled(stages_of(model, values), values["features"], values["follow"])
    return model.model_copy(update={"name": name, "options": {}, "weights": None})


def key(stages: Sequence[Stage], name: str) -> str:
    """Layers are what they are for, not their number. Kernels over time, and over what is left of the picture, learn by
    themselves: a shorter one is no part of a longer one.
    """
    place, *rest = name.split(".")
    if place != "look":
        return name
    number, *rest = rest
    role = roles(stages)[int(number)]
    if role.startswith("time"):
        role += f"x{stages[int(role[4:]) - 1].taps}"
    elif role == "rest":
        role += f"x{stages[0].stride}"
    return ".".join((role, *rest))


def describe(model: ModelSection, values: Values) -> str:
    told: list[Any] = []
    for stage in stages_of(model, values):
        more = f" + {stage.depth}" * bool(stage.depth)
        time = f" + {stage.taps} in time" * (stage.taps > 1)
        told.append(f"{stage.channels} of {stage.kernel}x{stage.kernel}/{stage.stride}{more}{time}")
    return f"{'; '.join(told)}; {values['features']} features, {values['follow']} follow"
