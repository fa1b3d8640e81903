"""`everyframe stream`: a clip network becomes a step network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    clip: Annotated[Path, typer.Argument(help="The clip network, an ONNX file with input (1, C, T, H, W).", metavar="CLIP.onnx")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The step network to write (default: CLIP.step.onnx).", metavar="STEP.onnx"),
    ] = None,
    rate: Annotated[
        str,
        typer.Option(
            help="native: a step takes as many frames as the temporal strides multiply to. "
            "dense: a prediction at every frame (strides become dilations)."
        ),
    ] = "native",
    window: Annotated[
        int | None, typer.Option(help="Feature frames that the head averages (default: those of the clip).")
    ] = None,
    se: Annotated[
        str, typer.Option(help="Squeeze-and-excite sees one frame (no state) or the clip's window of frames.")
    ] = "frame",
    taps: Annotated[
        str, typer.Option(help="trained: remove kernel taps that never met a frame in the clip. all: keep them.")
    ] = "trained",
    labels: Annotated[Path | None, typer.Option(help="A text file with one label a line, stored in the model.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="What the main output is, instead of what it ends in: classify, multilabel, regress or frames."),
    ] = None,
    heads: Annotated[
        list[str] | None,
        typer.Option("--head", help="Of several outputs this one; repeatable, the main one first."),
    ] = None,
    layout: Annotated[str, typer.Option(help="Axis order of the clip network's input.")] = "NCTHW",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Convert a clip network to a step network that takes frames as they come and keeps its state.

    The step network is compared with the clip network over a stream before it is written.

    Example: everyframe stream x3d_m.onnx -o x3d_m.step.onnx --window 64
    """
    import json

    from rich.console import Console

    from everyframe.cli.show.console import as_task, read_labels
    from everyframe.cli.show.models import stream_summary
    from everyframe.conversion import stream

    output = output or clip.with_suffix(".step.onnx")
    console = Console(stderr=True)
    with console.status("reading") if console.is_terminal else _silent() as status:
        made = stream(
            clip,
            output,
            rate=rate,
            window=window,
            se=se,
            taps=taps,
            layout=layout,
            labels=read_labels(labels),
            task=as_task(task),
            heads=heads or (),
            progress=(lambda text: status.update(text)) if console.is_terminal else None,
        )
    summary = stream_summary(made, output)
    if as_json:
        print(json.dumps(summary.data))
    else:
        summary.show()


class _silent:
    def __enter__(self) -> _silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, _: str) -> None:
        pass
