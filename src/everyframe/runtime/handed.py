"""A frame and a time that somebody handed over: made sure of before anything is done with them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from everyframe.errors import StateError
from everyframe.runtime.prediction import Prediction

#: a loop that pushes frames without times is told when its frames come so many times as often as the model takes them to
OFF, ENOUGH_S, LIVELY = 1.2, 3.0, 8.0
MICRO = 1_000_000


class PaceWarning(UserWarning):
    """Frames come at another rate than the model counts them at."""


def picture(frame: Any, bgr: bool) -> Any:
    """What was handed over as an array in RGB order, or gray; a dict of several as it is. Raises StateError."""
    if isinstance(frame, Mapping):
        return frame
    if frame is None:
        raise StateError(
            "There is no frame.", expected="uint8 (h, w, 3)", got="None",
            hint="cv2's `read` gives None at the end of a video and when a camera is gone: look at its first value",
        )  # fmt: skip
    if not isinstance(frame, np.ndarray):
        if not (hasattr(frame, "__array__") or hasattr(frame, "__array_interface__")):
            raise StateError("This is not a picture.", expected="uint8 (h, w, 3)", got=type(frame).__name__)
        frame = np.asarray(frame)
    array: np.ndarray = frame
    return array[..., ::-1] if bgr and array.ndim == 3 and array.shape[2] == 3 else array


def seconds(pts_s: Any) -> Fraction:
    """Raises StateError for what is no time."""
    if isinstance(pts_s, (int, float, Fraction, np.integer, np.floating)) and math.isfinite(pts_s):
        return Fraction(round(pts_s * MICRO), MICRO)  # what was meant by 0.04, so that ties are ties
    raise StateError("This is not a time.", where="pts_s", expected="seconds, such as 0.04", got=repr(pts_s))


class Pace:
    """Notices that frames without times come at another rate than they are counted at."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.clock = rate, clock
        self._begun: float | None = None
        self._count = 0

    def beat(self) -> None:
        now = self.clock()
        if self._begun is None:
            self._begun = now
        passed = now - self._begun
        if self._count >= 0 and passed >= ENOUGH_S:
            came = self._count / passed
            if OFF < max(came / self.rate, self.rate / max(came, 1e-9)) < LIVELY:
                warnings.warn(
                    f"frames come {came:.3g} times a second and are taken for {self.rate:.3g}: "
                    "give their times with stream.push(frame, pts_s=...)", PaceWarning, stacklevel=3,
                )  # fmt: skip
            self._count = -1  # looked at once
        elif self._count >= 0:
            self._count += 1


def one(predictions: list[Prediction]) -> Prediction | None:
    """The newest of what one frame gave, with the event of an earlier one, so that none is lost."""
    if not predictions:
        return None
    event = next((each.event for each in reversed(predictions) if each.event is not None), None)
    return replace(predictions[-1], event=event) if event is not predictions[-1].event else predictions[-1]
