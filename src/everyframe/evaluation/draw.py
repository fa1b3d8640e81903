"""The pictures of a report: confusion matrix, accuracy over time, curves of a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everyframe.canvas import BLANK, FAINT, HUES, INK, PAPER, QUIET, SOFT, Canvas
from everyframe.evaluation.probe import Probe
from everyframe.evaluation.result import Result

RIGHT, WRONG = HUES[0], HUES[1]
LABELED, COUNTED = 110, 40  # classes up to which a matrix has names, and counts in its cells

# --- confusion ---


def confusion(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> bytes:
    """A PNG: rows are truths, columns predictions, colors shares of a row. Classes that never occur are left out."""
    table = np.array(counts)
    there = [int(i) for i in np.flatnonzero(table.sum(0) + table.sum(1))]
    table, names = table[np.ix_(there, there)], [labels[i] for i in there]
    n = len(names)
    named, cell = n <= LABELED, max(2.0, min(54.0, 900 / max(n, 1)))
    size = round(min(14, max(8, cell * 0.75))) if named else 0
    canvas = Canvas(100, 100)
    room = min(240.0, max((canvas.width_of(name, size) for name in names), default=0.0)) + 14 if named else 26
    left, top, side = 40 + room, 76 + room, cell * n
    canvas = Canvas(round(max(left + side + 40, 420)), round(top + side + 54))
    canvas.text(24, 30, canvas.fit(title, 20, canvas.width - 48), 20)
    canvas.text(left + side / 2, 62, "predicted", 13, SOFT, "mm")
    canvas.text_up(22, top + side / 2 + canvas.width_of("truth", 13) / 2, "truth", 13, SOFT)
    canvas.box(left, top, left + side, top + side, BLANK)
    for row in range(n):
        total = max(1, table[row].sum())
        for column in np.flatnonzero(table[row]):
            _cell(canvas, left + column * cell, top + row * cell, cell, table[row, column], total, row == column, n)
        if named:
            middle = (row + 0.5) * cell
            canvas.text(left - 8, top + middle, canvas.fit(names[row], size, room - 12), size, INK, "rm")
            canvas.text_up(left + middle, top - 8, canvas.fit(names[row], size, room - 12), size)
    canvas.box(left, top + side + 16, left + 11, top + side + 27, RIGHT)
    canvas.text(left + 16, top + side + 22, "right", 13, SOFT)
    canvas.box(left + 70, top + side + 16, left + 81, top + side + 27, WRONG)
    canvas.text(left + 86, top + side + 22, "wrong; the darker, the larger the share of its row", 13, SOFT)
    return canvas.png()


def _cell(canvas: Canvas, x: float, y: float, cell: float, count: int, total: int, right: bool, n: int) -> None:
    share = count / total
    hue = RIGHT if right else WRONG
    least = 0.12 if n <= COUNTED else 0.3  # small cells are hard to see
    strength = least + (1 - least) * share
    color = tuple(round(paper + (tone - paper) * strength) for paper, tone in zip(PAPER, hue, strict=True))
    gap = 1 if cell > 6 else 0
    canvas.box(x, y, x + cell - gap, y + cell - gap, color)
    if n <= COUNTED:
        canvas.text(x + cell / 2, y + cell / 2, str(count), round(min(15, cell * 0.5)), PAPER if share > 0.5 else INK, "mm")


# --- lines ---


@dataclass(frozen=True)
class Line:
    name: str
    points: Sequence[tuple[float, float]]
    color: tuple
    width: float = 2.4
    dash: float = 0
    dots: bool = False


@dataclass(frozen=True)
class Panel:
    """x, y: first and last value of the axes. shown: how a value is written."""

    title: str
    lines: Sequence[Line]
    x: tuple[float, float]
    y: tuple[float, float]
    x_name: str
    x_shown: Callable[[float], str] = "{:g}".format
    y_shown: Callable[[float], str] = "{:g}".format


WIDTH, PANEL, LEFT, END = 960, 380, 74, 30
ROW = 24  # of a legend


def panels(drawn: Sequence[Panel]) -> bytes:
    """A PNG of panels below each other, each as much higher as its legend has more rows than one."""
    legends = [_legend([line.name for line in panel.lines]) for panel in drawn]
    heights = [PANEL + max((y for _, y, _ in legend), default=0) for legend in legends]
    canvas, above = Canvas(WIDTH, sum(heights)), 0
    for panel, legend, height in zip(drawn, legends, heights, strict=True):
        _panel(canvas, panel, legend, above, above + height)
        above += height
    return canvas.png()


def _legend(names: Sequence[str]) -> list[tuple[float, int, str]]:
    """Where each name begins, from the left and below the first row, and what of it there is room for."""
    measure, begin, end = Canvas(1, 1), 24.0, WIDTH - END
    found, x, y = list[tuple[float, int, str]](), begin, 0
    for name in names:
        words = measure.fit(name, 14, end - begin - 28)
        if x > begin and x + 28 + measure.width_of(words, 14) > end:
            x, y = begin, y + ROW
        found.append((x, y, words))
        x += 28 + measure.width_of(words, 14) + 22
    return found


def _panel(canvas: Canvas, panel: Panel, legend: Sequence[tuple[float, int, str]], above: float, end: float) -> None:
    top, bottom, right = above + 78 + max((y for _, y, _ in legend), default=0), end - 56, WIDTH - END
    (x0, x1), (y0, y1) = panel.x, panel.y

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (right - LEFT) * (x - x0) / ((x1 - x0) or 1), bottom - (bottom - top) * (y - y0) / ((y1 - y0) or 1)

    canvas.text(24, above + 28, canvas.fit(panel.title, 19, WIDTH - 48), 19)
    for tick in ticks(y0, y1, 6):
        canvas.line(LEFT, at(x0, tick)[1], right, at(x0, tick)[1], FAINT)
        canvas.text(LEFT - 10, at(x0, tick)[1], panel.y_shown(tick), 14, SOFT, "rm")
    for tick in ticks(x0, x1, 10):
        canvas.line(at(tick, y0)[0], bottom, at(tick, y0)[0], bottom + 4, QUIET)
        canvas.text(at(tick, y0)[0], bottom + 17, panel.x_shown(tick), 14, SOFT, "mm")
    canvas.line(LEFT, bottom, right, bottom, QUIET)
    canvas.text((LEFT + right) / 2, bottom + 40, panel.x_name, 14, SOFT, "mm")
    for line, (x, y, words) in zip(panel.lines, legend, strict=True):
        places = [at(*point) for point in line.points if math.isfinite(point[1])]
        if len(places) > 1:
            canvas.path(places, line.color, line.width, line.dash)
        for place in places if line.dots or len(places) == 1 else ():
            canvas.dot(*place, 4.5, line.color)
        canvas.path([(x, above + 56 + y), (x + 22, above + 56 + y)], line.color, line.width, line.dash)
        canvas.text(x + 28, above + 56 + y, words, 14)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from low to high, at most so many steps."""
    span = (high - low) or 1
    step = 10 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if span / (step * factor) <= most + 1e-9)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def percent(value: float) -> str:
    return f"{value * 100:.0f} %"


