"""What was measured of models for other tasks than recognition, on the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import typer
from rich import box
from rich.table import Table

from everyframe.cli.show.console import console

#: columns of words; numbers are put to the right
_WORDS = ("class", "difficulty", "picture", "network", "classifier")


class Quality(Protocol):
    """planned: how many there were to measure; missing: of them, how many were not come to; skipped: which cannot be, and why."""

    @property
    def model(self) -> str: ...
    @property
    def heading(self) -> Sequence[str]: ...
    @property
    def planned(self) -> int: ...
    @property
    def missing(self) -> int: ...
    @property
    def skipped(self) -> Sequence[str]: ...
    def table(self) -> list[tuple[str, ...]]: ...
    def summary(self) -> str: ...
    def to_dict(self) -> dict[str, Any]: ...


def show(found: Quality, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    out, table = console(), Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in found.heading:
        table.add_column(name, justify="left" if name in _WORDS else "right", no_wrap=True)
    for row in found.table():
        table.add_row(*row)
    out.print(table)
    for skipped in found.skipped:
        out.print(f"skipped: {skipped}", markup=False, soft_wrap=True)
    if found.missing:
        out.print(f"PARTIAL: ended before {found.missing} of {found.planned} were measured", markup=False)
    out.print(f"{found.model}, {found.summary()}", markup=False, soft_wrap=True)
