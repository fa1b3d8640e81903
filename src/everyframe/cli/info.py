"""`everyframe info`: what a model is and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="A clip or step network (ONNX).", metavar="FILE.onnx")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    rate: Annotated[str, typer.Option(help="For a clip network: facts at the native rate or dense.")] = "native",
    layout: Annotated[str, typer.Option(help="For a clip network: axis order of its input.")] = "NCTHW",
) -> None:
    """Show a network's temporal facts, delay, work, parameters, state and transient memory, layer by layer.

    For a clip network: every tensor with the stream frames between two of its frames (every) and its delay.

    Example: everyframe info x3d_m.step.onnx
    """
    import json

    from everyframe.cli.show import show_info
    from everyframe.program import info
    from everyframe.program.facts import Options

    found = info(file, Options(rate=rate, layout=layout))
    if as_json:
        print(json.dumps(found))
    else:
        show_info(found)
