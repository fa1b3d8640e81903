"""What a recipe may say, and the recipes that come with the package (`built_in/`). No torch.

`training` (a network on labeled clips) -> `pruning` (that, and two sections more) -> `motions` (the built-in model) ->
`reader` (a TOML file, refused with its line where it says something wrong).
"""

from everyframe.recipes.motions import MotionsRecipe
from everyframe.recipes.pruning import PruneRecipe
from everyframe.recipes.reader import TASKS, Recipe, built_in, load, parse
from everyframe.recipes.training import (
    Augment,
    ClipRecipe,
    Data,
    Distillation,
    Network,
    Optimizer,
    Sampling,
    Schedule,
    Surrogate,
    Training,
)

__all__ = [
    "TASKS",
    "Augment",
    "ClipRecipe",
    "Data",
    "Distillation",
    "MotionsRecipe",
    "Network",
    "Optimizer",
    "PruneRecipe",
    "Recipe",
    "Sampling",
    "Schedule",
    "Surrogate",
    "Training",
    "built_in",
    "load",
    "parse",
]
