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
    labels: Annotated[Path | None, typer.Option(help="A file of labels, one a line, or JSON; stored in the model.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="What the main output is, instead of what it ends in: classify, multilabel, regress or frames."),
    ] = None,
    heads: Annotated[
        list[str] | None,
        typer.Option("--head", help="Of several outputs this one; repeatable, the main one first."),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Axis order of the clip network's input (default: NCTHW); of several by name, NCTHW,audio=NCT,style=NC. "
            "An input without T has no frames."
        ),
    ] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option(help="An input that is to be a constant: a number or a .npy file; repeatable.", metavar="NAME=VALUE"),
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a clip, where the network's input leaves them open.")] = None,
    size: Annotated[str | None, typer.Option(help="Picture size, S or HxW, where the network's input leaves it open.")] = None,
    state: Annotated[
        str, typer.Option(help="fp16: what is remembered takes half the memory; how much the answers differ is measured.")
    ] = "fp32",
    tail: Annotated[
        str,
        typer.Option(
            help="Layers that look at all frames of the clip (attention over time): refuse; or window: each step computes them "
            "anew, of the newest frames."
        ),
    ] = "refuse",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Convert a clip network to a step network that takes frames as they come and keeps its state.

    The step network is compared with the clip network over a stream before it is written.

    Example: everyframe stream x3d_m.onnx -o x3d_m.step.onnx --window 64
    """
    import json

    from everyframe import api
    from everyframe.cli.show.console import as_task, read_size, read_values
    from everyframe.cli.show.models import stream_lines
    from everyframe.modelfile.labels import read_labels
    from everyframe.progress import status

    pictures = read_size(size)
    output = output or clip.with_suffix(".step.onnx")
    names = None if labels is None else read_labels(labels)
    with status("reading") as progress:
        made = api.convert(
            clip, output, rate=rate, window=window, se=se, taps=taps, layout=layout, frames=frames,
            size=(pictures, pictures) if isinstance(pictures, int) else pictures, labels=names,
            task=as_task(task), heads=heads or (), bind=read_values(bind), state=state, tail=tail,
            progress=progress,
        )  # fmt: skip
    if as_json:
        print(json.dumps({"file": str(output), **made.to_dict()}))
        return
    for line in stream_lines(made, output):
        print(line)
