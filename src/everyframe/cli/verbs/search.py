"""`everyframe search`: a recipe and a time in, the best network that is fast enough on this machine out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from everyframe.limits import MAX_THREADS


def command(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe or a .toml file, perhaps with a table [search].")] = (
        "super_resolution"
    ),
    data: Annotated[
        Path | None, typer.Option(help="The folder of pictures, scans or clips; default: the recipe's `data.root`.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Its folder; default: runs/RECIPE-search.")] = None,
    target_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that a picture of `model.size`, a scan, or a step may take.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="The engine whose time counts; default: the recipe's, native.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MAX_THREADS, help="Of that engine; default: 1, or as the recipe says.")
    ] = None,
    controller: Annotated[str | None, typer.Option(help="What proposes networks: evolution, bayesian, policy or random.")] = None,
    evaluations: Annotated[int | None, typer.Option(min=1, help="Networks that are judged; default: 60.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe. Repeatable.")
    ] = None,
    retrain: Annotated[bool, typer.Option("--retrain/--no-retrain", help="Train the best network at the end.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search a network that is fast enough here and as good as can be. Ctrl-C keeps the best so far; --resume goes on.

    Networks that enlarge pictures, that detect objects in scans, and small causal ones that recognize are searched; the pruning
    of a trained network is `everyframe prune --speedup`.

    Example: everyframe search super_resolution --data pictures --target-ms 33 -o runs/searched
    """
    from everyframe import api, recipes

    told = {"engine": engine, "threads": threads, "controller": controller, "evaluations": evaluations}
    settings = [*(changes or ()), *(f"search.{name}={value}" for name, value in told.items() if value is not None)]
    if not resume and output is None:
        output = Path("runs") / f"{recipes.load(recipe, settings).name}-search"
    found = api.search(recipe, data, output, target_ms=target_ms, settings=settings, retrain=retrain, resume=resume)
    typer.echo(json.dumps(found.to_dict()) if as_json else found.text())
