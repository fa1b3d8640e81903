"""The timeline picture: what the network said about a video, second by second, with its events and a few of its
frames.
"""

from __future__ import annotations

import io
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from everyframe.errors import OutputError

if TYPE_CHECKING:
    from everyframe.runtime import Prediction
    from everyframe.runtime.events import Event
    from everyframe.video import Frame

COLUMNS = 2048  # more predictions than this are merged in pairs, so that a camera may run for days
ROWS = 12  # labels drawn
SCALE = 2  # drawn so much larger, then shrunk: smooth edges

# all in pixels of the finished picture
WIDTH, LEFT, RIGHT, TOP = 1360, 190, 64, 84
STRIP, ROW, ROW_GAP, AXIS = 92, 44, 8, 46

INK, SOFT, FAINT, PAPER = (28, 32, 38), (104, 112, 122), (226, 230, 235), (255, 255, 255)
BLANK, QUIET = (243, 245, 247), (176, 184, 193)
HUES = (
    (37, 99, 180), (214, 96, 38), (30, 136, 94), (176, 58, 104), (112, 84, 178), (171, 129, 22),
    (22, 134, 156), (148, 78, 50), (92, 128, 40), (190, 70, 70), (70, 92, 140), (130, 60, 140),
)  # fmt: skip


def check_output(path: Path) -> None:
    """Raises OutputError before the long work, not after it."""
    if path.suffix.lower() != ".png":
        raise OutputError("The timeline is a PNG picture.", where=path, expected="a name that ends in .png", got=path.name)
    if path.is_dir():
        raise OutputError("The output cannot be written.", where=path, got="a folder of that name", hint="choose a file name")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(
            "The output cannot be written.", where=path, got=error.strerror or str(error),
            hint="choose a folder that exists and is writable",
        ) from None  # fmt: skip
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError("The output cannot be written.", where=path, got="the file there is write-protected")


class Timeline:
    """Collects scores while a video runs, in bounded memory; each column keeps the highest score of its predictions."""

    def __init__(self, labels: Sequence[str] | None = None) -> None:
        self.labels = labels
        self.events: list[Event] = []
        self.predictions = 0
        self.first_s: float | None = None
        self.last_s = 0.0
        self._merge = 1  # predictions a column
        self._times: list[float] = []  # of each column's first prediction
        self._scores: list[np.ndarray] = []  # (classes,) each

    def add(self, prediction: Prediction) -> None:
        if prediction.event is not None:
            self.events.append(prediction.event)
        if self.first_s is None:
            self.first_s = prediction.pts_s
        if self.predictions % self._merge == 0:
            self._times.append(prediction.pts_s)
            self._scores.append(prediction.scores)
        else:
            self._scores[-1] = np.maximum(self._scores[-1], prediction.scores)
        self.predictions += 1
        self.last_s = prediction.pts_s
        if len(self._times) >= COLUMNS and self.predictions % self._merge == 0:
            self._merge *= 2
            self._times = self._times[::2]
            self._scores = [np.maximum(a, b) for a, b in zip(self._scores[::2], self._scores[1::2], strict=True)]

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """times (columns,) and scores (columns, classes)."""
        return np.array(self._times), np.array(self._scores, np.float32)

    def save(
        self,
        path: Path,
        *,
        title: str,
        subtitle: str,
        thumbnails: Sequence[Frame] = (),
        background: str | None = None,
        threshold: float | None = None,
        end_s: float | None = None,
    ) -> None:
        """Draws and writes the PNG, whole or not at all. end_s: the last frame's time. Raises OutputError."""
        from everyframe.program.contract import write_bytes

        image = _draw(self, title, subtitle, thumbnails, background, threshold, max(self.last_s, end_s or 0.0))
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=False)
        write_bytes(buffer.getvalue(), path)


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


