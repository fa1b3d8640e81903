"""`everyframe bundle`: a folder that a board's own tools take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everyframe.targets import listed

if TYPE_CHECKING:
    from everyframe.api.bundled import Bundled


def command(
    model: Annotated[Path, typer.Argument(help="A clip or step model, or builtin.", metavar="MODEL")],
    target: Annotated[str, typer.Option("--target", "-t", help=f"{listed('bundle')}.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder to write.", metavar="DIR", show_default=False)
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="Videos like those it will see: a file, a folder, or a pattern in quotes. Not needed for web without --int8.",
            metavar="VIDEOS",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Inputs kept for calibration, evenly spread over all videos.")] = 100,
    single_file: Annotated[
        Path | None, typer.Option(help="web: one HTML file, instead of a folder.", metavar="PAGE.html", show_default=False)
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="web: weights of bytes, calibrated on the videos.")] = False,
    teach: Annotated[
        bool, typer.Option("--teach/--no-teach", help="web: whether the page learns gestures; the file is smaller without.")
    ] = True,
    weights: Annotated[
        str,
        typer.Option(
            help="web: auto (16 bits, a third less to load, if the answers stay within 1e-4), fp32, or int16: 16 bits always."
        ),
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write all that a device needs: the model made to fit, calibration, settings, a program, and the commands.

    For web that is a page which recognizes what a camera sees, in the browser itself.

    Example: everyframe bundle clip.onnx --target rdk-s100 --calibrate videos -o s100
    """
    from everyframe import api
    from everyframe.errors import UsageError
    from everyframe.progress import status

    if (output is None) == (single_file is None):
        raise UsageError(
            "A bundle is a folder or one file.", where="--output", expected="-o DIR, or for web --single-file PAGE.html",
            got="neither" if output is None else "both",
        )  # fmt: skip
    with status("reading") as progress:
        made = api.bundle(
            model, target, calibrate, output, samples=samples, single_file=single_file, int8=int8, teach=teach, weights=weights,
            progress=progress,
        )  # fmt: skip
    show(made, as_json)


def show(made: Bundled, as_json: bool) -> None:
    import json

    if as_json:
        print(json.dumps(made.to_dict()))
        return
    print(f"{made.path} for {made.target}: {', '.join(made.files)}")
    if made.rewrites:
        print(f"  made to fit: {', '.join(made.rewrites)}")
    for finding in made.findings:
        print(f"  does not fit: {finding}")
    if made.samples:
        print(f"  {made.samples} samples for calibration")
    if made.similarity is not None:
        print(f"  its program beside the float network, on video0.npy: cosine {made.similarity:.6f}")
    for note in made.notes:
        print(f"  note: {note}")
    if made.command:
        print(f"next, in {made.path}: {made.command}")
