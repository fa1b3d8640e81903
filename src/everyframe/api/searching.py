"""Networks searched that are fast enough on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from everyframe.api.given import File, paths, several
from everyframe.api.learning import extra, run_folder
from everyframe.progress import TextProgress, told

if TYPE_CHECKING:
    from everyframe.api.outcomes import Searched


@paths
def search(
    recipe: str = "super_resolution",
    data: File | None = None,
    output: File | None = None,
    *,
    target_ms: float | None = None,
    settings: Sequence[str] = (),
    retrain: bool = True,
    resume: bool = False,
    progress: TextProgress | None = None,
) -> Searched:
    """A network that is fast enough on this machine and as good as can be: a supernet is trained once, networks that a latency
    model of measured layers finds fast enough are judged with its weights, and the best is trained alone. Needs
    `pip install 'everyframe[train]'`.

    recipe: a built-in recipe or a .toml file, perhaps with a table [search]. data: the folder of pictures, scans or clips
    (default: what the recipe names). target_ms: milliseconds a picture of `model.size`, a scan, or a step. settings: changes to
    the recipe, `key=value`. retrain: train the best one at the end. resume: go on with the search in `output`. progress: told
    what is done, instead of a bar on the terminal. output: the folder of the search; None keeps it as long as the result lives.
    Raises UsageError, RecipeError, SourceError, WeightsError, OutputError, TrainingStopped.

    >>> ef.search("nowhere.toml")
    Traceback (most recent call last):
    everyframe.errors.RecipeError: There is no such recipe...
    """
    from everyframe import recipes
    from everyframe.api.outcomes import Searched
    from everyframe.errors import UsageError

    with extra("Searching"):
        from everyframe.nas import run as searching
        from everyframe.tasks import searchable
    if resume:
        beside = {"data": data, "target_ms": target_ms, "settings": ", ".join(several("settings", settings)) or None}
        given = [f"{name} {value}" for name, value in beside.items() if value is not None]
        if output is None or given:
            raise UsageError(
                "resume goes on with what the folder says.", expected="the folder of the search alone",
                got=", ".join(given) or "no folder",
                hint=f"more search.evaluations go into {searching.RECIPE} there; anything else is a search in a new folder"
                if given else "-o FOLDER",
            )  # fmt: skip
        file = Path(output) / searching.RECIPE
        if not file.is_file():
            raise UsageError("There is no search in this folder.", where=output, expected=searching.RECIPE)
        path, held, found = Path(output), None, recipes.load(str(file))
    else:
        changes = [*several("settings", settings), *([f"search.target_ms={target_ms}"] if target_ms is not None else [])]
        searchable.row(recipes.load(recipe), recipe)  # the recipe may be at fault, not what is to be changed of it
        found = recipes.load(recipe, changes)
        path, held = run_folder(output, "search")
    row = searchable.row(found, recipe)
    if not resume:
        searching.check_new(path)
        found = row.prepared(found, recipe, None if data is None else Path(data))
    task = row(found)
    if not resume:
        task.check()
    with told(progress):
        result = searching.run(task, path, recipe=found, retrain=retrain)
    return Searched(path, result, held)
