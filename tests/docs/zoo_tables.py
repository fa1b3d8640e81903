"""The tables of docs/zoo.md, from what `make zoo` measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from everyframe import models
from everyframe.models.cards.card import Card, card

PAGE = Path(__file__).resolve().parents[2] / "docs" / "zoo.md"


def page(text: str) -> str:
    """The page with its tables as they are now: what stands between `<!-- NAME -->` and `<!-- end -->`."""
    for name, table in TABLES.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda m, table=table: m[1] + table() + m[2], text, flags=re.DOTALL)  # type: ignore[misc]
    return text


def _markdown(headings: Iterable[str], rows: Iterable[Iterable[str]], left: int) -> str:
    headings = list(headings)
    rule = ["---"] * left + ["--:"] * (len(headings) - left)
    lines = [headings, rule, *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cards() -> list[Card]:
    return [card(name) for name in models.list()]


def _all() -> str:
    headings = ("network", "clip (TxHxW)", "params", "MACs a clip", "golden", "every", "delay", "field", "state floats")
    headings += ("MACs a frame", "saves", "dense: state", "MACs a frame", "saves")

    def row(found: Card) -> list[str]:
        entry, measured = found.entry, found.measured
        if measured is None:
            raise RuntimeError(f"{entry.name} was never measured: run `make zoo ARGS={entry.name}`")
        native, dense = measured.native, measured.dense
        shape = f"{entry.frames}x{entry.size[0]}x{entry.size[1]}"
        cells = [f"`{entry.name}`", shape, f"{measured.params:,}", f"{measured.macs:,}"]
        field = native.receptive_field or "all"  # everything since the reset
        cells += [f"{measured.golden[1]:.0e}" if measured.golden else "", native.hop, native.delay, field]
        cells += [f"{native.state_floats:,}", f"{native.macs_per_frame:,.0f}", f"{measured.saving_per_hop:.2f}"]
        if dense is None:
            return [*map(str, cells), "refused", "", ""]
        if dense == native:
            return [*map(str, cells), "the same", "", ""]
        dense_cells = (f"{dense.state_floats:,}", f"{dense.macs_per_frame:,.0f}", f"{measured.saving_per_frame:.2f}")
        return [*map(str, cells), *dense_cells]

    return _markdown(headings, map(row, _cards()), left=2)


def _against_co3d() -> str:
    def rows() -> Iterable[list[str]]:
        for found in _cards():
            figure = next((f for f in found.figures if f.what == "FLOPs saved by streaming"), None)
            if figure and found.measured and found.measured.dense:
                native, dense = found.measured.native, found.measured.dense
                step = found.measured.macs / native.macs_per_step
                frame = found.measured.macs / native.macs_per_frame
                yield [
                    f"`{found.entry.name}`",
                    f"{figure.value:g}",
                    f"{step:.2f}",
                    f"{frame:.2f}",
                    f"{found.measured.macs / dense.macs_per_step:.2f}",
                ]

    headings = ("network", "printed", "a clip over a step", "a clip over a frame's share", "a clip over a dense step")
    return _markdown(headings, rows(), left=1)


def _states() -> str:
    def rows() -> Iterable[list[str]]:
        for found in _cards():
            if found.measured and found.measured.library:
                frames, size, ours, theirs = found.measured.library
                yield [f"`{found.entry.name}`", f"{frames}x{size}x{size}", f"{ours:,}", "", f"{theirs:,}"]
            paper = next((f for f in found.figures if f.what == "state floats"), None)
            library = next((f for f in found.figures if f.what == "state floats of continual-inference"), None)
            if found.measured and (paper or library):
                shape = f"{found.entry.frames}x{found.entry.size[0]}x{found.entry.size[1]}"
                printed = f"{paper.value:,.0f}" if paper else ""
                theirs_text = f"{library.value:,.0f}" if library else ""
                yield [f"`{found.entry.name}`", shape, f"{found.measured.native.state_floats:,}", printed, theirs_text]

    return _markdown(("network", "clip", "ours", "the paper's", "continual-inference's"), rows(), left=2)


def _paper_flops() -> str:
    def rows() -> Iterable[list[str]]:
        for found in _cards():
            figure = next((f for f in found.figures if f.what == "MFLOPs"), None)
            if figure and found.measured:
                flops = found.measured.paper_flops / 1e6
                yield [f"`{found.entry.name}`", f"{found.measured.macs / 1e6:.1f}", f"{figure.value:g}", f"{flops:.1f}"]

    return _markdown(("network", "MMACs", "printed MFLOPs", "counted the paper's way"), rows(), left=1)


TABLES: dict[str, Callable[[], str]] = {
    "all networks": _all,
    "against co3d": _against_co3d,
    "states": _states,
    "paper flops": _paper_flops,
}