def over_time(result: Result) -> bytes | None:
    """A PNG: accuracy by the share of each video that was seen. None where nothing was streamed."""
    normal = result.conditions["normal"]
    if normal.streaming is None:
        return None
    curve = normal.streaming.curve
    lines = [Line("stream, top-1", [(p.share, p.top1) for p in curve], HUES[0], 3, dots=True)]
    if len(result.labels) > 5:
        lines.append(Line("stream, top-5", [(p.share, p.top5) for p in curve], HUES[6]))
    if normal.video is not None:
        lines.append(Line("clip network, whole video", [(0.1, normal.video.top1), (1, normal.video.top1)], HUES[1], 2, dash=8))
    for hue, (name, condition) in zip((HUES[3], HUES[4], HUES[5]), list(result.conditions.items())[1:], strict=False):
        if condition.streaming is not None:
            lines.append(Line(name, [(p.share, p.top1) for p in condition.streaming.curve], hue, 1.6))
    if any(p.answered < 1 for p in curve):
        lines.append(Line("has a prediction", [(p.share, p.answered) for p in curve], QUIET, 2, dash=3))
    return panels([Panel("Accuracy by the share of the video seen", lines, (0.1, 1), (0, 1), "seen", percent, percent)])


def reliability(result: Result) -> bytes | None:
    """A PNG: the share that is right by the score that was given, of scores in bins; on the dashed line they are what they
    promise. None where nothing was said.
    """
    if not result.calibration:
        return None
    lines = [Line("as promised", [(0, 0), (1, 1)], QUIET, 2, dash=6)]
    for hue, (where, one) in zip((HUES[1], HUES[0]), result.calibration.items(), strict=False):
        name = f"{where}, error {one.ece * 100:.1f} %"
        lines.append(Line(name, [(score, right) for score, right, _ in one.bins], hue, 2.4, dots=True))
    return panels([Panel("Share that is right by the score", lines, (0, 1), (0, 1), "score", percent, percent)])


