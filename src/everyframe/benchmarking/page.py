"""A benchmark as one HTML page that holds everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType

from everyframe.benchmarking.draw import pictures
from everyframe.benchmarking.machine import one_line
from everyframe.benchmarking.operators import Operators
from everyframe.benchmarking.outcome import Benchmark
from everyframe.benchmarking.report import Table
from everyframe.benchmarking.stages import Stages
from everyframe.pages import document, image, table


def page(
    title: str, found: Benchmark, made: Sequence[Table], stages: Sequence[Stages] = (), layers: Sequence[Operators] = (),
    more: Mapping[str, bytes] = MappingProxyType({}),
) -> str:  # fmt: skip
    """made: the tables that it shows. more: pictures beside those of every benchmark, by what they show."""
    notes = [*(["Interrupted: what was measured until then."] if found.partial else []), *found.notes]
    skipped = [f"{row.name}: {row.skipped}" for row in found.rows if row.skipped]
    parts = [f"<h1>{escape(title)}</h1>", f'<p class="soft">{escape(one_line(found.machine))}</p>']
    parts += [f'<p class="warn">{"<br>".join(escape(note[0].upper() + note[1:]) for note in notes)}</p>'] if notes else []
    parts += [_table(one) for one in made]
    if skipped:
        parts.append("<h2>Not measured</h2>" + "".join(f"<p>{escape(line)}</p>" for line in skipped))
    drawn = {**more, **pictures(found, stages, layers)}
    parts += [f"<h2>{escape(heading)}</h2>" + image(png, heading) for heading, png in drawn.items()]
    return document(title, parts)


def _table(one: Table) -> str:
    rows = [[escape(str(cell)) for cell in row] for row in one.rows]
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in one.notes)
    return f"<h2>{escape(one.title)}</h2>" + table([escape(name) for name in one.columns], rows) + notes
