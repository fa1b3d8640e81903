"""The run folder: what a training leaves.

recipe.toml         the recipe with all that was set on the command line
environment.json    machine, versions, command
labels.txt          the classes in the order of the logits, where there are any
metrics.jsonl       a line an epoch
events.*            the same for TensorBoard
best.safetensors    weights of the best validation; last.safetensors: the newest
checkpoint.pt       for --resume
clip.onnx, step.onnx, report.html, ...   written at the end
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import tomli_w

from everyframe import recipes
from everyframe.errors import UsageError
from everyframe.files import occupied, results_in, write_bytes
from everyframe.recipes.training import ClipRecipe
from everyframe.version import __version__

Told = TypeVar("Told", bound=recipes.Recipe, covariant=True)


@dataclass(frozen=True)
class Run(Generic[Told]):
    path: Path
    recipe: Told
    labels: tuple[str, ...]

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """One dictionary an epoch."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []

    def write_epochs(self, rows: list[dict[str, Any]]) -> None:
        write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode(), self.path / "metrics.jsonl")


def as_toml(recipe: recipes.Recipe) -> str:
    """What differs from the defaults, as a recipe file."""
    return tomli_w.dumps(recipe.model_dump(exclude_unset=True, exclude_none=True, mode="json"))


def check_new(path: Path) -> None:
    """Raises UsageError where another training lies in the folder."""
    if (path / "recipe.toml").exists():
        raise UsageError(
            "A training lies in this folder already.", where=path, hint="--resume goes on with it; -o names another folder"
        )


def create(path: Path, recipe: recipes.Recipe, labels: tuple[str, ...]) -> None:
    """Makes the folder with what every run begins with. Raises UsageError where another training lies in it, OutputError."""
    with results_in(path), occupied(path):
        check_new(path)
        if labels:
            write_bytes("".join(f"{label}\n" for label in labels).encode(), path / "labels.txt")
        write_bytes(json.dumps(environment(), indent=1).encode(), path / "environment.json")
        write_bytes(as_toml(recipe).encode(), path / "recipe.toml")


@overload
def read(path: Path) -> Run[ClipRecipe]: ...
@overload
def read(path: Path, kind: type[Told]) -> Run[Told]: ...
def read(path: Path, kind: type[Any] = ClipRecipe) -> Run[Any]:
    """A run folder that is there. Raises UsageError, also where its recipe is of another kind."""
    named = path / "labels.txt"
    recipe = recipes.load(str(path / "recipe.toml")) if (path / "recipe.toml").is_file() else None
    if recipe is None or (not named.is_file() and not isinstance(recipe, recipes.BESIDE)):
        raise UsageError("This is no run folder.", where=path, expected="recipe.toml and labels.txt in it")
    if not isinstance(recipe, kind):
        raise UsageError("This is the folder of another kind of training.", where=path, got=f"task {recipe.task}")
    return Run(path, recipe, tuple(named.read_text("utf-8").splitlines()) if named.is_file() else ())


def environment() -> dict[str, Any]:
    import numpy
    import torch

    return {
        "command": sys.argv,
        "everyframe": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
