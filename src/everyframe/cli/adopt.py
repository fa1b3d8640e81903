"""`everyframe import`: a network of others, with a mapping of its tensors, as a model of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="An ONNX file: a clip network, or a step network with states.", metavar="MODEL")],
    mapping: Annotated[Path, typer.Option(help="TOML: which tensors are frames, states and logits.", metavar="FILE.toml")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model to write.", metavar="OUT.onnx")],
) -> None:
    """Write a network of others with the metadata that every verb needs: states, preprocessing, labels.

    Example: everyframe import movinet.onnx --mapping movinet.toml -o step.onnx
    """
    from everyframe.program import contract
    from everyframe.program.foreign import adopt, read_mapping

    contract.check_writable(output)
    made = adopt(contract.load(model), read_mapping(mapping), mapping.parent)
    contract.save(made, output)
    metadata = contract.metadata_of(made)
    if metadata is not None:
        states = f"{len(metadata.states)} states" if metadata.states else "no states"
        print(f"{model} -> {output}: a {metadata.kind} model, {states}, {len(metadata.labels or ())} labels")
    print(f"next: everyframe info {output}")
