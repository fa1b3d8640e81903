"""Tasks whose networks `everyframe search` knows."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from everyframe.errors import UsageError
from everyframe.recipes.reader import Recipe
from everyframe.tasks.searching import Searched

#: task of a recipe -> module with a class `Row`
ROWS: Mapping[str, str] = {
    "enhance": "everyframe.tasks.super_resolution.searched", "detect": "everyframe.tasks.detection.searched",
    "clips": "everyframe.tasks.clips.searched",
}  # fmt: skip


def row(recipe: Recipe, where: str) -> type[Searched[Any]]:
    """What searches the networks of a recipe. Raises UsageError where nothing does."""
    if recipe.task not in ROWS:
        raise UsageError(
            "Networks of this task are not searched.", where=where, expected=f"a recipe with task {' or '.join(ROWS)}",
            got=recipe.task, hint="`everyframe prune --speedup` searches the rates of a trained network",
        )  # fmt: skip
    found: type[Searched[Any]] = importlib.import_module(ROWS[recipe.task]).Row
    return found
