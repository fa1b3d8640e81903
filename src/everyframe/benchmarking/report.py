"""Results as a table on the screen, as JSON, and as the generated parts of a Markdown page."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everyframe.errors import OutputError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 150  # of tables, where it is no terminal


@dataclass
class Table:
    """rows: one value a column; numbers are shown as they are given, so round or format them first."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def show(self, out: Console | None = None) -> None:
        """Prints to standard output, or to `out`."""
        from rich.console import Console
        from rich.table import Table as RichTable

        if out is None:
            out = Console(highlight=False)
            out = out if out.is_terminal else Console(highlight=False, width=WIDTH)
        table = RichTable(title=self.title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for i, name in enumerate(self.columns):
            table.add_column(name, justify="right" if self._is_number(i) else "left")
        for row in self.rows:
            table.add_row(*map(str, row))
        out.print(table)
        for note in self.notes:
            out.print(f"  {note}", markup=False)
        out.print()

    def markdown(self) -> str:
        lines = [f"**{self.title}**", ""]
        lines.append(f"| {' | '.join(self.columns)} |")
        lines.append(f"|{'|'.join('---:' if self._is_number(i) else '---' for i in range(len(self.columns)))}|")
        lines += [f"| {' | '.join(map(str, row))} |" for row in self.rows]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)

    def _is_number(self, column: int) -> bool:
        values = [str(row[column]) for row in self.rows]
        return bool(values) and all(re.fullmatch(r"[-+]?[\d.,]+( ?[a-zµ%]{1,3})?|–|", value) for value in values)


def save(path: Path, results: dict[str, Any]) -> Path:
    """Writes JSON. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError("The results cannot be written.", where=path, got=error.strerror or str(error)) from None
    return path


def fill(text: str, name: str, content: str) -> str:
    """`text` with `content` between its markers `<!-- name -->` and `<!-- end of name -->`. Raises UsageError."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UsageError("The page has no place for these results.", expected=f"{start} and {end}")
    return f"{before}{start}\n\n{content}\n\n{end}{after}"
