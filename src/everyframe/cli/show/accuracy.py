"""How an evaluation on labeled videos is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from everyframe.cli.show.console import console
from everyframe.evaluation import task_report
from everyframe.evaluation.spans import SpanResult
from everyframe.evaluation.task_result import TaskResult

if TYPE_CHECKING:
    from everyframe.evaluation import Result
    from everyframe.evaluation.result import Condition, Score

ROWS = 40  # of the table of classes; the files have all


def show_any(result: Result | TaskResult | SpanResult, output: Path | None) -> None:
    if isinstance(result, SpanResult):
        show_spans(result, output)
    elif isinstance(result, TaskResult):
        show_task(result, output)
    else:
        show(result, output)


def show_spans(result: SpanResult, output: Path | None) -> None:
    from everyframe.evaluation.page import percent

    out = console()
    lines = [
        f"{result.model} ({result.engine}) on {result.data}: {result.all.spans} spans in {result.recordings} recordings of "
        f"{result.seconds:.0f} s"
    ]
    if result.partial:
        lines.insert(0, "PARTIAL: ended early")
    if result.false_a_minute is not None:
        outside = "" if result.background_a_minute is None else f"; {result.background_a_minute:.2f} outside of all spans"
        lines.append(f"false events a minute: {result.false_a_minute:.2f}{outside} ({result.background_s:.0f} s)")
    lines.append(f"An event counts for its span until {result.late_s:.1f} s behind the span's end.")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("label", "spans", "found", "recall", "wrong first", "false events", "delay s"):
        table.add_column(name, justify="left" if name == "label" else "right", no_wrap=True)
    for row in (*result.labels, result.all):
        interval = "" if row.low is None or row.high is None else f" ({row.low * 100:.0f}-{row.high * 100:.0f})"
        delay = "–" if row.delay_s is None else f"{row.delay_s:.2f}"
        cells = (str(row.spans), str(row.found), f"{percent(row.recall)}{interval}", str(row.wrong), str(row.false), delay)
        table.add_row(Text(row.label), *cells)
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
    out.print(table)
    for note in result.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    if output is not None:
        out.print(f"wrote {output}/metrics.json", markup=False, soft_wrap=True)


def show_task(result: TaskResult, output: Path | None) -> None:
    """The sections of the report's page as tables."""
    out = console()
    for line in task_report.headline(result):
        out.print(line, markup=False, soft_wrap=True)
    for section in task_report.sections(result):
        if len(section.rows) > ROWS:
            out.print(f"{section.title}: {len(section.rows)} rows; --json or -o FOLDER has them", markup=False)
            continue
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(section.title), title_justify="left")
        for place, name in enumerate(section.heading):
            words = any(str(row[place])[:1].isalpha() for row in section.rows)
            table.add_column(Text(str(name)), justify="left" if words else "right")
        for row in section.rows:
            table.add_row(*(Text(str(cell)) for cell in row))
        out.print(table)
    if output is not None:
        out.print(f"wrote {output}/report.html, metrics.json, predictions.csv, classes.csv", markup=False, soft_wrap=True)


def show(result: Result, output: Path | None) -> None:
    from everyframe.evaluation.page import beside, live, percent

    out = console()

    def say(line: str) -> None:
        out.print(line, markup=False, soft_wrap=True)

    if result.partial:
        say(f"PARTIAL: ended after {result.videos + result.unreadable} of {result.planned} videos")
    clips = f", clips of {result.clip_frames} frames ({result.view})" if result.clip_frames else ""
    part = f" ({result.part})" if result.part else ""
    say(f"{result.model} ({result.engine}) on {result.data}, split {result.split}{part}: {result.videos} videos{clips}")
    others = ", ".join(f"{name} {count}" for name, count in result.available.items())
    say(f"videos of each split: {others}")
    out.print(_accuracy(result))
    for line in (*live(result), *beside(result)):
        say(line)
    if curve := _curve(result):
        out.print(curve)
    if len(result.classes) <= ROWS:
        out.print(_classes(result, percent))
    else:
        say(f"{len(result.classes)} classes: --json or -o FOLDER has their table")
    for row in [row for row in result.rows if row.error][:ROWS]:
        say(f"unreadable: {row.video}: {row.error}")
    for note in result.notes:
        say(f"note: {note}")
    if output is not None:
        say(f"wrote {output}/report.html, metrics.json, predictions.csv, classes.csv and pictures")


def _accuracy(result: Result) -> Table:
    top5 = len(result.labels) > 5
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("frames", "clip", "video", "stream, end", "averaged", "all frames"):
        table.add_column(name, justify="left" if name == "frames" else "right", no_wrap=True)
    for name, condition in result.conditions.items():
        table.add_row(name, *(_cell(score, top5) for score in _scores(condition)))
    table.caption = "top-1" + (" / top-5" if top5 else "") + ", percent; in brackets the 95 % interval"
    table.caption_justify = "left"
    return table


def _scores(condition: Condition) -> tuple[Score | None, ...]:
    streaming = condition.streaming
    return condition.clip, condition.video, *((streaming.end, streaming.average, streaming.frames) if streaming else (None,) * 3)


def _cell(score: Score | None, top5: bool) -> str:
    if score is None:
        return "–"
    text = f"{score.top1 * 100:.1f}" + (f" / {score.top5 * 100:.1f}" if top5 else "")
    return text if score.low is None or score.high is None else f"{text} ({score.low * 100:.0f}-{score.high * 100:.0f})"


def _curve(result: Result) -> Table | None:
    streaming = result.conditions["normal"].streaming
    if streaming is None:
        return None
    table = Table(box=None, pad_edge=False, title="stream by the share of the video seen", title_justify="left")
    table.add_column("seen", no_wrap=True)
    for point in streaming.curve:
        table.add_column(f"{point.share * 100:.0f} %", justify="right", no_wrap=True)
    table.add_row("top-1", *(f"{point.top1 * 100:.1f}" for point in streaming.curve))
    if any(point.answered < 1 for point in streaming.curve):
        table.add_row("has a prediction", *(f"{point.answered * 100:.1f}" for point in streaming.curve))
    return table


def _classes(result: Result, percent: Callable[[float | None], str]) -> Table:
    kinds = [kind for kind in ("video", "streaming") if any(getattr(row, kind) for row in result.classes)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    table.add_column("videos", justify="right")
    for kind in kinds:
        for what in ("precision", "recall", "F1"):
            table.add_column(f"{'video' if kind == 'video' else 'stream'} {what}", justify="right")
    for row in result.classes:
        cells = []
        for kind in kinds:
            figures = getattr(row, kind)
            cells += [percent(figures.precision), percent(figures.recall), percent(figures.f1)] if figures else ["–"] * 3
        table.add_row(row.label, str(row.count), *cells)
    return table
