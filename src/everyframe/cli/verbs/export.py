"""everyframe export: a network of the zoo into a clip model."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from everyframe.models import Exported


def command(
    name: Annotated[str, typer.Argument(help="A network of the zoo; `everyframe models` lists them.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="What to write. [default: NAME.onnx, or the folder NAME_TARGET]")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames a clip, T. [default: that of the published network]")] = None,
    size: Annotated[str | None, typer.Option(help="Frame size: S, or HxW. [default: that of the published network]")] = None,
    num_classes: Annotated[int | None, typer.Option(help="Classes. [default: the checkpoint's, else one a label]")] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file, one label a line, in the order of the logits.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="A .safetensors file, a torch checkpoint, or the tag of published weights, such as kinetics400, "
            "which are downloaded. [default: random]"
        ),
    ] = None,
    options: Annotated[list[str] | None, typer.Option("--option", help="KEY=VALUE, as `everyframe models NAME` offers.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of random weights and of the clips the file is checked with.")] = 0,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Write a folder for this device, as `everyframe bundle` does.")
    ] = None,
    calibrate: Annotated[str | None, typer.Option(help="With --target: videos like those it will see.", metavar="VIDEOS")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a network as a clip model (ONNX), checked against torch. Needs `pip install 'everyframe[train]'`.

    Example: everyframe export x3d_s -o clip.onnx --weights x3d_s.safetensors --labels kinetics400.txt
    """
    from everyframe.cli.show.console import read_size
    from everyframe.errors import UsageError
    from everyframe.models import export

    if (target is None) != (calibrate is None):
        raise UsageError("A folder for a device needs a target and videos.", where="--target, --calibrate", hint="give both")
    write = functools.partial(
        export,
        name,
        frames=frames,
        size=read_size(size),
        labels=labels,
        weights=weights,
        num_classes=num_classes,
        options=_options(options or []),
        seed=seed,
    )
    if target is not None and calibrate is not None:
        from everyframe.cli.verbs import bundle

        folder = output or Path(f"{name}_{target}")
        bundle.check(folder, target)
        with tempfile.TemporaryDirectory() as beside:
            path = Path(beside) / f"{name}.onnx"
            write(path)
            bundle.command(path, target, folder, calibrate, as_json=as_json)
        return
    path = output or Path(f"{name}.onnx")
    _show(write(path), name, path, as_json)


def _show(result: Exported, name: str, path: Path, as_json: bool) -> None:
    if as_json:
        provenance = result.metadata.provenance
        record = {
            "path": str(path),
            "model": name,
            "input": result.input_shape,
            "classes": result.classes,
            "nodes": result.nodes,
            "difference": result.difference,
            "weights_sha256": provenance.weights_sha256,
            "notes": result.notes,
        }
        typer.echo(json.dumps(record))
        return
    operators = ", ".join(f"{op} {n}" for op, n in result.nodes.items())
    typer.echo(f"{name} -> {path}")
    typer.echo(f"  input   clip {result.input_shape} float32")
    typer.echo(f"  output  logits (1, {result.classes})" + (" with labels" if result.metadata.labels else ""))
    typer.echo(f"  nodes   {sum(result.nodes.values())}: {operators}")
    typer.echo(f"  check   torch and onnxruntime differ by {result.difference:.1e} (relative, on 2 random clips)")
    for note in result.notes:
        typer.echo(f"  note    {note}")
    typer.echo(f"next: everyframe stream {path}")


def _options(texts: list[str]) -> dict[str, str]:
    """{"shortcut": "A"} from ["shortcut=A"]. Raises UsageError."""
    from everyframe.errors import UsageError

    for text in texts:
        if "=" not in text:
            raise UsageError("The option cannot be read.", got=text, expected="KEY=VALUE, such as shortcut=A")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}
