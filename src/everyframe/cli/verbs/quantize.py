"""`everyframe quantize`: a model in INT8, calibrated on videos, and what that costs layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everyframe.targets import listed

if TYPE_CHECKING:
    from everyframe.quantization.compare import Row
    from everyframe.quantization.quantize import Quantized

ROWS = 45  # layers of a table; of larger networks those that add most noise


def command(
    model: Annotated[str, typer.Argument(help="A float clip or step model (.onnx), or builtin.", metavar="MODEL")],
    calibrate: Annotated[
        str, typer.Option(help="Videos like those it will see: a file, a folder, or a pattern in quotes.", metavar="VIDEOS")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="What to write. [default: MODEL.int8.onnx]", metavar="INT8.onnx")
    ] = None,
    target: Annotated[str, typer.Option(help=f"Whose integers: {listed('quantize')}.")] = "cpu",
    activations: Annotated[str | None, typer.Option(help="uint8, int8 or int16. [default: the target's]", metavar="KIND")] = None,
    overflow_fix: Annotated[
        str | None,
        typer.Option(
            help="Layers with weights so small that no x86 processor's sums overflow: first, all or none. "
            "[default: the target's]",
            metavar="LAYERS",
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="How ranges are cut: minmax, percentile or entropy.")] = "minmax",
    percentile: Annotated[float, typer.Option(help="Of the values that a range holds, for --method percentile.")] = 99.99,
    videos: Annotated[int, typer.Option(min=1, help="At most so many, evenly spread over all.")] = 100,
    every: Annotated[int, typer.Option(min=1, help="Measure each so manieth step of a video; all of them are run.")] = 1,
    keep_float: Annotated[
        list[str] | None, typer.Option(help="A node that stays float, or a pattern of names; may be repeated.", metavar="NODE")
    ] = None,
    float_differences: Annotated[
        bool, typer.Option(help="Keep differences of large values in float where bytes round them too coarsely.")
    ] = True,
    min_similarity: Annotated[
        float, typer.Option(help="Cosine of the answers below which the worst layers are put back to float; 0: never.")
    ] = 0.99,
    compare: Annotated[
        str | None,
        typer.Option(help="Other videos to compare on. [default: those of the calibration]", metavar="VIDEOS"),
    ] = None,
    frames: Annotated[int, typer.Option(min=2, help="Length of the stream in which both models are compared.")] = 1000,
    report: Annotated[
        Path | None, typer.Option(help="Write all figures (quantized.json) and a picture.", metavar="FOLDER")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Quantize a model to INT8 and say what each layer loses.

    The float model streams the videos, states carried along; what a state holds gets one scale on both sides of the loop.
    Exit code 1 if the answers miss --min-similarity with all layers put back that can be.

    Example: everyframe quantize builtin --calibrate videos -o motions.int8.onnx
    """
    import json
    import sys

    from everyframe import api
    from everyframe.cli.show.console import named
    from everyframe.files import results_in
    from everyframe.progress import status

    name = named(model)
    output = Path(f"{name.stem}.int8.onnx") if output is None else output
    with results_in(report), status("reading") as progress:
        result = api.quantize(
            model, calibrate, output, target=target, activations=activations, overflow_fix=overflow_fix, method=method,
            percentile=percentile, most_videos=videos, every=every, keep_float=keep_float or (),
            float_differences=float_differences, min_similarity=min_similarity, compare_with=compare, frames=frames,
            progress=progress,
        )  # fmt: skip
        files = [output, *(result.save_report(report, name.name) if report is not None else ())]
    if as_json:
        print(json.dumps({"files": [str(file) for file in files], **result.to_dict()}))
    else:
        _show(result)
        for file in files:
            print(f"wrote {file}")
    if not result.holds:
        print(
            f"{output} misses the similarity that was wanted, {result.wanted:g} (--min-similarity); it is there to be looked at: "
            "calibrate on more or other videos, or keep the float model",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _show(result: Quantized) -> None:
    from rich import box
    from rich.table import Table

    from everyframe.cli.show.console import console
    from everyframe.quantization.engines import line

    found, out = result.calibration, console()
    print(f"calibrated by {found.method} on {found.steps} {result.runs}, {found.material}")
    rows = list(result.comparison.layers)
    if len(rows) > ROWS:
        worst = {row.name for row in sorted(rows, key=lambda row: -row.added)[:ROWS]}
        print(f"the {ROWS} of {len(rows)} layers that add most noise; --report has all")
        rows = [row for row in rows if row.name in worst]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("layer", "operator", "in", "bits", "cosine", "SQNR dB", "max error", "range", "calibrated", "drift dB"):
        table.add_column(name, justify="left" if name in ("layer", "operator", "in") else "right", no_wrap=name != "layer")
    for row in (*rows, *result.comparison.states):
        table.add_row(
            row.name, row.op, row.precision, _bits(row, result),
            f"{row.cosine:.5f}", f"{row.sqnr_db:.1f}", f"{row.max_error:.3g}",
            f"{row.low:.3g} … {row.high:.3g}", "{:.3g} … {:.3g}".format(*row.calibrated) if row.calibrated else "–",
            f"{-row.drift_db:+.2f}",
        )  # fmt: skip
    out.print(table)
    if result.put_back:
        print(f"put back to float, {result.similarity:.4f} before: {', '.join(result.put_back)}")
    for warning in result.warnings:
        print(f"warning: {warning}")
    if said := line(result.engines, result.runs):
        print(said)
    print(result.verdict)


def _bits(row: Row, result: Quantized) -> str:
    """Of a layer's weights."""
    from everyframe.quantization.structure import WITH_WEIGHTS

    if row.precision != "int" or row.op.split("+")[0] not in WITH_WEIGHTS:
        return ""
    return f"{result.weight_bits.get(row.name, 8):.2g}"
