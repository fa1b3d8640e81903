"""In which order the frames of a video are played, to find out what a network goes by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: (n frames, generator) -> which frame at each place
CONDITIONS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "normal": lambda n, _: np.arange(n),
    "reversed": lambda n, _: np.arange(n)[::-1],
    "shuffled": lambda n, rng: rng.permutation(n),
    "frozen": lambda n, _: np.full(n, n // 2),
}
#: those that show what a network goes by
CONTROLS = tuple(name for name in CONDITIONS if name != "normal")
