"""Which moments of an example teach what: where the gesture moves, when it can be told, and where nothing happens yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: of the way from quiet to the strongest motion, beyond which something moves
_MOVING = 0.15


@dataclass(frozen=True)
class Span:
    """Frames of an example between which it moves: first and last, of `frames`."""

    first: int
    last: int
    frames: int


def span(pictures: np.ndarray) -> Span:
    """Where an example moves. pictures (T, H, W, C) uint8. One that moves all the time, or never, is all gesture."""
    frames = len(pictures)
    if frames < 4:
        return Span(0, frames - 1, frames)
    values = pictures.reshape(frames, -1).astype(np.int16)
    change = np.abs(np.diff(values, axis=0)).mean(1)  # (T - 1,): from frame i to i + 1
    smooth = np.convolve(change, np.ones(3) / 3, "same")
    quiet, strong = np.percentile(smooth, 10), np.percentile(smooth, 95)
    moving = np.flatnonzero(smooth > quiet + _MOVING * (strong - quiet))
    if len(moving) < 2:
        return Span(0, frames - 1, frames)
    return Span(int(moving[0]), int(moving[-1]) + 1, frames)


def gesture(where: Span, seen: np.ndarray, window: int) -> np.ndarray:
    """Which steps teach the gesture. seen (steps,): the newest frame that each has fully seen.

    From the middle of the motion on, until the head's window begins to forget it.
    """
    middle = (where.first + where.last) / 2
    steps = np.flatnonzero((seen >= middle) & (seen <= where.last + window // 2))
    return steps if len(steps) else np.array([len(seen) - 1])


def before(where: Span, seen: np.ndarray) -> np.ndarray:
    """Which steps teach that nothing has happened yet: those before the motion."""
    return np.flatnonzero(seen < where.first)
