"""How cost grows: the exponent of a power that fits what was measured over a range of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from everyframe.benchmarking.outcome import Benchmark, Measured
from everyframe.benchmarking.plane import Point, plane
from everyframe.benchmarking.report import Table
from everyframe.errors import UsageError

#: what may be varied; the last two of any model, the others of networks of the zoo, which are made anew for each value
AXES = ("size", "frames", "width", "window", "threads", "streams")
OF_MODELS = ("threads", "streams")
UNITS = {
    "size": "pixels high and wide", "frames": "frames of a clip", "width": "times the channels",
    "window": "frames of the head's pool",
}  # fmt: skip
RESAMPLED = 2000


@dataclass(frozen=True)
class Sweep:
    """axis: what is varied. values: in their order."""

    axis: str
    values: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> Sweep:
        """`size=112,160,224`. Raises UsageError."""
        axis, _, numbers = text.partition("=")
        try:
            values = tuple(float(number) for number in numbers.split(","))
        except ValueError:
            values = ()
        if axis not in AXES or len({*values}) < 2 or min(values) <= 0 or not all(map(np.isfinite, values)):
            allowed = f"AXIS=N,N,... with two values or more; AXIS: {', '.join(AXES)}"
            raise UsageError("This is no sweep.", got=text, expected=allowed)
        if axis != "width" and any(value != int(value) for value in values):
            raise UsageError("This is counted in whole numbers.", where=axis, got=numbers)
        return cls(axis, tuple(sorted(values)))


@dataclass(frozen=True)
class Exponent:
    """Cost grows as value ** power; the interval holds it in 95 of 100 repetitions, as far as turns tell."""

    power: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.power:.2f} ({self.low:.2f} to {self.high:.2f})"


def fitted(values: Sequence[float], turns: Sequence[Sequence[float]]) -> Exponent:
    """The power of the best line through logarithms of medians. turns: of each value the times of its turns."""
    x = np.log(np.array(values))
    rng = np.random.default_rng(0)
    drawn = np.stack([np.median(rng.choice(np.array(each), (RESAMPLED, len(each))), axis=1) for each in turns])
    powers = np.polyfit(x, np.log(drawn), 1)[0]
    middle = float(np.polyfit(x, np.log([np.median(each) for each in turns]), 1)[0])
    low, high = np.percentile(powers, (2.5, 97.5))
    return Exponent(middle, float(low), float(high))


def series(found: Benchmark) -> dict[str, list[tuple[float, Measured]]]:
    """What was measured at more than one value, by what it is: (value, row), in the order of values."""
    axis, values = found.sweep["axis"], found.sweep["values"]
    made: dict[str, list[tuple[float, Measured]]] = {}
    for row in found.measured:
        name = row.called
        value = getattr(row, axis) if axis in OF_MODELS else values[name]
        what = name if axis in OF_MODELS else f"{values_name(name, values)}{row.kind}"
        made.setdefault(f"{what} on {row.engine}", []).append((float(value), row))
    return {name: sorted(rows, key=lambda pair: pair[0]) for name, rows in made.items() if len({value for value, _ in rows}) > 1}


def values_name(name: str, values: Mapping[str, float]) -> str:
    """The network's name: that of the file up to its value; nothing where all are of one network."""
    stems = {file.partition(" ")[0] for file in values}
    return "" if len(stems) == 1 else name.partition(" ")[0] + ", "


def cost(row: Measured, axis: str) -> list[float]:
    """Milliseconds that count, by turn: of a call; for many streams and threads, by the clock of all calls together."""
    if axis == "streams":
        return [turn / row.streams for turn in row.turns]
    return row.turns if axis == "threads" else row.basis


def table(found: Benchmark) -> Table:
    axis = found.sweep["axis"]
    unit = f" ({UNITS[axis]})" if axis in UNITS else ""
    columns = ("", axis, "ms", "multiply-adds M", "state MB", "memory MB")
    made = Table(f"How cost grows with {axis}{unit}", columns)
    for name, rows in series(found).items():
        for value, row in rows:
            macs = found.costs.get(row.called, {}).get("macs")
            made.rows.append([
                name, f"{value:g}", f"{np.median(cost(row, axis)):.3g}", f"{macs / 1e6:.3g}" if macs else "–",
                f"{row.state * row.streams / 1e6:.3g}", f"{row.memory_peak / 1e6:.0f}",
            ])  # fmt: skip
        power = fitted([value for value, _ in rows], [cost(row, axis) for _, row in rows])
        work = [float(found.costs.get(row.called, {}).get("macs", 0)) for _, row in rows]
        of_work = ""
        if axis not in OF_MODELS and all(work):
            of_work = f"; multiply-adds as {axis}^{np.polyfit(np.log([value for value, _ in rows]), np.log(work), 1)[0]:.2f}"
        made.notes.append(f"{name}: time grows as {axis}^{power}{of_work}")
    return made


def picture(found: Benchmark) -> bytes | None:
    axis, rows = found.sweep["axis"], series(found)
    points = [
        Point(value, float(np.median(cost(row, axis))), f"{value:g}", i)
        for i, each in enumerate([*rows.values()][:4])
        for value, row in each
    ]
    return plane(points, axis, "ms a call", [*rows][:4], log_up=True) if points else None
