"""everyframe demo: the built-in model on the built-in video, to see that everything works and what it looks like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from everyframe.runtime import Program

SAMPLE = Path(__file__).resolve().parents[2] / "assets" / "sample.mp4"


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the timeline picture.", metavar="DIR")] = Path(
        "demo"
    ),
    web: Annotated[
        bool, typer.Option("--web", help="Write a web page instead, and open it: the video at one click, or your camera.")
    ] = False,
) -> None:
    """Recognize the hand motions in the built-in video with the built-in model. Needs nothing else: no network, no
    camera.

    Example: everyframe demo --output demo
    """
    import everyframe
    from everyframe.cli.show.live import choose
    from everyframe.cli.show.outcome import exit_code, summary
    from everyframe.cli.show.watch import watch
    from everyframe.errors import SourceError
    from everyframe.files import check_writable, results_in
    from everyframe.video import resolve

    if not SAMPLE.exists():
        raise SourceError("This installation has no sample video.", where=SAMPLE, hint="install everyframe from a wheel")
    if web:
        with results_in(output):
            return show_page(output / "everyframe.html")
    picture = output / "timeline.png"
    with results_in(output), everyframe.open("builtin") as program:
        check_writable(picture)
        # a person at a terminal wants to watch; anything else wants to be done
        sources = resolve(SAMPLE)
        (tally,) = watch({program.name: program}, sources, [choose(program, sources)], picture, realtime=sys.stdout.isatty())
        typer.echo(summary(tally, program, several=False))
        if (line := work(program)) is not None:
            typer.echo(f"work         {line}")
    if not tally.interrupted and not tally.failed:
        typer.echo("next         everyframe predict builtin 0        (your own camera; or a video file)")
    raise typer.Exit(exit_code(tally, several=False))


def show_page(path: Path) -> None:
    """Writes the page of the built-in model; a person at a terminal gets it opened."""
    import webbrowser

    from everyframe.bundles import page
    from everyframe.progress import status
    from everyframe.runtime import BUILTIN

    with status("compiling") as progress:
        made = page(BUILTIN, path, sample=SAMPLE, progress=progress).path.resolve()
    typer.echo(f"page         {made}")
    if not (sys.stdout.isatty() and webbrowser.open(made.as_uri())):
        typer.echo(f"open         {made.as_uri()}")


def work(program: Program) -> str | None:
    """What a prediction costs, beside running the clip network again for each; None where that cannot be said exactly.

    At the native rate a clip of T frames is T / hop steps, padding counted, so the clip's work follows from the step's.
    """
    from everyframe.conversion import info

    meta = program.metadata
    if meta.kind != "step" or meta.rate != "native":
        return None
    step = info(program.path)["macs_per_step"]
    times = meta.frames / meta.hop
    return (
        f"{_count(step)} multiply-adds a prediction; running the {meta.frames}-frame clip again for each "
        f"would take {_count(step * times)}, {times:.3g} times as much"
    )


def _count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"
