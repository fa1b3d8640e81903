"""Standard output, and what all verbs write alike: names, counts, durations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from everyframe.errors import UsageError

if TYPE_CHECKING:
    from everyframe.modelfile.schema import Task


_WORDS = 12  # columns of a terminal in which words may be wrapped


class Out(Console):
    """A table that does not fit becomes a list, since a number that is cut off is another number."""

    def print(self, *objects: Any, **options: Any) -> None:
        fitting = (self._listed(each) if isinstance(each, Table) and not self.fits(each) else each for each in objects)
        super().print(*fitting, **options)

    def fits(self, table: Table) -> bool:
        """With whole numbers, and whole words where they must not be wrapped."""
        room = self.width - (table.box is not None)
        for column in table.columns:
            widest = max(Measurement.get(self, self.options, cell).maximum for cell in (column.header, *column.cells))
            whole = column.justify == "right" or column.no_wrap
            room -= (widest if whole else min(widest, _WORDS)) + sum(table.padding[1::2]) + (table.box is not None)
        return room >= 0

    def _listed(self, table: Table) -> Text:
        """The first cell of a row, below it the others behind the names of their columns."""

        def plain(cell: Any) -> str:
            return (self.render_str(cell) if isinstance(cell, str) else cell).plain.strip()

        names = [plain(column.header) for column in table.columns]
        lines = [plain(table.title)] if table.title else []
        for first, *others in zip(*(map(plain, column.cells) for column in table.columns), strict=True):
            lines.append(first)
            for name, cell in zip(names[1:], others, strict=True):
                part = f"{name} {cell}".strip()
                if cell and lines[-1].startswith(" ") and len(lines[-1]) + len(part) + 2 <= self.width:
                    lines[-1] += f"  {part}"
                elif cell:
                    lines.append(f"  {part}")
        return Text("\n".join(lines))


def console(width: int = 140) -> Out:
    """Standard output; wide enough for tables when it is not a terminal: so many columns."""
    made = Out(highlight=False, soft_wrap=False)
    return made if made.is_terminal else Out(highlight=False, width=width)


def named(model: str | Path) -> Path:
    """What results are called after: the file, also of the model that comes with the package."""
    from everyframe.runtime.program import BUILTIN

    return Path(BUILTIN.name) if str(model) == "builtin" else Path(model)


def count(n: float) -> str:
    """1234567 -> '1.23 M'."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(n) >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f}"


def duration(frames: int, ms: float | None) -> str:
    return f"{frames} frame{'s' if frames != 1 else ''}" + (f" ({ms:.0f} ms)" if ms is not None else "")


def padded(text: str, width: int) -> str:
    """With spaces behind it to so many columns of a terminal, in which some letters take two."""
    from rich.cells import cell_len

    return text + " " * (width - cell_len(text))


def middle(text: str, width: int, at: float = 0.5) -> str:
    """`a long na….mp4`: what is too long for so many columns loses what is in its middle, or at another part of it."""
    from rich.cells import cell_len

    if cell_len(text) <= width:
        return text
    for kept in range(min(len(text), max(width, 1)) - 1, 0, -1):
        head = round(kept * at)
        short = text[:head] + "…" + text[len(text) - (kept - head) :]
        if cell_len(short) <= width:
            return short
    return "…"


def read_size(text: str | None) -> int | tuple[int, int] | None:
    """S or HxW: 160 from "160", (96, 160) from "96x160". Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise UsageError("The frame size cannot be read.", got=text, expected="S or HxW, such as 160 or 96x160")
    return (int(match[1]), int(match[2])) if match[2] else int(match[1])


def read_values(given: list[str] | None) -> dict[str, str]:
    """{"h0": "0"} from ["h0=0"]. Raises UsageError."""
    pairs = [text.partition("=") for text in given or ()]
    for name, sign, value in pairs:
        if not (name and sign and value):
            raise UsageError("This value cannot be read.", got=name + sign + value, expected="NAME=VALUE, h0=0 or h0=h0.npy")
    return {name: value for name, _, value in pairs}


def as_task(name: str | None) -> Task | None:
    """Raises UsageError for a task that there is not."""
    from typing import get_args

    from everyframe.errors import UsageError
    from everyframe.modelfile.schema import Task

    tasks: tuple[Task, ...] = get_args(Task)
    found = next((task for task in tasks if task == name), None)
    if name is not None and found is None:
        raise UsageError("There is no such task.", where=f"--task {name}", expected=", ".join(tasks), got=name)
    return found
