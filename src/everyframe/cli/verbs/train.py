"""`everyframe train`: a recipe and a folder of clips in, a model that runs live out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from everyframe.data.check import Report


def command(
    recipe: Annotated[
        str | None, typer.Argument(help="A built-in recipe or a .toml file. Without one: a small network, chosen for your clips.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of clips; default: the recipe's `data.root`.")] = None,
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

    Example: everyframe train --data clips -o runs/mine
    """
    from everyframe.errors import UsageError

    try:
        from everyframe import recipes as available
        from everyframe.motions import run as motions
        from everyframe.recipes.motions import MotionsRecipe
        from everyframe.training import run
    except ImportError as error:
        raise UsageError(
            "Training needs packages that are not installed.", got=error.name, hint="pip install 'everyframe[train]'"
        ) from None
    if recipes:
        rows = [(name, available.load(name)) for name in available.built_in()]
        width = max(len(name) for name, _ in rows)
        for name, one in rows:
            typer.echo(f"{name:<{width}}  {getattr(one, 'paper', '') or 'the built-in motion model, from rendered video'}")
        return
    if recipe is None and data is None and not resume:
        raise UsageError(
            "There is nothing to train on.", expected="a recipe, or --data FOLDER",
            hint="`everyframe train --data FOLDER` with one folder of clips a class",
        )  # fmt: skip
    if resume:
        if recipe or data or changes or output is None:
            raise UsageError(
                "--resume goes on with what the run folder says.", expected="-o RUN --resume, and perhaps --minutes",
                hint="begin a new run for other settings",
            )  # fmt: skip
        result: Any = (motions if _task(output) == "motions" else run).resume(output, minutes=minutes)
    else:
        settings = available.load(recipe or "quick", changes or ())
        path = output or Path("runs") / settings.name
        if isinstance(settings, MotionsRecipe):
            if data is not None or check_data:
                raise UsageError(
                    "The motion model is trained on rendered video alone.", got=f"--data {data}" if data else "--check-data",
                    hint="leave it out",
                )  # fmt: skip
            result = motions.start(settings, path, minutes=minutes)
        elif check_data:
            _report(run.check(settings, recipe, data), as_json)
            return
        else:
            result = run.start(settings, path, where=recipe, data=data, minutes=minutes)
    if result is not None:  # of several processes the first one speaks
        typer.echo(json.dumps(result.as_dict()) if as_json else result.text())


def _report(found: Report, as_json: bool) -> None:
    from dataclasses import asdict

    from everyframe.cli.show.console import console
    from everyframe.data.check import render

    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        render(found, console())


def _task(output: Path) -> str | None:
    """What the recipe of a run folder is about, if there is one."""
    from everyframe import recipes

    file = output / "recipe.toml"
    return recipes.load(str(file)).task if file.is_file() else None
