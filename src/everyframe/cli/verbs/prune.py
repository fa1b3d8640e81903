"""`everyframe prune`: a trained network in, one that computes less and runs faster when compiled out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from everyframe.api.outcomes import Run


def command(
    recipe: Annotated[
        str | None, typer.Argument(help="The run folder of a training, a built-in recipe for pruning, or a .toml file.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of clips; default: the training's, or `data.root`.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; default: runs/NAME-pruned.")] = None,
    rate: Annotated[float | None, typer.Option(help="So many times fewer MACs; default: 3, or as the recipe says.")] = None,
    speedup: Annotated[
        float | None, typer.Option(help="So many times faster when compiled: layers are measured here and rates searched.")
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="What goes together: kgs (default), plane, balanced, vanilla, filter; `kgs 8x4`: so grouped."),
    ] = None,
    search_only: Annotated[bool, typer.Option("--search-only", help="End with the recipe that was found, search.toml.")] = False,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe. Repeatable.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.05, help="End after so many minutes, all stages together.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the pruning in the run folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Prune a trained network in patterns that compiled models run fast, and retrain what is left.

    Weights are driven to zero, cut, and the rest is trained with the dense network as its teacher. The result runs in every
    engine; `everyframe compile` makes it faster. Ctrl-C keeps the best so far.

    Example: everyframe prune runs/mine -o runs/pruned --rate 3

    Example: everyframe prune runs/mine -o runs/faster --speedup 1.5
    """
    from everyframe.api.learning import prune, pruning_recipe, search_rates
    from everyframe.errors import UsageError

    if resume:
        if recipe or data or changes or rate or speedup or pattern or search_only or output is None:
            raise UsageError(
                "--resume goes on with what the run folder says.", expected="-o RUN --resume, and perhaps --minutes",
                hint="begin a new run for other settings",
            )  # fmt: skip
        _show(prune(output, resume=True, minutes=minutes), as_json)
        return
    if recipe is None:
        raise UsageError(
            "There is nothing to prune.", expected="the run folder of a training, or a recipe", hint="everyframe prune RUN -o OUT"
        )
    if (rate is not None and speedup is not None) or (search_only and speedup is None):
        raise UsageError(
            "Either the speed-up is searched for or the rate is given.", expected="--rate, or --speedup and perhaps --search-only"
        )
    settings = [*(_settings(pattern) if pattern else ()), *(changes or ())]
    path = output or Path("runs") / f"{pruning_recipe(recipe, settings)[0].name}-pruned"
    if speedup is not None and search_only:
        rates, file = search_rates(recipe, path, speedup, data=data, settings=settings)
        typer.echo(json.dumps({"recipe": str(file), **rates.to_dict()}) if as_json else rates.text())
        return
    made = prune(recipe, path, data=data, rate=rate, speedup=speedup, settings=settings, minutes=minutes)
    _show(made, as_json)


def _settings(pattern: str) -> list[str]:
    """`kgs 8x4` as changes of a recipe, which says itself which schemes there are. Groups are the usual ones of the scheme."""
    from everyframe.errors import UsageError
    from everyframe.recipes.pruning import usual_group

    scheme, _, group = pattern.strip().partition(" ")
    sizes = group.split("x") if group else map(str, usual_group(scheme))
    if len(sizes := [size.strip() for size in sizes]) != 2 or not all(map(str.isdecimal, sizes)):
        raise UsageError(
            "This is not a pattern.", where="--pattern", expected="a scheme and perhaps a group, as in `kgs 16x4`", got=pattern
        )
    return [f"prune.scheme={scheme}", f"prune.group=[{', '.join(sizes)}]"]


def _show(made: Run | None, as_json: bool) -> None:
    if made is not None:  # of several processes the first one speaks
        typer.echo(json.dumps(made.to_dict()) if as_json else made.text())
