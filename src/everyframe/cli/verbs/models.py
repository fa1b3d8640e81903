"""everyframe models: what is in the zoo."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from everyframe.modelfile.schema import Preprocess
    from everyframe.models.cards.card import Card, Measured


def command(
    name: Annotated[
        str | None, typer.Argument(help="Show this network's card: all that is known about it. A pattern in quotes: list those.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks that `export` and `train` know, what they cost, and what streaming makes of them.

    Example: everyframe models x3d_s
    """
    from everyframe import api

    found = api.list_models("*" if name is None else name)
    for error in found.broken:
        typer.echo(f"warning: {error}", err=True)
    one = name is not None and len(found) == 1
    if as_json:
        records = list(found.to_dict().values())
        typer.echo(json.dumps(records[0] if one else records, indent=2))
    elif one:
        _show(found[0])
    else:
        _list(found)


# --- the list ---

# heading, when it is left out of a terminal that is too narrow: the highest first, 0 never
COLUMNS = (
    ("name", 0),
    ("input", 1),
    ("params", 0),
    ("MACs", 0),
    ("top-1", 3),
    ("every", 0),
    ("delay", 0),
    ("field", 4),
    ("state", 2),
    ("a frame", 5),
    ("saves", 0),
    ("dense", 2),
)


def _list(cards: Sequence[Card]) -> None:
    from everyframe.cli.show.console import console

    out = console()
    for most in sorted({rank for _, rank in COLUMNS}, reverse=True):
        shown = [heading for heading, rank in COLUMNS if rank <= most]
        if out.fits(table := _table(cards, shown)):
            break
    out.print(table)
    typer.echo(
        "input: channels x frames x height x width. MACs: multiply-accumulates of a clip. top-1: as published, in percent.\n"
        "Streamed: a prediction every so many frames; delay: frames until the window is full; field: receptive field in frames;\n"
        "state: floats; a frame: MACs a frame; saves: against a clip run as often; dense: the same, predicting at every frame.\n"
        "Widths between these work too (shufflenet3d_0.7x). `everyframe models NAME` shows a network's card."
    )
    if len(shown) < len(COLUMNS):
        typer.echo("A wider terminal shows more columns; --json shows all.")


def _table(cards: Sequence[Card], shown: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in shown:
        table.add_column(heading, justify="left" if heading in ("name", "input") else "right", no_wrap=True)
    by_source: dict[str, list[Card]] = {}
    for found in cards:
        by_source.setdefault(found.entry.source, []).append(found)
    for source, group in sorted(by_source.items()):
        _section(table, source, group, shown)
    return table


def _section(table: Table, source: str, group: list[Card], shown: list[str]) -> None:
    from rich.text import Text

    table.add_section()
    table.add_row(Text(source, style="bold"))
    for found in group:
        cells = _cells(found)
        table.add_row(*(cells[heading] for heading in shown))


def _cells(found: Card) -> dict[str, str]:
    from everyframe.cli.show.console import count

    entry, measured = found.entry, found.measured
    top = _top1(found)
    cells = dict.fromkeys((heading for heading, _ in COLUMNS), "")
    cells |= {
        "name": f"  {entry.name}",
        "input": f"{entry.preprocess.channels}x{entry.frames}x{entry.size[0]}x{entry.size[1]}",
        "top-1": top,
    }
    if measured is not None:
        dense = measured.saving_per_frame
        cells |= {
            "params": count(measured.params),
            "MACs": count(measured.macs),
            "every": str(measured.native.hop),
            "delay": str(measured.native.delay),
            "field": str(measured.native.receptive_field or "all"),
            "state": count(measured.native.state_floats),
            "a frame": count(measured.native.macs_per_frame),
            "saves": f"{measured.saving_per_hop:.1f}x",
            "dense": f"{dense:.1f}x" if dense is not None else "-",
        }
    return cells


def _top1(found: Card) -> str:
    """A published accuracy with its data set: of the paper, else of the checkpoint."""
    from everyframe.models.checkpoints.published import published

    for figure in found.figures:
        if figure.what == "top-1":
            return f"{figure.value:g} {figure.on.replace('Kinetics-', 'K')}"
    item = next((item for item in published(found.entry.name) if item.top1), None)
    return f"{item.top1:g} {item.tag.partition('-')[0].replace('kinetics', 'K')}" if item else ""


# --- one card ---


def _show(found: Card) -> None:
    entry = found.entry
    lines = [("network", entry.name), *_facts(found), *_weights(entry.name)]
    for key, value in lines:
        typer.echo(f"{key + ':' if key else '':<15}{value}")
    typer.echo(f"next: everyframe export {entry.name} -o clip.onnx && everyframe stream clip.onnx")


def _facts(found: Card) -> list[tuple[str, str]]:
    entry, measured = found.entry, found.measured
    height, width = entry.size
    lines = [
        ("paper", entry.paper),
        ("checkpoints", f"of {entry.source} load by name" if entry.source != "everyframe" else "none published"),
        ("input", f"{entry.preprocess.channels}x{entry.frames}x{height}x{width} (channels, frames, height, width)"),
        ("classes", str(entry.num_classes)),
        ("preprocess", _preprocess(entry.preprocess)),
    ]
    for key, choices in entry.choices.items():
        lines.append(("option", f"{key}: {' or '.join(choices)}, default {entry.options[key]}"))
    lines += _costs(measured) if measured else [("cost", "not in the table; export it and ask `everyframe info`")]
    if measured and measured.golden:
        lines.append(("checked", f"differs from the original code by {measured.golden[1]:.1e} (relative L2)"))
    for i, figure in enumerate(found.figures):
        protocol = f" ({figure.protocol})" if figure.protocol else ""
        value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:g}"
        lines.append(("published" if i == 0 else "", f"{figure.what} {value}, {figure.on}{protocol}: {figure.source}"))
    return [*lines, ("note", entry.note)] if entry.note else lines


