"""Rendered streams as a data set of the ordinary loader: what a clip looks like depends on (seed, epoch, number) alone."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from everyframe.recipes.motions import Data
from everyframe.rendering.hands import dataset
from everyframe.rendering.hands.scene import Shares

Stream = tuple[np.ndarray, np.ndarray, np.ndarray]  # video (T, H, W) uint8, bits (T,) uint8, hand (T, 3)


class Streams:
    """item: (epoch, number) -> ((t, H, W, 1) uint8, what is asked of it): a part of a stream of the pool, half of them mirrored.

    The pool is the newest of all streams of a seed, which follow each other without end: it moves on by `fresh` of them an
    epoch. A stream is rendered when it is first drawn, and kept while it is in the pool. draws: clips of an epoch.
    """

    training: ClassVar = True
    unit: ClassVar = "clips"

    def __init__(self, data: Data, seed: int, draws: int) -> None:
        self.data, self.seed, self.draws = data, seed, draws
        self._rendered: dict[int, Stream] = {}

    def __len__(self) -> int:
        return self.draws

    def order(self, epoch: int) -> np.ndarray:
        return np.arange(self.draws)

    def name(self, number: int) -> object:
        return f"rendered stream {number} of seed {self.seed}"

    def pool(self, epoch: int) -> range:
        """Which streams an epoch draws from."""
        d = self.data
        first = epoch * min(d.fresh, d.pool)
        return range(first, first + d.pool)

    def __call__(self, key: tuple[int, int]) -> tuple[np.ndarray, dict[str, Any]]:
        rng = np.random.default_rng([7, self.seed, *key])
        pool, frames = self.pool(key[0]), self.data.frames
        stream = self._stream(pool[int(rng.integers(len(pool)))], pool)
        free = frames // 5  # a part begins anywhere in the first fifth
        start = int(rng.integers(free + 1)) if rng.random() < 0.7 else 0
        video, bits, hand = (part[start : start + frames - free] for part in stream)
        if rng.random() < 0.5:
            video, bits, hand = dataset.mirrored(video, bits, hand)
        gain = np.exp(rng.normal(0, 0.25)) * (-1 if rng.random() < 0.15 else 1)  # of the contrast; sometimes the negative
        return video[..., None], {"bits": bits, "hand": hand, "gain": np.float32(gain), "shift": np.float32(rng.normal(0, 0.25))}

    def _stream(self, index: int, pool: range) -> Stream:
        if index not in self._rendered:
            d = self.data
            self._rendered = {kept: one for kept, one in self._rendered.items() if kept in pool}
            shares = Shares(d.bones, d.bones_beside, d.tight)
            made = dataset.streams(
                "train", self.seed, range(index, index + 1), d.frames, d.fps, (d.height, d.width), shares=shares
            )
            self._rendered[index] = made.video[0], made.bits[0], made.hand[0]
        return self._rendered[index]
