"""`everyframe train`: a recipe and a folder of clips in, a model that runs live out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from everyframe.recipes.pruning import PruneRecipe
    from everyframe.recipes.training import ClipRecipe


def command(
    recipe: Annotated[
        str | None, typer.Argument(help="A built-in recipe or a .toml file. Without one: a small network, chosen for your clips.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The folder of clips, or a list of spans of recordings; default: the recipe's `data.root`."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; default: runs/RECIPE.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe. Repeatable.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.05, help="End the training after so many minutes.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in the run folder.")] = False,
    check_data: Annotated[bool, typer.Option("--check-data", help="Only look at the clips, and report.")] = False,
    recipes: Annotated[bool, typer.Option("--recipes", help="List the built-in recipes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a network on labeled clips, and write it as a model that runs live. Ctrl-C keeps the best so far.

    Recipes whose task is to enhance are for pictures instead, which their network makes larger, to detect for scans.

    Example: everyframe train --data clips -o runs/mine
    """
    from everyframe import api
    from everyframe import recipes as available
    from everyframe.errors import UsageError
    from everyframe.recipes import ClipRecipe

    if recipes:
        rows = [(name, available.load(name)) for name in available.built_in()]
        width = max(len(name) for name, _ in rows)
        for name, one in rows:
            typer.echo(f"{name:<{width}}  {getattr(one, 'paper', '') or 'the built-in motion model, from rendered video'}")
        return
    if not resume and (recipe is not None or data is not None):
        settings = available.load(recipe or "quick", changes or ())
        if check_data:
            if not isinstance(settings, ClipRecipe):
                raise UsageError(
                    "Only labeled clips are looked at.", where=settings.name, got="--check-data", hint="leave it out"
                )
            _report(settings, recipe, data, as_json)
            return
        output = output or Path("runs") / settings.name
    result = api.train(data, output, recipe=recipe, settings=changes or (), minutes=minutes, resume=resume)
    if result is not None:  # of several processes the first one speaks
        typer.echo(json.dumps(result.to_dict()) if as_json else result.text())


def _report(settings: ClipRecipe | PruneRecipe, recipe: str | None, data: Path | None, as_json: bool) -> None:
    from everyframe.api.learning import extra
    from everyframe.cli.show.console import console
    from everyframe.data.check import render

    with extra("Training"):
        from everyframe.training import run
    found = run.check(settings, recipe, data)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
    else:
        render(found, console())
