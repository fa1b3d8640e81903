"""everyframe export: a network of the zoo into a clip model."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everyframe.targets import listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from everyframe.api.results import ClipModel


def command(
    name: Annotated[str, typer.Argument(help="A network of the zoo; `everyframe models` lists them.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="What to write. [default: NAME.onnx, or the folder NAME_TARGET]")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames a clip, T. [default: that of the published network]")] = None,
    size: Annotated[str | None, typer.Option(help="Frame size: S, or HxW. [default: that of the published network]")] = None,
    num_classes: Annotated[int | None, typer.Option(help="Classes. [default: the checkpoint's, else one a label]")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels in the order of the logits, one a line, or JSON.")] = None,
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
        str | None,
        typer.Option("--target", "-t", help=f"Write a folder for a device, as `everyframe bundle` does: {listed('bundle')}."),
    ] = None,
    calibrate: Annotated[str | None, typer.Option(help="With --target: videos like those it will see.", metavar="VIDEOS")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a network as a clip model (ONNX), checked against torch. Needs `pip install 'everyframe[train]'`.

    Example: everyframe export x3d_s -o clip.onnx --weights x3d_s.safetensors --labels kinetics400.txt
    """
    from everyframe import api
    from everyframe.cli.show.console import read_size
    from everyframe.errors import UsageError

    if (target is None) != (calibrate is None):
        raise UsageError("A folder for a device needs a target and videos.", where="--target, --calibrate", hint="give both")
    write = functools.partial(
        api.export, name, frames=frames, size=read_size(size), labels=labels, weights=weights, num_classes=num_classes,
        options=_options(options or []), seed=seed,
    )  # fmt: skip
    if target is not None and calibrate is not None:
        _bundle(name, write, output or Path(f"{name}_{target}"), target, calibrate, as_json)
        return
    made = write(output or Path(f"{name}.onnx"))
    if as_json:
        typer.echo(json.dumps(made.to_dict()))
    else:
        _show(made, name)


def _bundle(name: str, write: Callable[[], ClipModel], folder: Path, target: str, calibrate: str, as_json: bool) -> None:
    from everyframe import api
    from everyframe.bundles.make import check
    from everyframe.cli.verbs.bundle import show
    from everyframe.modelfile.file import Held
    from everyframe.progress import status

    check(folder, target)  # before the long work
    model = write().model
    with status("reading") as progress:
        made = api.bundle(Held(model, f"{name}.onnx"), target, calibrate, folder, progress=progress)
    show(made, as_json)


def _show(result: ClipModel, name: str) -> None:
    operators = ", ".join(f"{op} {n}" for op, n in result.nodes.items())
    typer.echo(f"{name} -> {result.path}")
    typer.echo(f"  input   clip {result.input_shape} float32")
    typer.echo(f"  output  logits (1, {result.classes})" + (" with labels" if result.metadata.labels else ""))
    typer.echo(f"  nodes   {sum(result.nodes.values())}: {operators}")
    typer.echo(f"  check   torch and onnxruntime differ by {result.difference:.1e} (relative, on 2 random clips)")
    for note in result.notes:
        typer.echo(f"  note    {note}")
    typer.echo(f"next: everyframe stream {result.path}")


def _options(texts: list[str]) -> dict[str, str]:
    """{"shortcut": "A"} from ["shortcut=A"]. Raises UsageError."""
    from everyframe.errors import UsageError

    for text in texts:
        if "=" not in text:
            raise UsageError("The option cannot be read.", got=text, expected="KEY=VALUE, such as shortcut=A")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}
