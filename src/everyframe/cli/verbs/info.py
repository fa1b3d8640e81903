"""`everyframe info`: what a model is and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[
        Path,
        typer.Argument(help="A clip or step network (ONNX), a compiled one, or the folder of a split one.", metavar="FILE"),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    rate: Annotated[str, typer.Option(help="For a clip network: facts at the native rate or dense.")] = "native",
    layout: Annotated[str | None, typer.Option(help="For a clip network: axis order of its input (default: NCTHW).")] = None,
) -> None:
    """Show a network's temporal facts, delay, work, parameters, state and transient memory, layer by layer.

    For a clip network: every tensor with the stream frames between two of its frames (every) and its delay.

    What a stream takes when the network is compiled for this machine; also for a library that `compile` made.

    Example: everyframe info x3d_m.step.onnx
    """
    import json

    from everyframe import api
    from everyframe.cli.show.models import show_info, show_library, show_split

    found = api.info(file, rate=rate, layout=layout)
    show = show_split if found["kind"] == "split" else show_library if "cpu" in found else show_info
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        show(found)
