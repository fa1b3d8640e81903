"""`everyframe benchmark`: what models cost on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

INTERRUPTED = 130


def command(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Step or clip models, any ONNX file with one input, or builtin.", metavar="MODEL..."),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Names with commas between: ort, native, openvino, reference; or all that are installed.")
    ] = "all",
    threads: Annotated[str, typer.Option(help="Of the engine: numbers with commas between.", metavar="N,...")] = "1",
    streams: Annotated[
        str, typer.Option(help="Videos stepped at the same time: numbers with commas between.", metavar="N,...")
    ] = "1",
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Steps, or clips, of each that count, at least. [default: 100; 10 for a paper's table]"),
    ] = None,
    stride: Annotated[
        str | None,
        typer.Option(help="Of clip models: frames between two predictions. [default: 1 and half a clip]", metavar="N,..."),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(help="Also stage by stage on this video: decode, preprocess, step, postprocess.", metavar="FILE"),
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Also what each layer takes on each engine.")] = False,
    peers: Annotated[
        bool,
        typer.Option(
            "--peers", help="Also clip models on torch, torch.compile, continual-inference and ncnn, where they are installed."
        ),
    ] = False,
    table: Annotated[
        Literal["s100", "efficient", "rt3d", "tsm", "co3d"] | None,
        typer.Option(help="Published tables beside the same measured here: of all networks, or of those named as MODEL."),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="How cost grows: size, frames, width or window of networks of the zoo; threads or streams of any model.",
            metavar="AXIS=N,...",
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two results of --json: what became faster.", metavar="OLD NEW"),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result as JSON; - prints it.", metavar="FILE")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write a row for each that was measured.", metavar="FILE")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write one page with tables and pictures.", metavar="FILE")] = None,
) -> None:
    """Measure models on this machine: engines, threads and streams in turns, each in a process of its own.

    With one thread and one stream, processor time counts in comparisons, else the clock. Ctrl-C shows what is done.

    Example: everyframe benchmark clip.onnx step.onnx --threads 1,2 --html report.html
    """
    from everyframe import api
    from everyframe.cli.show.benchmark import show, show_comparison
    from everyframe.errors import UsageError
    from everyframe.files import check_writable
    from everyframe.progress import status

    printed = str(json_file) == "-"
    files = [file for file in (None if printed else json_file, csv_file, html) if file is not None]
    for file in files:
        check_writable(file)
    if compare is not None:
        if models:
            raise UsageError(
                "Models are measured, or two results compared.", got="both", hint="leave the models or --compare out"
            )
        comparison = api.compare_benchmarks(*compare)
        if json_file is not None and not printed:
            comparison.save(json_file)
        show_comparison(comparison, printed)
        return
    if not models and table is None:
        raise UsageError("Which model?", expected="MODEL..., such as builtin, or --compare OLD.json NEW.json")
    with status("starting") as progress:
        found = api.benchmark(
            models or (), engines=None if engine == "all" else engine.split(","), threads=_numbers("--threads", threads),
            streams=_numbers("--streams", streams), frames=frames, strides=() if stride is None else _numbers("--stride", stride),
            video=video, profile=profile, peers=peers, table=table, sweep=sweep, progress=progress,
        )  # fmt: skip
    if json_file is not None and not printed:
        found.save(json_file)
    if csv_file is not None:
        found.save_csv(csv_file)
    if html is not None:
        found.save_page(html)
    show(found, printed)
    if not found.benchmark.measured:
        raise typer.Exit(1)
    if found.benchmark.partial:
        raise typer.Exit(INTERRUPTED)


def _numbers(option: str, text: str) -> list[int]:
    """`1,2,4`. Raises UsageError."""
    from everyframe.errors import UsageError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError("These are not numbers.", where=option, expected="such as 1,2,4", got=text) from None
