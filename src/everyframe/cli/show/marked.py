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
RECENT_S = 20.0  # that are shown of what has no end
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

    def forget(self, before_s: float) -> None:
        """What is older, of a camera that runs for days."""
        place = bisect_right(self.times, before_s)
        for each in (self.times, self._labels, self._indices, self._scores):
            del each[:place]
        self.events = [event for event in self.events if event.pts_s > before_s]

    def strip(self, canvas: Canvas, size: tuple[float, float, float, float], span: float, begin: float = 0.0) -> None:
        """Scores as heights over the seconds from begin on, and a dot for each event. size: top, floor, left and right."""
        top, floor, left, right = size
        canvas.box(left, top, right, floor, BLANK)
        ends = [*self.times[1:], begin + span]
        scores = np.clip(np.array(self._scores), 0, 1)

        def at(time_s: float) -> float:
            return left + (right - left) * min(1.0, max(0.0, (time_s - begin) / span))

        for time_s, end, label, index, score in zip(self.times, ends, self._labels, self._indices, scores, strict=True):
            color = QUIET if label == self.background or index < 0 else _hue(index)
            canvas.box(at(time_s), floor - (floor - top) * score, max(at(time_s) + 1, at(end)), floor, color)
        for event in self.events:
            canvas.dot(at(event.pts_s), top, max(3.0, (floor - top) / 7), _hue(event.index))


def _hue(index: int) -> tuple:
    return HUES[index % len(HUES)] if index >= 0 else SOFT


def size(width: int) -> int:
    return max(SMALLEST, round(width * SHARE))


def _strip(marks: Marks, width: int, span: float, begin: float = 0.0) -> np.ndarray:
    height = round(1.6 * size(width))
    canvas = Canvas(width, height)
    marks.strip(canvas, (height * 0.2, height - 2, MARGIN, width - MARGIN), span, begin)
    return canvas.array()


@lru_cache(maxsize=256)
def _line(width: int, name: str, said: str, event: str, index: int) -> np.ndarray:
    letters = size(width)
    canvas = Canvas(width, round(1.5 * letters))
    middle, right = canvas.image.height / 4, float(width - MARGIN)
    if event:
        word = canvas.fit(event, letters, width / 2)
        canvas.text(right, middle, word, letters, INK, "rm")
        right -= canvas.width_of(word, letters) + letters
        canvas.dot(right, middle, letters / 3, _hue(index))
    said = f"{name}  {said}" if name else said
    canvas.text(MARGIN, middle, canvas.fit(said, letters, right - 2 * MARGIN), letters, _hue(index))
    return canvas.array()


def _wide(picture: np.ndarray) -> np.ndarray:
    """Letters need room."""
    larger = -(-NARROWEST // picture.shape[1])
    return picture.repeat(larger, axis=0).repeat(larger, axis=1) if larger > 1 else picture


def now(marks: Marks, picture: np.ndarray) -> np.ndarray:
    """A picture, (H, W, 3) uint8, with what was said last, and the last seconds as a strip."""
    time_s = marks.times[-1]
    marks.forget(time_s - RECENT_S)
    picture = _wide(picture)
    width = picture.shape[1]
    strip = _strip(marks, width, RECENT_S, time_s - RECENT_S)
    return np.concatenate([picture, _line(width, marks.name, *marks.words(time_s)), strip])


def painter(marks: Sequence[Marks], span: float) -> Callable[[np.ndarray, float], np.ndarray]:
    """What draws a picture, (H, W, 3) uint8 at a time in seconds: the picture, and below it a line and a strip for each model.
    span: the length of the video in seconds.
    """
    strips: dict[int, list[np.ndarray]] = {}

    def drawn(width: int) -> list[np.ndarray]:
        if width not in strips:
            strips[width] = [_strip(each, width, max(span, 0.1)) for each in marks]
        return strips[width]

    def paint(picture: np.ndarray, time_s: float) -> np.ndarray:
        picture = _wide(picture)
        width, parts = picture.shape[1], [picture]
        for each, strip in zip(marks, drawn(width), strict=True):
            head = min(width - 1, MARGIN + round((width - 2 * MARGIN) * min(1.0, time_s / max(span, 0.1))))
            strip = strip.copy()
            strip[:, max(0, head - 1) : head + 1] = INK
            parts += [_line(width, each.name, *each.words(time_s)), strip]
        return np.concatenate(parts)

    return paint


def write(path: Path, source: Source, marks: Sequence[Marks], *, end_s: float, rate: Fraction, cut: bool) -> list[str]:
    """cut: the video was not run to its end, and ends there. Gives notes. Raises OutputError."""
    from everyframe.video.write import rewrite

    return rewrite(source, path, painter(marks, end_s), picture_rate=rate, until=end_s if cut else None)
