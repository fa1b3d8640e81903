"""HTML pages that hold everything: no scripts, no other files, one look for all reports, readable on a phone."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; --ink: #1c2026; --soft: #68707a; --faint: #e2e6eb; --blank: #f5f7f9; --blue: #2563b4; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1.1rem 4rem; background: #fff; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid var(--faint); padding-bottom: .25rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; margin: 1.1rem 0; }
.card { background: var(--blank); border-radius: .6rem; padding: .75rem .9rem; }
.card b { display: block; font-size: 1.65rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.card.live { background: var(--blue); color: #fff; } .card.live .soft { color: #dbe6f5; }
.card span { display: block; font-size: .86rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .28rem .7rem; border-bottom: 1px solid var(--faint); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); } th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.words { text-align: left; white-space: normal; }
img { max-width: 100%; min-width: 36rem; height: auto; display: block; }
pre { background: var(--blank); border-radius: .6rem; padding: .8rem .9rem; overflow-x: auto;
  font-size: .84rem; line-height: 1.45; }
.warn { background: #fff4e5; border-left: 4px solid #d66026; padding: .6rem .9rem; border-radius: .3rem; }
details summary { cursor: pointer; color: var(--blue); margin: .5rem 0; }
@media print { body { max-width: none; } details { display: block; } }
"""


def document(title: str, parts: Sequence[str]) -> str:
    """A page of parts that are HTML already; empty ones are left out."""
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def image(png: bytes, what: str) -> str:
    """what: for those who do not see it."""
    data = base64.b64encode(png).decode()
    return f'<div class="scroll"><img alt="{escape(what)}" src="data:image/png;base64,{data}"></div>'


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[int] = ()) -> str:
    """Cells are HTML already. words: columns that hold text."""

    def cells(row: Sequence[str]) -> str:
        return "".join(f'<td class="words">{cell}</td>' if i in words else f"<td>{cell}</td>" for i, cell in enumerate(row))

    head = "".join(f"<th>{cell}</th>" for cell in heading) if any(heading) else ""
    body = "".join(f"<tr>{cells(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>{f"<tr>{head}</tr>" if head else ""}{body}</table></div>'
