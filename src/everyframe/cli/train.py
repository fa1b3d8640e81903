"""`everyframe train`: a recipe in, a trained network out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe (`motions`) or a .toml file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Result folder.")] = Path("runs/motions"),
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many trainings to choose the best from; default: the recipe's.")
    ] = None,
    first_seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    minutes: Annotated[
        float | None, typer.Option(min=0.05, help="End the training after so many minutes, all seeds together.")
    ] = None,
    start: Annotated[Path | None, typer.Option(help="Go on from this checkpoint (.safetensors).")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: the recipe's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a network by a recipe. Ctrl-C keeps the best so far.

    Example: everyframe train motions -o runs/motions --seeds 3
    """
    from everyframe.errors import UsageError
    from everyframe.train import recipe as recipes

    settings = recipes.load(recipe)
    changes = {"seeds": seeds, "threads": threads}
    settings = settings.model_copy(update={k: v for k, v in changes.items() if v is not None})
    try:
        from everyframe.train.motions.loop import run
    except ImportError as error:
        raise UsageError(
            "Training needs packages that are not installed.", got=error.name, hint="pip install 'everyframe[train]'"
        ) from None
    result = run(settings, output, first_seed=first_seed, minutes=minutes, start=start)
    if as_json:
        typer.echo(json.dumps(result))
        return
    v = result["validation"]
    typer.echo(
        f"best: seed {result['seed']}, epoch {result['epoch']}; validation recall {v['recall']:.1%}, "
        f"{v['false_per_minute']:.2f} false events a minute, F1 {v['f1']:.3f}\n"
        f"wrote {output}/best.safetensors, clip.onnx, metrics.json, metrics.csv in {result['training_seconds']:.0f} s"
    )
