"""Mixed precision: the layers that add most noise are put back to float, as few as needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from everyframe.quantization.compare import Row


def candidates(rows: Sequence[Row]) -> list[str]:
    """Names of the quantized layers, the one that adds most noise to its inputs' first."""
    able = [row for row in rows if row.precision == "int" and row.op != "input"]
    return [row.name for row in sorted(able, key=lambda row: -row.added)]


def fewest(of: int, holds: Callable[[int], bool]) -> int:
    """The smallest count up to `of` that holds, where more never hurts: by doubling, then by halving. 0 is known not to hold,
    `of` is taken as given.
    """
    low, high = 0, 1
    while high < of and not holds(high):
        low, high = high, 2 * high
    high = min(high, of)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