class _Canvas:
    """Pillow in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw, ImageFont

        self.image = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
        self.pen = ImageDraw.Draw(self.image, "RGBA")
        self._fonts: dict[int, Any] = {}
        self._font = ImageFont.load_default

    def text(self, x: float, y: float, words: str, size: int = 14, color: tuple = INK, anchor: str = "lm", halo: int = 0) -> None:
        font = self._fonts.setdefault(size, self._font(size * SCALE))
        at = (x * SCALE, y * SCALE)
        self.pen.text(at, words, font=font, fill=color, anchor=anchor, stroke_width=halo * SCALE, stroke_fill=PAPER)

    def width_of(self, words: str, size: int) -> float:
        font = self._fonts.setdefault(size, self._font(size * SCALE))
        return font.getlength(words) / SCALE

    def fit(self, words: str, size: int, room: float) -> str:
        if self.width_of(words, size) <= room:
            return words
        while words and self.width_of(words + "…", size) > room:
            words = words[:-1]
        return words + "…"

    def line(self, x0: float, y0: float, x1: float, y1: float, color: tuple, width: float = 1) -> None:
        self.pen.line((x0 * SCALE, y0 * SCALE, x1 * SCALE, y1 * SCALE), fill=color, width=max(1, round(width * SCALE)))

    def box(self, x0: float, y0: float, x1: float, y1: float, color: tuple) -> None:
        if x1 - x0 >= 1:
            self.pen.rectangle((x0 * SCALE, y0 * SCALE, x1 * SCALE - 1, y1 * SCALE - 1), fill=color)

    def dot(self, x: float, y: float, radius: float, color: tuple) -> None:
        at = [(x - radius) * SCALE, (y - radius) * SCALE, (x + radius) * SCALE, (y + radius) * SCALE]
        self.pen.ellipse(at, fill=color, outline=PAPER, width=SCALE)

    def area(self, points: Sequence[tuple[float, float]], floor: float, color: tuple) -> None:
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        closed = [(scaled[0][0], floor * SCALE), *scaled, (scaled[-1][0], floor * SCALE)]
        self.pen.polygon(closed, fill=(*color, 70))
        self.pen.line(scaled, fill=color, width=round(1.4 * SCALE), joint="curve")

    def paste(self, data: np.ndarray, x: float, y: float, height: float) -> None:
        from PIL import Image

        picture = Image.fromarray(data)
        width = round(picture.width * height / picture.height)
        picture = picture.resize((width * SCALE, round(height) * SCALE), Image.Resampling.LANCZOS)
        self.image.paste(picture, (round(x * SCALE), round(y * SCALE)))

    def finished(self) -> Any:
        from PIL import Image

        return self.image.resize((self.image.width // SCALE, self.image.height // SCALE), Image.Resampling.LANCZOS)


def _draw(
    timeline: Timeline,
    title: str,
    subtitle: str,
    thumbnails: Sequence[Frame],
    background: str | None,
    threshold: float | None,
    end_s: float,
) -> Any:
    times, scores = timeline.table()
    labels = list(timeline.labels or [f"class {i}" for i in range(scores.shape[1] if scores.size else 0)])
    rows = rows_of(scores, labels, timeline.events)
    strip = STRIP if thumbnails else 0
    bottom = TOP + strip + max(len(rows), 1) * (ROW + ROW_GAP)
    canvas = _Canvas(WIDTH, bottom + AXIS)
    span = max(end_s, 0.1)
    right = WIDTH - RIGHT

    def at(seconds: float) -> float:
        return LEFT + (right - LEFT) * seconds / span

    canvas.text(24, 30, canvas.fit(title, 21, WIDTH - 48), 21)
    canvas.text(24, 58, canvas.fit(subtitle, 14, WIDTH - 48), 14, SOFT)
    if strip:
        _strip(canvas, thumbnails, at, right)
    _axis(canvas, at, span, TOP + strip, bottom)
    first = timeline.first_s
    for place, index in enumerate(rows):
        floor = TOP + strip + place * (ROW + ROW_GAP) + ROW
        quiet = labels[index] == background
        color = QUIET if quiet else HUES[(index if len(labels) <= ROWS else place) % len(HUES)]
        canvas.box(LEFT, floor - ROW, at(first) if first is not None else right, floor, BLANK)
        canvas.text(LEFT - 12, floor - ROW / 2, canvas.fit(labels[index], 14, LEFT - 30), 14, SOFT if quiet else INK, "rm")
        canvas.line(LEFT, floor, right, floor, FAINT)
        if threshold is not None and not quiet and first is not None:
            for dash in np.arange(at(first), right, 8):
                canvas.line(dash, floor - ROW * threshold, min(dash + 4, right), floor - ROW * threshold, FAINT)
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
    if rows:
        canvas.text(right + 10, TOP + strip - 12, "peak", 12, SOFT)
    if not len(times):
        canvas.text((LEFT + right) / 2, (TOP + strip + bottom) / 2, "no prediction was made", 16, SOFT, "mm")
    return canvas.finished()


def _steps(times: np.ndarray, values: np.ndarray, at: Any, floor: float, last_s: float) -> list[tuple[float, float]]:
    points = [(at(t), floor - ROW * float(v)) for t, v in zip(times, values, strict=True)]
    if last_s > times[-1] or len(points) == 1:
        points.append((max(at(last_s), points[-1][0] + 1), points[-1][1]))
    return points


def _strip(canvas: _Canvas, thumbnails: Sequence[Frame], at: Any, right: float) -> None:
    """As many frames as fit side by side, each with its left edge at its own time."""
    height = STRIP - 26
    free = float(LEFT)
    for frame in thumbnails:
        h, w = frame.data.shape[:2]
        width, x = w * height / h, at(frame.pts_s)
        if x >= free and x + width <= right + 1:
            canvas.paste(frame.data, x, TOP, height)
            free = x + width + 5


def _axis(canvas: _Canvas, at: Any, span: float, top: float, bottom: float) -> None:
    step = tick_step(span)
    for tick in np.arange(0, span * (1 + 1e-9), step):
        x = at(float(tick))
        canvas.line(x, top, x, bottom + 2, FAINT)
        canvas.text(x, bottom + 16, clock(float(tick), step), 13, SOFT, "mm")
