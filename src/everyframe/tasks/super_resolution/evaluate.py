"""How good a model is: PSNR and SSIM of each picture, beside those of bicubic interpolation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np

from everyframe.errors import SourceError
from everyframe.modelfile.file import Held
from everyframe.progress import CountProgress, silent
from everyframe.tasks.super_resolution import metrics
from everyframe.tasks.super_resolution.cache import lumas
from everyframe.tasks.super_resolution.enhance import Enhancer
from everyframe.tasks.super_resolution.pictures import Pair
from everyframe.tasks.super_resolution.resize import bicubic


@dataclass(frozen=True)
class Row:
    """One picture. psnr in dB; size: (height, width) of the large one."""

    picture: str
    size: tuple[int, int]
    psnr: float
    ssim: float
    bicubic_psnr: float
    bicubic_ssim: float


@dataclass(frozen=True)
class Quality:
    """planned: pictures there are; fewer rows where it was interrupted. skipped: pictures that cannot be measured, and why."""

    model: str
    scale: int
    rows: tuple[Row, ...]
    planned: int
    skipped: tuple[str, ...] = ()

    heading = ("picture", "size", "PSNR", "SSIM", "bicubic PSNR", "bicubic SSIM")

    @property
    def partial(self) -> bool:
        return len(self.rows) + len(self.skipped) < self.planned

    def mean(self, name: str) -> float:
        return mean(getattr(row, name) for row in self.rows)

    def summary(self) -> str:
        if not self.rows:
            return "no picture was measured"
        values = [self.mean(name) for name in ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim")]
        return (
            f"x{self.scale}, {len(self.rows)} pictures: {values[0]:.2f} dB, SSIM {values[1]:.4f} "
            f"(bicubic {values[2]:.2f} dB, {values[3]:.4f})"
        )

    def table(self) -> list[tuple[str, ...]]:
        return [
            (
                row.picture, f"{row.size[1]}x{row.size[0]}", f"{row.psnr:.2f}", f"{row.ssim:.4f}", f"{row.bicubic_psnr:.2f}",
                f"{row.bicubic_ssim:.4f}",
            )
            for row in self.rows
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim")
        return {
            "model": self.model, "scale": self.scale, "partial": self.partial, "skipped": list(self.skipped),
            "mean": {name: round(self.mean(name), 5) for name in names} if self.rows else None,
            "pictures": [
                {"picture": row.picture, "height": row.size[0], "width": row.size[1]}
                | {name: round(getattr(row, name), 5) for name in names}
                for row in self.rows
            ],
        }  # fmt: skip


def measure(
    model: str | os.PathLike[str] | Held, pairs: Sequence[Pair], *, engine: str = "ort", threads: int | None = None,
    progress: CountProgress = silent,
) -> Quality:  # fmt: skip
    """On the luma that prediction sees. A network for video sees each picture as the first of a video. Ctrl-C gives what is done.
    Raises ModelError, EngineError, and SourceError where nothing can be measured.
    """
    rows: list[Row] = []
    skipped: list[str] = []
    last: SourceError | None = None
    with Enhancer(model, engine=engine, threads=threads) as enhancer:
        try:
            for number, pair in enumerate(pairs):
                progress(number, len(pairs))
                try:
                    rows.append(_row(enhancer, pair))
                except SourceError as error:
                    last = error
                    skipped.append(f"{pair.name}: {error.what}")
        except KeyboardInterrupt:
            if not rows:
                raise
        progress(len(pairs), len(pairs))
    if not rows and last is not None:
        raise last
    return Quality(enhancer.name, enhancer.scale, tuple(rows), len(pairs), tuple(skipped))


def _row(enhancer: Enhancer, pair: Pair) -> Row:
    scale = enhancer.scale
    small, large = lumas(pair, scale)
    if min(large.shape) < metrics.smallest(scale):
        raise SourceError("The picture is too small to be measured.", where=pair.large)
    made = np.clip(enhancer.stream(small.shape).gray(small), 0, 255)
    plain = np.clip(bicubic(small.astype(np.float64), large.shape), 0, 255)
    truth, found, compared = (metrics.luma_of_gray(each) for each in (large, made, plain))
    return Row(
        pair.name, large.shape, metrics.psnr(found, truth, scale), metrics.ssim(found, truth, scale),
        metrics.psnr(compared, truth, scale), metrics.ssim(compared, truth, scale),
    )  # fmt: skip