# --- frozen features ---


def probed(found: Probe) -> bytes:
    """A PNG: what is right by how many clips of each class have labels, a panel for each classifier. `all` is where their mean
    is, or last, where some classes have fewer than were drawn of others.
    """
    few = max((row.clips for row in found.rows if row.clips is not None), default=0)
    whole = max(found.train / max(1, len(found.labels)), 1.25 * few)
    places = [whole if row.clips is None else float(row.clips) for row in found.rows]
    most = max(0.1, math.ceil(10 * max((row.high for row in found.rows), default=1.0)) / 10)
    drawn = []
    for name in dict.fromkeys(row.classifier for row in found.rows):
        lines = []
        for number, network in enumerate(found.width):
            mine = [
                (x, row) for x, row in zip(places, found.rows, strict=True) if (row.network, row.classifier) == (network, name)
            ]
            again, hue = divmod(number, len(HUES))  # the same colors again are dashed
            lines.append(Line(network, sorted((x, row.top1) for x, row in mine), HUES[hue], dash=6 * again, dots=True))
        x = (min(places, default=0), max(places, default=1))
        often = Line("the most frequent label", [(at, found.most_frequent) for at in x], QUIET, 2, dash=6)
        title = f"Right by labeled clips of each class: {name}"
        drawn.append(Panel(title, [*lines, often], x, (0, most), "labeled clips of each class, last: all", y_shown=percent))
    return panels(drawn)


# --- a training ---

#: title, what the keys of an epoch hold, from where to where they are drawn (None: as far as they reach)
PANELS: tuple[tuple[str, tuple[str, ...], float | None, float | None], ...] = (
    ("Loss", ("loss",), 0.0, None),
    ("Accuracy", ("top1", "top5", "accuracy"), 0.0, 1.0),
    ("PSNR, dB", ("psnr",), None, None),
    ("Learning rate", ("learning_rate",), 0.0, None),
)


def training(epochs: Sequence[Mapping[str, Any]]) -> bytes | None:
    """A PNG of every loss, accuracy and learning rate that the epochs hold, by their keys. None where there are none."""
    flat = [_flat(epoch) for epoch in epochs]
    drawn = []
    for title, words, low, high in PANELS:
        keys = dict.fromkeys(key for epoch in flat for key in epoch if any(word in key for word in words))
        lines = []
        for hue, key in zip(HUES, keys, strict=False):
            points = [(epoch.get("epoch", i), epoch[key]) for i, epoch in enumerate(flat) if key in epoch]
            lines.append(Line(key, points, hue, dots=len(points) <= 30))
        values = [y for line in lines for _, y in line.points if math.isfinite(y)]
        if values:
            at = [x for line in lines for x, _ in line.points]
            bottom = math.floor(min(values)) if low is None else low
            top = high or (math.ceil(max(values)) if low is None else max(values) * 1.05) or 1.0
            drawn.append(Panel(
                title, lines, (min(at), max(at)), (bottom, top), "epoch", y_shown=percent if high else "{:g}".format,
            ))  # fmt: skip
    return panels(drawn) if drawn else None


def _flat(epoch: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """{"validation": {"top1": 0.5}} -> {"validation top1": 0.5}: numbers only."""
    found: dict[str, float] = {}
    for key, value in epoch.items():
        name = f"{before} {key}".strip()
        if isinstance(value, Mapping):
            found |= _flat(value, name)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = value
    return found
