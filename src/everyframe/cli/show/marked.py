"""A video with what models said of it: below the pictures a label with its score, events, and all of it as a strip."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from everyframe.canvas import BLANK, HUES, INK, QUIET, SOFT, Canvas
from everyframe.runtime.prediction import shares

if TYPE_CHECKING:
    from everyframe.runtime import Prediction
    from everyframe.runtime.events import Event
    from everyframe.video import Source

SHOWN_S = 1.0  # seconds for which an event stands beside the label
SHARE, SMALLEST = 1 / 24, 13  # of the width is the size of letters, in pixels
MARGIN = 8
NARROWEST = 240  # pixels of a picture that is written


class Marks:
    """Of one model: its leading label at each prediction, and its events. name: empty where it is the only one."""

    def __init__(self, name: str, background: str | None) -> None:
        self.name, self.background = name, background
        self.events: list[Event] = []
        self.times: list[float] = []
        self._labels: list[str] = []
        self._indices: list[int] = []
        self._scores: list[float] = []

    def add(self, prediction: Prediction) -> None:
        if prediction.event is not None:
            self.events.append(prediction.event)
        top = prediction.steady or (prediction.top[0] if prediction.top else None)
        self.times.append(prediction.pts_s)
        self._labels.append(top.label if top else "")
        self._indices.append(top.index if top else -1)
        self._scores.append(float(shares(prediction.scores)[top.index]) if top else 0.0)

    def words(self, time_s: float) -> tuple[str, str, int]:
        """What is known then: the label with its score, a recent event, and the index of the label (-1: none)."""
        place = bisect_right(self.times, time_s + 1e-6) - 1
        event = next((each for each in reversed(self.events) if 0 <= time_s - each.pts_s + 1e-6 <= SHOWN_S), None)
        if place < 0 or not self._labels[place]:
            return "–", event.label if event else "", -1
        quiet = self._labels[place] == self.background
        said = f"{self._labels[place]}  {self._scores[place]:.2f}"
        return said, event.label if event else "", -1 if quiet else self._indices[place]

    def strip(self, canvas: Canvas, top: float, floor: float, left: float, right: float, span: float) -> None:
        """Scores as heights over the whole video, and a dot for each event."""
        canvas.box(left, top, right, floor, BLANK)
        ends = [*self.times[1:], span]
        scores = np.clip(np.array(self._scores), 0, 1)
        for begin, end, label, index, score in zip(self.times, ends, self._labels, self._indices, scores, strict=True):
            color = QUIET if label == self.background or index < 0 else _hue(index)
            x = left + (right - left) * begin / span
            canvas.box(x, floor - (floor - top) * score, max(x + 1, left + (right - left) * end / span), floor, color)
        for event in self.events:
            canvas.dot(left + (right - left) * event.pts_s / span, top, max(3.0, (floor - top) / 7), _hue(event.index))


def _hue(index: int) -> tuple:
    return HUES[index % len(HUES)] if index >= 0 else SOFT


def painter(marks: Sequence[Marks], span: float) -> Callable[[np.ndarray, float], np.ndarray]:
    """What draws a picture, (H, W, 3) uint8 at a time in seconds: the picture, and below it a line and a strip for each model.
    span: the length of the video in seconds.
    """
    strips: dict[int, list[np.ndarray]] = {}

    def size(width: int) -> int:
        return max(SMALLEST, round(width * SHARE))

    def drawn(width: int) -> list[np.ndarray]:
        if width not in strips:
            made, height = [], round(1.6 * size(width))
            for each in marks:
                canvas = Canvas(width, height)
                each.strip(canvas, height * 0.2, height - 2, MARGIN, width - MARGIN, max(span, 0.1))
                made.append(canvas.array())
            strips[width] = made
        return strips[width]

    @lru_cache(maxsize=256)
    def line(width: int, name: str, said: str, event: str, index: int) -> np.ndarray:
        letters = size(width)
        canvas = Canvas(width, round(1.5 * letters))
        middle, right = canvas.image.height / 4, float(width - MARGIN)
        if event:
            word = canvas.fit(event, letters, width / 2)
            canvas.text(right, middle, word, letters, INK, "rm")
            right -= canvas.width_of(word, letters) + letters
            canvas.dot(right, middle, letters / 3, _hue(index))
        canvas.text(
            MARGIN, middle, canvas.fit(f"{name}  {said}" if name else said, letters, right - 2 * MARGIN), letters, _hue(index)
        )
        return canvas.array()

    def paint(picture: np.ndarray, time_s: float) -> np.ndarray:
        larger = -(-NARROWEST // picture.shape[1])  # letters need room
        picture = picture.repeat(larger, axis=0).repeat(larger, axis=1) if larger > 1 else picture
        width, parts = picture.shape[1], [picture]
        for each, strip in zip(marks, drawn(width), strict=True):
            head = min(width - 1, MARGIN + round((width - 2 * MARGIN) * min(1.0, time_s / max(span, 0.1))))
            strip = strip.copy()
            strip[:, max(0, head - 1) : head + 1] = INK
            parts += [line(width, each.name, *each.words(time_s)), strip]
        return np.concatenate(parts)

    return paint


def write(path: Path, source: Source, marks: Sequence[Marks], *, end_s: float, rate: Fraction, cut: bool) -> list[str]:
    """cut: the video was not run to its end, and ends there. Gives notes. Raises OutputError."""
    from everyframe.video.write import rewrite

    return rewrite(source, path, painter(marks, end_s), picture_rate=rate, until=end_s if cut else None)
