"""everyframe models: what is in the zoo."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from everyframe.models import Entry


def command(
    name: Annotated[str | None, typer.Argument(help="Show this network only, with all details.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks that `export` and `train` know, or show one of them.

    Example: everyframe models x3d_s
    """
    from everyframe import models

    if name is None:
        entries = [models.describe(each) for each in models.list()]
        typer.echo(json.dumps([_record(entry) for entry in entries], indent=2)) if as_json else _table(entries)
        return
    record = _record(models.describe(name))
    if as_json:
        typer.echo(json.dumps(record, indent=2))
        return
    for key, value in record.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items() if v is not None) if isinstance(value, dict) else value
        if shown not in ("", None):
            typer.echo(f"{key + ':':<14}{shown}")
    typer.echo(f"next: everyframe export {name} -o clip.onnx")


def _record(entry: Entry) -> dict[str, Any]:
    height, width = entry.size
    return {
        "name": entry.name,
        "input": f"3x{entry.frames}x{height}x{width}",
        "classes": entry.num_classes,
        "paper": entry.paper,
        "checkpoints": entry.source,
        "preprocess": entry.preprocess.model_dump(),
        "least_frames": entry.min_frames,
        "least_size": entry.min_size,
        "note": entry.note,
    }


def _table(entries: list[Entry]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True)
    table.add_column("input (CxTxHxW)", no_wrap=True)
    table.add_column("paper")
    for entry in entries:
        record = _record(entry)
        table.add_row(entry.name, record["input"], entry.paper)
    Console().print(table)
    typer.echo("mobilenet3d_v2_WIDTHx works for any width from 0.1 to 4.")
