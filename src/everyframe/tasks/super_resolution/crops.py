"""What training sees: small squares of pictures with what they should become, and for video squares that move.

A crop depends on (seed, epoch, its number) alone.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from everyframe.errors import SourceError
from everyframe.recipes.super_resolution import Data
from everyframe.tasks.super_resolution.cache import Lumas
from everyframe.tasks.super_resolution.resize import matrix

#: pixels of the small picture beyond a moving crop, so that its reduction sees what lies outside
MARGIN = 3


class Crops:
    """(epoch, number) -> ((T, h, w, 1) uint8, (T, h * scale, w * scale) uint8): small and large, T = 1 of a still one; or the
    SourceError of a picture that cannot be read. Picture `number` modulo their count. moving: frames of a crop for video.
    """

    training: ClassVar = True
    unit: ClassVar = "crops"

    def __init__(self, pictures: Lumas, settings: Data, seed: int, moving: bool) -> None:
        self.pictures, self.settings, self.seed = pictures, settings, seed
        self.frames = settings.frames if moving else 1

    def __len__(self) -> int:
        return self.settings.crops

    def order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self))

    def name(self, number: int) -> object:
        return self.pictures.pairs[number % len(self.pictures)].large

    def __call__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | SourceError:
        epoch, number = key
        rng = np.random.default_rng([self.seed, epoch, number + 1])  # a 0 is the same as nothing, and that is the order's
        try:
            small, large = self.pictures[number % len(self.pictures)]
            self._fits(small, number)
        except SourceError as error:
            return error
        made = self._still(small, large, rng) if self.frames == 1 else self._moving(large, rng)
        if self.settings.flip:
            made = turned(*made, rng)
        return np.ascontiguousarray(made[0][..., None]), np.ascontiguousarray(made[1])

    def _fits(self, small: np.ndarray, number: int) -> None:
        least = self.settings.crop + (2 * MARGIN + 1 if self.frames > 1 else 0)
        if min(small.shape) < least:
            raise SourceError(
                "The picture is too small to cut from.", where=self.name(number),
                expected=f"a short side of at least {least * self.pictures.scale} pixels",
                got=f"{small.shape[0] * self.pictures.scale} x {small.shape[1] * self.pictures.scale} (height x width)",
                hint="a smaller data.crop takes it",
            )  # fmt: skip

    def _still(self, small: np.ndarray, large: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        size, s = self.settings.crop, self.pictures.scale
        top, left = (int(rng.integers(side - size + 1)) for side in small.shape)
        cut = small[top : top + size, left : left + size]
        return cut[None], large[None, top * s : (top + size) * s, left * s : (left + size) * s]

    def _moving(self, large: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """At a steady speed that is jerked a little, in whole pixels of the large picture: fractions of the small one, which is
        what several frames know more about than one.
        """
        size, s = self.settings.crop, self.pictures.scale
        side, margin = (size + 2 * MARGIN) * s, MARGIN * s
        reduce = matrix(side, side // s)
        speed = rng.uniform(-self.settings.speed, self.settings.speed, 2)
        steps = speed + rng.normal(0, 0.15 * self.settings.speed, (self.frames, 2))
        room = np.array(large.shape) - side
        path = np.rint(np.cumsum(steps, 0))
        path -= path.min(0)
        begin = rng.integers(0, np.maximum(1, room - path.max(0) + 1))
        places = np.clip(path + begin, 0, room).astype(int)
        smalls, larges = [], []
        for top, left in places:
            part = large[top : top + side, left : left + side]
            made = reduce @ part.astype(np.float32) @ reduce.T
            smalls.append(np.clip(made[MARGIN:-MARGIN, MARGIN:-MARGIN] + 0.5, 0, 255).astype(np.uint8))
            larges.append(part[margin:-margin, margin:-margin])
        return np.stack(smalls), np.stack(larges)


def turned(small: np.ndarray, large: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both (T, H, W) mirrored and turned by quarters, alike."""
    mirror, quarters = bool(rng.integers(2)), int(rng.integers(4))
    both = [np.rot90(each[..., ::-1] if mirror else each, quarters, (1, 2)) for each in (small, large)]
    return both[0], both[1]
