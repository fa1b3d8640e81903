"""Models that find objects in scans on the command line: what they found."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.table import Table

from everyframe.cli.show.console import console

if TYPE_CHECKING:
    from everyframe.data.scans.kitti import Scan
    from everyframe.errors import EveryframeError
    from everyframe.tasks.detection.apply import Found


def predict(
    model: str, sources: Sequence[str], output: Path | None, *, threshold: float | None, engine: str, threads: int | None,
    most: int | None, as_json: bool,
) -> int:  # fmt: skip
    """Shows them and writes them, and gives the exit code."""
    from everyframe.progress import status
    from everyframe.tasks.detection import apply
    from everyframe.tasks.detection.detector import THRESHOLD, Detector

    scans = apply.found(sources)[:most]
    failures, times, alone = 0, list[float](), len(scans) == 1

    def failed(scan: Scan, error: EveryframeError) -> None:
        nonlocal failures
        failures += 1
        print(f"error: {scan.name}: {error}", file=sys.stderr)

    with status("opening the model") as told, Detector(
        model, engine=engine, threads=threads, threshold=THRESHOLD if threshold is None else threshold
    ) as detector:  # fmt: skip
        for one in apply.run(detector, scans, output, told=told, failed=None if alone else failed):
            times.append(one.ms)
            if as_json:
                print(json.dumps(one.to_dict()), flush=True)
            elif alone:
                show_boxes(one)
            else:
                print(one.text(), flush=True)
        said = f"{len(times)} scans, {median(times):.1f} ms each (median, engine {detector.program.engine})" if times else ""
    wrote = f"wrote {output}" if output is not None and times else ""
    typer.echo("\n".join(filter(None, (said, wrote))), err=as_json)
    return 2 if failures else 0


def show_boxes(one: Found) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("object", "score", "ahead", "left", "up", "length", "width", "height", "turned"):
        table.add_column(name, justify="left" if name == "object" else "right", no_wrap=True)
    for row in one.boxes.to_list():
        meters = (f"{row[key]:.2f}" for key in ("x", "y", "z", "length", "width", "height"))
        table.add_row(row["label"], f"{row['score']:.2f}", *meters, f"{row['yaw'] * 57.29578:.0f}°")
    console().print(table if one.boxes else f"{one.scan.name}: nothing found{one.unseen}")
