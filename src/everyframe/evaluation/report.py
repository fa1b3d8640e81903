"""The files of an evaluation or a training: tables, pictures, and one page that shows them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from everyframe.evaluation import draw
from everyframe.evaluation.page import Section, page
from everyframe.evaluation.result import Result, VideoRow
from everyframe.files import make_folder, write_bytes


def write(
    folder: str | Path,
    result: Result | None = None,
    *,
    title: str | None = None,
    epochs: Sequence[Mapping[str, Any]] = (),
    recipe: str = "",
    environment: Mapping[str, Any] | None = None,
    sections: Sequence[Section] = (),
) -> list[Path]:
    """report.html, and beside it what there is something to say about: of a result metrics.json, predictions.csv,
    classes.csv, confusion.png, confusion_stream.png, accuracy_over_time.png, reliability.png; of epochs curves.png.

    epochs: what a training wrote after each, numbers by name, nested or not; `epoch`, losses, accuracies and learning rates
    are drawn. recipe: its text. environment: plain values. sections: more of the page, whose pictures become files too. Raises
    OutputError.
    """
    path = make_folder(folder)
    pictures = _pictures(result, epochs)
    made: dict[str, bytes] = pictures | {name: data for section in sections for name, data in section.pictures.items()}
    if result is not None:
        made["metrics.json"] = (json.dumps(result.to_dict(), indent=1) + "\n").encode()
        made["predictions.csv"] = table([f.name for f in fields(VideoRow)], [list(asdict(row).values()) for row in result.rows])
        made["classes.csv"] = _class_table(result)
    title = title or (f"Evaluation of {result.model}" if result is not None else f"Training {path.name}")
    made["report.html"] = page(title, result, pictures, epochs, recipe, environment, sections).encode(errors="replace")
    return [write_bytes(data, path / name) for name, data in made.items()]


def _pictures(result: Result | None, epochs: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    drawn: dict[str, bytes | None] = {"curves.png": draw.training(epochs)}
    if result is not None:
        drawn["accuracy_over_time.png"] = draw.over_time(result)
        drawn["reliability.png"] = draw.reliability(result)
        if result.confusion is not None:
            drawn["confusion.png"] = draw.confusion(result.confusion, result.labels, "Whole videos")
        if result.confusion_streaming is not None:
            title = "Stream, at the video's end"
            drawn["confusion_stream.png"] = draw.confusion(result.confusion_streaming, result.labels, title)
    return {name: data for name, data in drawn.items() if data is not None}


def _class_table(result: Result) -> bytes:
    names = ("precision", "recall", "f1")
    heading = ["label", "count", *(f"video_{name}" for name in names), *(f"stream_{name}" for name in names)]
    rows = []
    for row in result.classes:
        both = [[getattr(figures, name) if figures else None for name in names] for figures in (row.video, row.streaming)]
        rows.append([row.label, row.count, *both[0], *both[1]])
    return table(heading, rows)


def table(heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return text.getvalue().encode(errors="replace")  # the name of a file need not be text
