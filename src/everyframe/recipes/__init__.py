"""What a recipe may say, and the recipes that come with the package (`built_in/`). No torch.

`training` (a network on labeled clips) -> `pruning` (that, and two sections more) -> `motions` (the built-in model) ->
`super_resolution` (pictures that become larger) -> `detection` (objects in scans) -> `reader` (a TOML file, refused with its line
where it says something wrong).
"""

from everyframe.recipes.detection import DetectionRecipe
from everyframe.recipes.motions import MotionsRecipe
from everyframe.recipes.pruning import PruneRecipe
from everyframe.recipes.reader import BESIDE, TASKS, Recipe, built_in, load, parse
from everyframe.recipes.super_resolution import SuperResolutionRecipe
from everyframe.recipes.training import (
    Augment,
    ClipRecipe,
    Data,
    Distillation,
    ModelSection,
    Optimizer,
    Sampling,
    Schedule,
    Settings,
    Surrogate,
    Training,
)

__all__ = [
    "BESIDE",
    "TASKS",
    "Augment",
    "ClipRecipe",
    "Data",
    "DetectionRecipe",
    "Distillation",
    "ModelSection",
    "MotionsRecipe",
    "Optimizer",
    "PruneRecipe",
    "Recipe",
    "Sampling",
    "Schedule",
    "Settings",
    "SuperResolutionRecipe",
    "Surrogate",
    "Training",
    "built_in",
    "load",
    "parse",
]
