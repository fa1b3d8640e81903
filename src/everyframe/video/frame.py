"""One picture with its time."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Frame:
    """data: (H, W, C) uint8 in the color that was asked for. pts_s: seconds since the source's first frame, by the
    source's own timestamps. index: the frame's number in the source, from 0. at: when it was decoded, on the clock of
    `time.monotonic`; 0 of what has no decode process.
    """

    data: np.ndarray
    pts_s: float
    index: int
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame as the decoder gave it: the picture still in the decoder's own format, times exact.

    picture: an `av.VideoFrame`, or of an array (H, W, C) uint8. duration: how long it is shown, where the container says so (0 if
    unknown).
    """

    picture: Any
    pts: Fraction
    duration: Fraction
    index: int
