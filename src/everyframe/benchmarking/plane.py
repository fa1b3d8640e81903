"""Two quantities of many networks as a plane, such as accuracy against speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from everyframe.canvas import FAINT, HUES, INK, QUIET, SOFT, Canvas

WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, FLOOR = 70, 880, 46, 460
GROUPS = (HUES[0], HUES[1], HUES[2], HUES[4], HUES[3], HUES[5])
#: decades that an axis has at least, so that 1, 2 or 5 of something stands on it
LEAST = 0.5
#: pixels between a dot and its name; names keep so much apart
NEAR, LINE = 8, 13


@dataclass(frozen=True)
class Point:
    """group: which of the plane's groups it belongs to."""

    x: float
    y: float
    name: str
    group: int = 0


def plane(
    points: Sequence[Point], across: str, up: str, groups: Sequence[str], diagonal: bool = False, log_up: bool = False
) -> bytes:
    """A dot a network; x is logarithmic. diagonal: a line where y equals x. Names that find no room are left out."""
    canvas = Canvas(WIDTH, HEIGHT)
    low, high = _decades([point.x for point in points])
    bottom, roof = _decades([point.y for point in points]) if log_up else _linear([point.y for point in points])

    def place(x: float, y: float) -> tuple[float, float]:
        share = (math.log10(y) - bottom) / (roof - bottom) if log_up else (y - bottom) / (roof - bottom)
        return LEFT + (math.log10(x) - low) / (high - low) * (RIGHT - LEFT), FLOOR - share * (FLOOR - TOP)

    for value in _marks(low, high):
        at, _ = place(value, 10**bottom if log_up else bottom)
        canvas.line(at, TOP, at, FLOOR, FAINT)
        canvas.text(at, FLOOR + 16, f"{value:g}", 12, SOFT, "mm")
    for value in _marks(bottom, roof) if log_up else _steps(bottom, roof):
        _, at = place(10**low, value)
        canvas.line(LEFT, at, RIGHT, at, FAINT)
        canvas.text(LEFT - 8, at, f"{value:g}", 12, SOFT, "rm")
    if diagonal and log_up:
        first, last = max(low, bottom), min(high, roof)
        canvas.path([place(10**first, 10**first), place(10**last, 10**last)], QUIET, 1.4, 6)
    canvas.text((LEFT + RIGHT) / 2, FLOOR + 42, across, 13, SOFT, "mm")
    canvas.text(LEFT, 16, up, 13, SOFT, "lm")
    places = [place(point.x, point.y) for point in points]
    taken = [(x - 6, x + 6, y) for x, y in places]  # no name over a dot
    for point, (x, y) in zip(points, places, strict=True):
        canvas.dot(x, y, 5, GROUPS[point.group])
    for point, (x, y) in zip(points, places, strict=True):
        _name(canvas, point.name, x, y, taken)
    at = float(RIGHT)
    for hue, group in reversed([*zip(GROUPS, groups, strict=False)]):
        at -= canvas.width_of(group, 13) + 28
        canvas.dot(at, 16, 5, hue)
        canvas.text(at + 10, 16, group, 13, INK)
    return canvas.png()


def _name(canvas: Canvas, name: str, x: float, y: float, taken: list[tuple[float, float, float]]) -> None:
    """Beside its dot, above or below it: where nothing stands yet."""
    wide = canvas.width_of(name, 11)
    for dx, dy in (
        (NEAR, 0),
        (NEAR, -LINE),
        (NEAR, LINE),
        (-NEAR - wide, 0),
        (-NEAR - wide, -LINE),
        (-NEAR - wide, LINE),
        (-wide / 2, 17),
        (-wide / 2, -17),
    ):
        left, at = x + dx, y + dy
        inside = left >= LEFT - 4 and left + wide <= WIDTH - 4
        if inside and all(abs(at - other) >= LINE or left > end or left + wide < start for start, end, other in taken):
            taken.append((left, left + wide, at))
            canvas.text(left, at, name, 11, SOFT, "lm", halo=1)
            return


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis."""
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max((high - low) * 0.05, (LEAST - (high - low)) / 2, 0.06)
    return low - room, high + room


def _linear(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(1e-9, (high - low) * 0.08) or 1.0
    return low - room, high + room


def _marks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... between two exponents."""
    every = [digit * 10.0**power for power in range(math.floor(low) - 1, math.ceil(high) + 1) for digit in (1, 2, 5)]
    return [value for value in every if low <= math.log10(value) <= high]


def _steps(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step *= 5 if (high - low) / step > 15 else 2 if (high - low) / step > 8 else 1
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
