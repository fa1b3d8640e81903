"""The picture of a quantization: how near each layer stays to float, and whether that changes along the stream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from everyframe.canvas import FAINT, HUES, INK, QUIET, SOFT, Canvas
from everyframe.quantization.compare import PARTS, Row
from everyframe.quantization.quantize import Quantized

WIDTH, HEIGHT = 1280, 860
LEFT, RIGHT = 64, 1256
LAYERS, STREAM = (122, 424), (652, 806)  # from top to bottom, in pixels
NAMES = 64  # of layers, at most
TOP_DB = 70.0  # larger ratios are drawn there
COLORS = {"int": HUES[0], "float": HUES[1]}
STATES = 8  # curves of the states whose error grows most


def picture(result: Quantized, title: str) -> bytes:
    """A PNG."""
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.text(24, 26, title, 19)
    words = result.verdict.split("; ")
    for i, part in enumerate((words[:2], words[2:])):
        canvas.text(24, 50 + 19 * i, canvas.fit("; ".join(part), 13, WIDTH - 48), 13, SOFT)
    _layers(canvas, result)
    _stream(canvas, result)
    return canvas.png()


def _layers(canvas: Canvas, result: Quantized) -> None:
    rows, (top, bottom) = result.comparison.layers, LAYERS
    scale = _Scale([row.sqnr_db for row in rows], top, bottom)
    canvas.text(24, top - 22, "values over error of each layer, dB (from the input to the answer)", 13, INK)
    _grid(canvas, scale)
    limit = _decibels(result.wanted)
    if scale.low < limit < scale.high:
        canvas.path([(LEFT, scale(limit)), (RIGHT, scale(limit))], HUES[9], 1, dash=6)
        canvas.text(RIGHT, scale(limit) - 9, f"cosine {result.wanted:g}", 12, HUES[9], "rm")
    across = np.linspace(LEFT + 14, RIGHT - 14, max(2, len(rows)))
    canvas.path([(x, scale(row.sqnr_db)) for x, row in zip(across, rows, strict=False)], QUIET, 1.5)
    named = -(-len(rows) // NAMES)
    for i, (x, row) in enumerate(zip(across, rows, strict=False)):
        canvas.dot(x, scale(row.sqnr_db), 4.5, COLORS[row.precision])
        if i % named == 0:
            words = canvas.fit(row.name, 11, 200)
            canvas.text_up(x, bottom + 14 + canvas.width_of(words, 11), words, 11, SOFT)
    for x, (kind, words) in zip((WIDTH - 330, WIDTH - 150), (("int", "in integers"), ("float", "in float")), strict=True):
        canvas.dot(x, top - 22, 4.5, COLORS[kind])
        canvas.text(x + 10, top - 22, words, 13, SOFT)


def _stream(canvas: Canvas, result: Quantized) -> None:
    found, (top, bottom) = result.comparison, STREAM
    states = sorted(found.states, key=lambda row: -row.drift_db)[:STATES]
    curves = [("answers", found.answers.parts_db, INK)]
    curves += [(_short(row), row.parts_db, HUES[i % len(HUES)]) for i, row in enumerate(states)]
    room = 300 if len(curves) > 1 else 120  # for the names, on the right
    scale = _Scale([value for _, parts, _ in curves for value in parts], top, bottom)
    canvas.text(24, top - 22, "values over error along the stream, dB; the second half shows the same videos again", 13, INK)
    _grid(canvas, scale, RIGHT - room)
    across = LEFT + (np.arange(PARTS) + 0.5) * (RIGHT - room - LEFT) / PARTS
    middle = (LEFT + RIGHT - room) / 2
    canvas.path([(middle, top), (middle, bottom)], QUIET, 1, dash=4)
    for name, parts, color in reversed(curves):
        canvas.path([(x, scale(v)) for x, v in zip(across, parts, strict=True)], color, 3 if name == "answers" else 1.6)
    for i, (name, _, color) in enumerate(curves):
        y = top + 8 + i * 18
        canvas.line(RIGHT - room + 16, y, RIGHT - room + 36, y, color, 3)
        canvas.text(RIGHT - room + 42, y, canvas.fit(name, 12, room - 44), 12, SOFT)
    for share in (0, 0.5, 1):
        x = LEFT + share * (RIGHT - room - LEFT)
        canvas.text(x, bottom + 16, f"frame {round(share * found.frames)}", 12, SOFT, "mm")


class _Scale:
    """Decibels to pixels."""

    def __init__(self, values: list[float], top: int, bottom: int) -> None:
        known = np.clip(values, -10, TOP_DB)
        self.low = float(np.floor(min(known) / 10) * 10)
        self.high = float(max(np.ceil(max(known) / 10) * 10, self.low + 10))
        self.top, self.bottom = top, bottom

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)

    def ticks(self) -> Iterator[float]:
        yield from np.arange(self.low, self.high + 1, 10)


def _grid(canvas: Canvas, scale: _Scale, right: float = RIGHT) -> None:
    for tick in scale.ticks():
        canvas.line(LEFT, scale(tick), right, scale(tick), FAINT)
        canvas.text(LEFT - 10, scale(tick), f"{tick:.0f}", 12, SOFT, "rm")


def _decibels(cosine: float) -> float:
    """Of an error at a right angle to the values."""
    return float(-10 * np.log10(max(1 / max(cosine, 1e-9) ** 2 - 1, 1e-20)))


def _short(row: Row) -> str:
    return f"{row.name.removeprefix('state.').removesuffix('.out')} ({-row.drift_db:+.1f} dB)"
