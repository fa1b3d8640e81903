"""`everyframe import`: a network of others, with a mapping of its tensors, as a model of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="An ONNX file: a clip network, or a step network with states.", metavar="MODEL")],
    mapping: Annotated[Path, typer.Option(help="TOML: which tensors are frames, states and logits.", metavar="FILE.toml")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model to write.", metavar="OUT.onnx")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a network of others with the metadata that every verb needs: states, preprocessing, labels.

    Example: everyframe import movinet.onnx --mapping movinet.toml -o step.onnx
    """
    from everyframe import api

    made = api.import_model(model, mapping, output)
    found = made.to_dict()
    if as_json:
        typer.echo(json.dumps(found))
        return
    print(f"{model} -> {output}: a {found['kind']} model, {found['states'] or 'no'} states, {found['labels']} labels")
    print(f"next: everyframe info {output}")
