"""The timeline picture: what the network said about a video, second by second, with its events and a few of its
frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from everyframe.canvas import BLANK, FAINT, HUES, INK, QUIET, SOFT, Canvas
from everyframe.runtime.prediction import shares

if TYPE_CHECKING:
    from everyframe.runtime import Prediction
    from everyframe.runtime.events import Event
    from everyframe.video import Frame

COLUMNS = 2048  # more predictions than this are merged in pairs, so that a camera may run for days
ROWS = 12  # labels drawn

# all in pixels of the finished picture
WIDTH, LEFT, RIGHT, TOP = 1360, 190, 64, 84
STRIP, ROW, ROW_GAP, AXIS, HEADER = 92, 44, 8, 46, 30


class Timeline:
    """Collects scores while a video runs, in bounded memory; each column keeps the highest score of its predictions."""

    def __init__(self, labels: Sequence[str] | None = None) -> None:
        self.labels = labels
        self.events: list[Event] = []
        self.predictions = 0
        self.first_s: float | None = None
        self.last_s = 0.0
        self._quantities = False
        self._merge = 1  # predictions a column
        self._times: list[float] = []  # of each column's first prediction
        self._scores: list[np.ndarray] = []  # (classes,) each

    def add(self, prediction: Prediction) -> None:
        if prediction.event is not None:
            self.events.append(prediction.event)
        if self.first_s is None:
            self.first_s = prediction.pts_s
        scores, self._quantities = shares(prediction.scores), prediction.task == "regress"
        if self.predictions % self._merge == 0:
            self._times.append(prediction.pts_s)
            self._scores.append(scores)
        else:
            self._scores[-1] = np.maximum(self._scores[-1], scores)
        self.predictions += 1
        self.last_s = prediction.pts_s
        if len(self._times) >= COLUMNS and self.predictions % self._merge == 0:
            self._merge *= 2
            self._times = self._times[::2]
            self._scores = [np.maximum(a, b) for a, b in zip(self._scores[::2], self._scores[1::2], strict=True)]

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """times (columns,) and scores (columns, classes); quantities from their lowest, 0, to their highest, 1."""
        scores = np.array(self._scores, np.float32)
        if self._quantities and len(scores):
            scores = (scores - scores.min(0)) / np.maximum(np.ptp(scores, axis=0), 1e-12)
        return np.array(self._times), scores

    @property
    def shown(self) -> list[str]:
        """Names of the columns of the table."""
        return list(self.labels or [f"class {i}" for i in range(len(self._scores[0]) if self._scores else 0)])


@dataclass(frozen=True)
class Part:
    """What one model said. name: of it; background, threshold: of its event rule."""

    name: str
    timeline: Timeline
    background: str | None = None
    threshold: float | None = None


def save(
    path: Path, parts: Sequence[Part], *, title: str, subtitle: str, thumbnails: Sequence[Frame] = (), end_s: float = 0.0
) -> None:
    """Draws and writes the PNG, whole or not at all: models one below the other over the same time. end_s: the last frame's time.
    Raises OutputError.
    """
    from everyframe.files import write_bytes

    write_bytes(_draw(parts, title, subtitle, thumbnails, max(end_s, *(part.timeline.last_s for part in parts))).png(), path)


def rows_of(scores: np.ndarray, labels: Sequence[str], events: Sequence[Event]) -> list[int]:
    """Which labels are drawn: all of a few, in their order; of many, those with events and the highest peaks."""
    if len(labels) <= ROWS or not len(scores):
        return list(range(min(len(labels), ROWS)))
    happened = {event.index for event in events}
    peaks = scores.max(0)
    return sorted(range(len(labels)), key=lambda i: (i not in happened, -peaks[i]))[:ROWS]


def tick_step(duration_s: float, most: int = 12) -> float:
    """A round number of seconds, so that at most `most` ticks fit."""
    for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600):
        if duration_s / step <= most:
            return step
    return 3600 * math.ceil(duration_s / 3600 / most)


def clock(seconds: float, step: float = 1) -> str:
    if seconds < 120 and step < 60:
        return f"{seconds:.1f} s" if step < 1 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _draw(parts: Sequence[Part], title: str, subtitle: str, thumbnails: Sequence[Frame], end_s: float) -> Canvas:
    header = HEADER if len(parts) > 1 else 0
    rows = [rows_of(part.timeline.table()[1], part.timeline.shown, part.timeline.events) for part in parts]
    top = TOP + (STRIP if thumbnails else 0)
    bottom = top + sum(header + max(len(row), 1) * (ROW + ROW_GAP) for row in rows)
    canvas = Canvas(WIDTH, bottom + AXIS)
    span = max(end_s, 0.1)
    right = WIDTH - RIGHT

    def at(seconds: float) -> float:
        return LEFT + (right - LEFT) * seconds / span

    canvas.text(24, 30, canvas.fit(title, 21, WIDTH - 48), 21)
    canvas.text(24, 58, canvas.fit(subtitle, 14, WIDTH - 48), 14, SOFT)
    if thumbnails:
        _strip(canvas, thumbnails, at, right)
    _axis(canvas, at, span, top, bottom)
    for part, indices in zip(parts, rows, strict=True):
        if header:
            canvas.text(24, top + header / 2, canvas.fit(part.name, 15, WIDTH - 48), 15, halo=3)
        top += header
        if indices:
            canvas.text(right + 10, top - 12, "peak", 12, SOFT)
        _rows(canvas, part, indices, top, at, right)
        top += max(len(indices), 1) * (ROW + ROW_GAP)
    return canvas


def _rows(canvas: Canvas, part: Part, indices: Sequence[int], top: float, at: Any, right: float) -> None:
    timeline, labels = part.timeline, part.timeline.shown
    (times, scores), first = timeline.table(), timeline.first_s
    for place, index in enumerate(indices):
        floor = top + place * (ROW + ROW_GAP) + ROW
        quiet = labels[index] == part.background
        color = QUIET if quiet else HUES[(index if len(labels) <= ROWS else place) % len(HUES)]
        canvas.box(LEFT, floor - ROW, at(first) if first is not None else right, floor, BLANK)
        canvas.text(LEFT - 12, floor - ROW / 2, canvas.fit(labels[index], 14, LEFT - 30), 14, SOFT if quiet else INK, "rm")
        canvas.line(LEFT, floor, right, floor, FAINT)
        if part.threshold is not None and not quiet and first is not None:
            for dash in np.arange(at(first), right, 8):
                canvas.line(dash, floor - ROW * part.threshold, min(dash + 4, right), floor - ROW * part.threshold, FAINT)
        if not len(times):
            continue
        values = scores[:, index]
        canvas.area(_steps(times, values, at, floor, timeline.last_s), floor, color)
        canvas.text(right + 10, floor - ROW / 2, f"{values.max():.2f}", 13, SOFT)
        for event in timeline.events:
            if event.index == index:
                x = at(event.pts_s)
                canvas.line(x, floor - ROW, x, floor, color, 1.6)
                canvas.dot(x, floor - ROW + 2, 4.5, color)
                mark, inside = clock(event.pts_s, 0.1), x + 56 < right
                canvas.text(x + 8 if inside else x - 8, floor - ROW + 7, mark, 12, color, "lm" if inside else "rm", halo=2)
    if not len(times):
        middle = top + max(len(indices), 1) * (ROW + ROW_GAP) / 2
        canvas.text((LEFT + right) / 2, middle, "no prediction was made", 16, SOFT, "mm")


def _steps(times: np.ndarray, values: np.ndarray, at: Any, floor: float, last_s: float) -> list[tuple[float, float]]:
    points = [(at(t), floor - ROW * float(v)) for t, v in zip(times, values, strict=True)]
    if last_s > times[-1] or len(points) == 1:
        points.append((max(at(last_s), points[-1][0] + 1), points[-1][1]))
    return points


def _strip(canvas: Canvas, thumbnails: Sequence[Frame], at: Any, right: float) -> None:
    """As many frames as fit side by side, each with its left edge at its own time."""
    height = STRIP - 26
    free = float(LEFT)
    for frame in thumbnails:
        h, w = frame.data.shape[:2]
        width, x = w * height / h, at(frame.pts_s)
        if x >= free and x + width <= right + 1:
            canvas.paste(frame.data, x, TOP, height)
            free = x + width + 5


def _axis(canvas: Canvas, at: Any, span: float, top: float, bottom: float) -> None:
    step = tick_step(span)
    for tick in np.arange(0, span * (1 + 1e-9), step):
        x = at(float(tick))
        canvas.line(x, top, x, bottom + 2, FAINT)
        canvas.text(x, bottom + 16, clock(float(tick), step), 13, SOFT, "mm")
