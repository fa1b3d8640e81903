"""`everyframe split`: a step model as several models, for accelerators that keep no state and for pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="A step model (ONNX), float or quantized, or builtin.", metavar="STEP.onnx")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.", metavar="DIR")],
    at: Annotated[
        list[str] | None, typer.Option("--at", help="Cut behind this node or tensor; may be given several times.", metavar="NAME")
    ] = None,
    stages: Annotated[
        int | None, typer.Option(min=2, help="Cut into so many stages that take the same time, as measured here.", metavar="K")
    ] = None,
    dump: Annotated[
        str | None,
        typer.Option(help="Run these videos and keep what each stage is given, for vendors' calibration.", metavar="VIDEOS"),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="With --dump: steps that are kept, evenly spread over all videos.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Cut a step model at its states, behind named nodes, or into stages of the same duration.

    The folder holds one ONNX file a stage and a manifest of how tensors and states flow. `predict` and `info` take the folder.

    Example: everyframe split tsm.step.onnx -o tsm_split
    """
    import json

    from everyframe import api
    from everyframe.cli.show.models import show_split
    from everyframe.progress import status

    with status("reading") as progress:
        made = api.split(model, output, at=at or (), stages=stages, dump=dump, samples=samples, progress=progress)
    found = made.to_dict()
    if as_json:
        print(json.dumps(found))
        return
    show_split(found)
    said = f"\nsays what the whole model says, in every bit; optimized, the largest relative difference is {made.difference:.1e}"
    print(said)
    if made.samples is not None:
        print(f"{made.samples} samples for each stage in {output / 'calibration'}")
        for error in made.broken:
            print(f"  not read to the end: {error.where}: {error.what}")
