"""Constants that number the frames of a clip: 1, 2, 3 ... or 1, 1/2, 1/3 ..., which a running sum is divided by for its mean;
or multiples of them, where the mean is over channels too (cumulative layer normalization).

In a longer video they go on; any other constant that changes along time belongs to the clip's own length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everyframe.conversion import axes as ax

OPERATORS = ("Div", "Mul")


@dataclass(frozen=True)
class Numbers:
    """start: the first frame's number. of: what it is multiplied with. shares: the reciprocals of that are meant."""

    start: int
    of: float
    shares: bool


def numbers(op: str, array: np.ndarray | None, axes: ax.Axes) -> Numbers | None:
    """What a constant operand of `op` counts along time; None if it does not."""
    time = ax.time_axis(axes)
    if op not in OPERATORS or array is None or time is None or array.dtype != np.float32 or array.ndim > len(axes):
        return None
    array = array.reshape((1,) * (len(axes) - array.ndim) + array.shape)
    lines = np.moveaxis(array, time, 0).reshape(array.shape[time], -1).astype(np.float64)
    frames, row = len(lines), lines[:, 0] if lines.size else lines
    if frames < 2 or not lines.size or (lines != row[:, None]).any():  # the same at every position and channel
        return None
    for shares in (False, True):
        values = 1 / row if shares and row.all() else row
        of = (values[-1] - values[0]) / (frames - 1)
        of = float(round(of)) if abs(of - round(of)) < 1e-5 * abs(of) else of  # reciprocals are not exact
        start = round(values[0] / of) if of > 0 else 0
        if start >= 1 and np.allclose(values, of * (start + np.arange(frames)), rtol=1e-6, atol=0):
            return Numbers(start, of, shares)
    return None
