"""How figures of other answers than one class are shown: sections of the page, which the terminal prints too; files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everyframe.canvas import HUES
from everyframe.evaluation import draw
from everyframe.evaluation.page import SHOWN, Section, page
from everyframe.evaluation.report import table
from everyframe.evaluation.task_result import Figure, TaskResult
from everyframe.files import make_folder, write_bytes

WORDS = {"multilabel": "any of several labels", "regress": "quantities", "frames": "a label for each frame"}
PLACES = {
    "clip": "clip network", "stream end": "stream, at the video's end", "stream average": "stream, averaged", "stream": "stream",
}  # fmt: skip


def shown(figure: Figure | None, task: str) -> str:
    """Shares in percent, errors in their unit; in brackets the 95 % interval."""
    if figure is None or figure.value is None:
        return "–"
    numbers = [figure.value, *([] if figure.low is None or figure.high is None else [figure.low, figure.high])]
    first, *ends = [f"{number:.4g}" if task == "regress" else f"{number * 100:.1f}" for number in numbers]
    return f"{first} ({' to '.join(ends)})" if ends else first


def sections(result: TaskResult) -> list[Section]:
    return [section for section in (_whole(result), _labels(result), _curve(result), _unread(result)) if section.rows]


def headline(result: TaskResult) -> list[str]:
    """Sentences on what was measured and how."""
    clips = f", clips of {result.clip_frames} frames ({result.view})" if result.clip_frames else ""
    least = f", labels from {result.threshold:g} on" if result.threshold is not None else ""
    others = ", ".join(f"{name} {count}" for name, count in result.available.items())
    lines = [f"PARTIAL: ended after {result.videos + result.unreadable} of {result.planned} videos"] if result.partial else []
    lines += [
        f"{result.model} ({result.engine}) on {result.data or 'the data'}, split {result.split}: {result.videos} videos{clips}",
        f"{result.task}: {WORDS[result.task]}{least}; videos of each split: {others}",
    ]
    if (timing := result.timing) is not None:
        each = "frame" if timing.hop == 1 else f"{timing.hop} frames"
        late = f"{timing.feature_delay_frames} frames ({timing.feature_delay_ms:.0f} ms)"
        lines.append(f"A prediction at every {each}, {late} behind.")
    if result.silent:
        lines.append(f"{result.silent} videos are too short for a prediction of the stream; --flush holds their last frame.")
    return lines + [f"note: {note}" for note in result.notes]


def _whole(result: TaskResult) -> Section:
    first = next((figures for places in result.conditions.values() for figures in places.values()), {})
    unit = "" if result.task == "regress" else ", percent"
    rows = [
        [condition, PLACES[where], *(shown(figures[name], result.task) for name in first)]
        for condition, places in result.conditions.items()
        for where, figures in places.items()
    ]
    several = f", means of {len(result.classes)} quantities" if result.task == "regress" and len(result.classes) > 1 else ""
    title = f"Figures{unit}{several}; in brackets the 95 % interval"
    return Section(title, (), ("frames", "of", *first), rows)


def _labels(result: TaskResult) -> Section:
    places = list(result.classes[0].figures) if result.classes else []
    names = {where: list(next((row.figures[where] for row in result.classes if row.figures[where]), {})) for where in places}
    rows = [
        [row.label, row.count, *(shown(row.figures[where].get(name), result.task) for where in places for name in names[where])]
        for row in result.classes
    ]
    heading = ("quantity" if result.task == "regress" else "label", "frames" if result.task == "frames" else "videos")
    return Section("Each", (), (*heading, *(f"{where} {name}" for where in places for name in names[where])), rows)


def _curve(result: TaskResult) -> Section:
    if not result.curve:
        return Section("")
    name = next(iter(next(iter(result.conditions["normal"].values()))))
    cells = [shown(Figure(value), result.task) for _, value in result.curve]
    heading = ("seen", *(f"{share * 100:.0f} %" for share, _ in result.curve))
    return Section("Stream by the share of the video seen", (), heading, [[name, *cells]], _drawn(result, name))


def _drawn(result: TaskResult, name: str) -> Mapping[str, bytes]:
    points = [(share, value) for share, value in result.curve if value is not None]
    if len(points) < 2:
        return {}
    shares = result.task != "regress"
    top = 1.0 if shares else max(value for _, value in points) * 1.1 or 1.0
    line = draw.Line(name, points, HUES[0], 3, dots=True)
    panel = draw.Panel(
        f"{name} by the share of the video seen", [line], (0.1, 1), (0, top), "seen", draw.percent,
        draw.percent if shares else "{:g}".format,
    )  # fmt: skip
    return {"over_time.png": draw.panels([panel])}


def _unread(result: TaskResult) -> Section:
    rows = [[row["video"], row["error"]] for row in result.rows if row["error"]]
    return Section("Unreadable videos", (), ("video", "why"), rows[:SHOWN])


def write(folder: str | Path, result: TaskResult, environment: Mapping[str, Any] | None = None) -> list[Path]:
    """report.html, metrics.json, predictions.csv (a row a video), classes.csv and pictures. Raises OutputError."""
    path, parts = make_folder(folder), sections(result)
    title = f"Evaluation of {result.model}"
    made = {name: data for section in parts for name, data in section.pictures.items()}
    keys = list(dict.fromkeys(key for row in result.rows for key in row))
    made["metrics.json"] = (json.dumps(result.to_dict(), indent=1) + "\n").encode()
    made["predictions.csv"] = table(keys, [[row.get(key) for key in keys] for row in result.rows])
    made["classes.csv"] = _class_table(result)
    top = Section("Measured", headline(result))
    made["report.html"] = page(title, None, {}, environment=environment, sections=[top, *parts]).encode(errors="replace")
    return [write_bytes(data, path / name) for name, data in made.items()]


def _class_table(result: TaskResult) -> bytes:
    columns = dict.fromkeys((where, name) for row in result.classes for where, figures in row.figures.items() for name in figures)
    rows = []
    for row in result.classes:
        found = [row.figures.get(where, {}).get(name) for where, name in columns]
        rows.append([row.label, row.count, *(None if figure is None else figure.value for figure in found)])
    return table(["label", "count", *(f"{where} {name}" for where, name in columns)], rows)
