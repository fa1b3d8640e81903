"""Weights of 16 bits: whole numbers, and a float32 scale for each entry of a group of output channels (see `c/conv_halved.c`).

Half the memory, with a tenth of the error of float16: an entry's 8 to 48 weights are of one size, so that it needs no exponent in
each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from everyframe.native.blob import Blob

#: of a weight, as a whole number
_LARGEST = 32767
#: floats that they become at once, at most
WIDE = 8192
#: positions up to which they become floats in registers, at each run of positions, and not once for many of them
REGISTERS = 12


def halved(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (entries, channels) -> int16 of that shape and float32 (entries,), whose products are the weights, rounded."""
    scales = np.abs(weights).max(1, initial=0).astype(np.float32) / np.float32(_LARGEST)
    whole = np.rint(np.divide(weights, scales[:, None], out=np.zeros(weights.shape, np.float32), where=scales[:, None] > 0))
    return np.clip(whole, -_LARGEST, _LARGEST).astype(np.int16), scales


def at_once(kernel: tuple[int, int], sources: int, channels: int) -> int:
    """Input channels of each source that a slice may have. kernel: height and width; channels: of the output, in a group. 0: a
    slice of one has too many weights, so they stay floats."""
    return WIDE // channels // (max(1, sources) * kernel[0] * kernel[1])


def fields(blob: Blob, key: tuple, parts: Callable[[], Sequence[np.ndarray]], half: bool) -> dict[str, object]:
    """Where weights lie. key: what they are; parts: float32 (entries, channels) of each group; half: in 16 bits."""
    made = cache(lambda: [halved(part) for part in parts()])

    def weights() -> np.ndarray:
        return np.concatenate([part.ravel() for part in ([whole for whole, _ in made()] if half else parts())])

    def scales() -> np.ndarray:
        return np.concatenate([scale for _, scale in made()])

    return {"weights": blob.once(("weights", *key), weights), "scales": blob.once(("scales", *key), scales) if half else 0}