def _preprocess(given: Preprocess) -> str:
    """Such as: rgb 0..1, short side 182, crop 160x160, minus (0.45, 0.45, 0.45), over (0.225, 0.225, 0.225), 2.5 fps."""
    resize = given.resize
    steps = [
        f"{given.color} {'0..255' if given.scale == 1 else '0..1' if given.scale == 1 / 255 else f'times {given.scale:g}'}",
        f"short side {resize}" if isinstance(resize, int) else f"resize {resize[0]}x{resize[1]}" if resize else "",
        f"crop {given.crop[0]}x{given.crop[1]}" if given.crop else "",
        f"minus {given.mean}" if any(given.mean) else "",
        f"over {given.std}" if any(value != 1 for value in given.std) else "",
        f"{given.fps:g} fps" if given.fps else f"every {given.sample_every_n}. frame" if given.sample_every_n else "",
    ]
    return ", ".join(filter(None, steps))


def _costs(measured: Measured) -> list[tuple[str, str]]:
    from everyframe.cli.show.console import count

    lines = [
        ("parameters", f"{measured.params:,}"),
        ("a clip", f"{measured.macs:,} MACs ({measured.paper_flops:,} as the paper of Efficient-3DCNNs counts)"),
    ]
    rows = (
        ("streamed", measured.native, measured.saving_per_hop),
        ("dense", measured.dense, measured.saving_per_frame),
    )
    for key, streamed, saving in rows:
        if streamed is None or (key == "dense" and streamed == measured.native):
            continue
        every = "every frame" if streamed.hop == 1 else f"every {streamed.hop} frames"
        frame = count(streamed.macs_per_frame)
        field = "everything since the reset" if streamed.receptive_field is None else f"{streamed.receptive_field} frames"
        lines += [
            (key, f"a prediction at {every}: {frame} MACs a frame, {saving:.1f}x less than a clip each time"),
            ("", f"delay {streamed.delay} frames (newest fully seen {streamed.feature_delay} old)"),
            ("", f"receptive field {field}, state {streamed.state_floats:,} floats"),
        ]
    return lines


def _weights(name: str) -> list[tuple[str, str]]:
    from everyframe.models.checkpoints.published import published

    lines = []
    for i, item in enumerate(published(name)):
        where = f"{item.file} from {item.page}" if item.manual else f"--weights {item.tag}"
        top = f", top-1 {item.top1:g}" if item.top1 else ""
        protocol = f" ({item.protocol})" if item.top1 and item.protocol else ""
        color = item.preprocess.get("color")
        lines.append(("weights" if i == 0 else "", f"{where}: {item.num_classes} classes{top}{protocol}"))
        lines.append(("", f"  license {item.license}{f'; frames in {color.upper()}' if color else ''}"))
        if item.note:
            lines.append(("", f"  {item.note}"))
    return lines
