"""Training data: rendered streams in memory, drawn as augmented batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from everyframe.motions.export import MEAN, STD
from everyframe.motions.render import dataset
from everyframe.recipes.motions import MotionsRecipe


def normalize(video: np.ndarray) -> Tensor:
    """(N, T, H, W) uint8 -> (N, 1, T, H, W) float32."""
    return torch.from_numpy(np.ascontiguousarray(video)).unsqueeze(1).float().mul_(1 / 255 / STD).sub_(MEAN / STD)


def augment(rng: np.random.Generator, video: Tensor) -> Tensor:
    """Contrast, brightness and sometimes the negative: (N, 1, T, H, W) normalized."""
    n = len(video)
    gain = np.exp(rng.normal(0, 0.25, n)) * np.where(rng.random(n) < 0.15, -1, 1)
    shift = rng.normal(0, 0.25, n)
    shape = (n, 1, 1, 1, 1)
    return video * torch.tensor(gain, dtype=torch.float32).view(shape) + torch.tensor(shift, dtype=torch.float32).view(shape)


class Pool:
    """Rendered streams in memory, part of them renewed every epoch."""

    def __init__(self, recipe: MotionsRecipe, seed: int, say: Callable[[str], None]) -> None:
        self.recipe, self.seed, self.made, self.next = recipe, seed, 0, 0
        self.batch = self._render(min(recipe.data.pool, max(64, recipe.data.pool)), say)

    def _render(self, count: int, say: Callable[[str], None] | None = None) -> dataset.Batch:
        d = self.recipe.data
        parts = []
        for begin in range(0, count, 100):
            indices = range(self.made + begin, self.made + min(begin + 100, count))
            parts.append(dataset.streams("train", self.seed, indices, d.frames, d.fps, (d.height, d.width)))
            if say:
                say(f"seed {self.seed}: rendering {begin + len(indices)}/{count} streams")
        self.made += count
        return dataset.Batch(
            np.concatenate([p.video for p in parts]),
            np.concatenate([p.bits for p in parts]),
            np.concatenate([p.hand for p in parts]),
            [],
        )

    def renew(self) -> None:
        count = min(self.recipe.data.fresh, len(self.batch.video))
        if not count:
            return
        fresh = self._render(count)
        at = (self.next + np.arange(count)) % len(self.batch.video)
        self.batch.video[at], self.batch.bits[at], self.batch.hand[at] = fresh.video, fresh.bits, fresh.hand
        self.next = int(at[-1]) + 1

    def draw(self, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """A batch, half of it mirrored, beginning anywhere in the streams' first quarter."""
        rows = rng.integers(0, len(self.batch.video), size)
        frames = self.batch.video.shape[1]
        keep = frames - frames // 5
        drawn = []
        for row in rows:
            start = int(rng.integers(0, frames - keep + 1)) if rng.random() < 0.7 else 0
            one = tuple(part[row, start : start + keep] for part in (self.batch.video, self.batch.bits, self.batch.hand))
            drawn.append(dataset.mirrored(*one) if rng.random() < 0.5 else one)
        video, bits, hand = (np.stack(part) for part in zip(*drawn, strict=True))
        return augment(rng, normalize(video)), torch.from_numpy(bits), torch.from_numpy(hand)
