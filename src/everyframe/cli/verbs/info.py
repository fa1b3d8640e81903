"""`everyframe info`: what a model is and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    file: Annotated[
        Path,
        typer.Argument(help="A clip or step network (ONNX), a compiled one, or the folder of a split one.", metavar="FILE"),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    rate: Annotated[str, typer.Option(help="For a clip network: facts at the native rate or dense.")] = "native",
    layout: Annotated[str, typer.Option(help="For a clip network: axis order of its input.")] = "NCTHW",
) -> None:
    """Show a network's temporal facts, delay, work, parameters, state and transient memory, layer by layer.

    For a clip network: every tensor with the stream frames between two of its frames (every) and its delay.

    What a stream takes when the network is compiled for this machine; also for a library that `compile` made.

    Example: everyframe info x3d_m.step.onnx
    """
    import json

    from everyframe.cli.show.models import show_info, show_library, show_split
    from everyframe.conversion import info
    from everyframe.conversion.account import info_split
    from everyframe.conversion.facts import Options
    from everyframe.modelfile.manifest import is_split
    from everyframe.native import artifact

    if is_split(file):
        found, show = info_split(file), show_split
    elif artifact.is_library(file):
        found, show = _library(file), show_library
    else:
        found, show = {**info(file, Options(rate=rate, layout=layout)), "compiled": _compiled(file)}, show_info
    if as_json:
        print(json.dumps(found))
    else:
        show(found)


def _library(file: Path) -> dict[str, Any]:
    """What a compiled model says of itself."""
    from everyframe.modelfile.file import metadata_of
    from everyframe.native import artifact

    facts = artifact.read(file)
    metadata = metadata_of(facts.pop("model"), file)
    return {"file": str(file), "kind": metadata.kind if metadata else "clip" if facts["clip"] else "step", **facts}


def _compiled(file: Path) -> dict[str, Any]:
    """Memory of the model when it is compiled for this machine, or why it cannot be."""
    from everyframe.errors import ModelError
    from everyframe.modelfile.file import load, metadata_of
    from everyframe.native.generate import planned
    from everyframe.native.memory import account
    from everyframe.native.target import target

    model = load(file)
    metadata = metadata_of(model, file)
    try:
        return account(*planned(model, metadata.states if metadata else (), target("native"), file.name))
    except ModelError as error:
        return {"refused": " ".join(str(part) for part in (error.what, error.where) if part)}
