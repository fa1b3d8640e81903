"""Something to run a network on, where no video is at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def noise(shape: Sequence[int], dtype: np.dtype | type | str, rng: np.random.Generator) -> np.ndarray:
    """Numbers around 0 where they have fractions, 0 or 1 where they pick or switch, else bytes of pictures."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.standard_normal(shape, np.float32).astype(kind, copy=False)
    return rng.integers(0, 2 if kind.kind == "b" or kind == np.int64 else 256, shape).astype(kind)
