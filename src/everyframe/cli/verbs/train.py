"""`everyframe train`: a recipe and a folder of clips in, a model that runs live out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from everyframe.recipes.motions import MotionsRecipe
    from everyframe.recipes.pruning import PruneRecipe
    from everyframe.recipes.training import ClipRecipe


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
    from everyframe import api
    from everyframe import recipes as available
    from everyframe.recipes.motions import MotionsRecipe

    if recipes:
        rows = [(name, available.load(name)) for name in available.built_in()]
        width = max(len(name) for name, _ in rows)
        for name, one in rows:
            typer.echo(f"{name:<{width}}  {getattr(one, 'paper', '') or 'the built-in motion model, from rendered video'}")
        return
    if not resume and (recipe is not None or data is not None):
        settings = available.load(recipe or "quick", changes or ())
        if isinstance(settings, MotionsRecipe):
            _motions(settings, output or Path("runs/motions"), data, minutes, as_json)
            return
        if check_data:
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


def _motions(settings: MotionsRecipe, output: Path, data: Path | None, minutes: float | None, as_json: bool) -> None:
    from everyframe.api.learning import extra
    from everyframe.errors import UsageError

    with extra("Training"):
        from everyframe.motions.loop import run
    if data is not None:
        raise UsageError("The motion model is trained on rendered video alone.", got=f"--data {data}", hint="leave --data out")
    result: dict[str, Any] = run(settings, output, minutes=minutes)
    v = result["validation"]
    typer.echo(
        json.dumps(result)
        if as_json
        else f"best: seed {result['seed']}, epoch {result['epoch']}; validation recall {v['recall']:.1%}, "
        f"{v['false_per_minute']:.2f} false events a minute, F1 {v['f1']:.3f}\n"
        f"wrote {output}/best.safetensors, clip.onnx, metrics.json, metrics.csv in {result['training_seconds']:.0f} s"
    )
