"""How good a model is: PSNR and SSIM of each picture or video, beside those of bicubic interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np

from everyframe.errors import SourceError
from everyframe.progress import CountProgress, silent
from everyframe.tasks.super_resolution import metrics
from everyframe.tasks.super_resolution.cache import lumas
from everyframe.tasks.super_resolution.enhance import Enhancer, Stream
from everyframe.tasks.super_resolution.pictures import Film, Pair
from everyframe.tasks.super_resolution.resize import bicubic


@dataclass(frozen=True)
class Row:
    """One picture, or the mean over the frames of a video. psnr in dB; size: (height, width) of the large one."""

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
        return self.missing > 0

    @property
    def missing(self) -> int:
        """Pictures that were not come to."""
        return self.planned - len(self.rows) - len(self.skipped)

    def mean(self, name: str) -> float:
        return mean(getattr(row, name) for row in self.rows)

    def summary(self) -> str:
        if not self.rows:
            return "no picture was measured"
        values = [self.mean(name) for name in ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim")]
        return (
            f"x{self.scale}, {len(self.rows)} picture{'s' * (len(self.rows) != 1)}: {values[0]:.2f} dB, SSIM {values[1]:.4f} "
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


def measure(enhancer: Enhancer, pairs: Sequence[Pair | Film], *, progress: CountProgress = silent) -> Quality:
    """On the luma that prediction sees. A network for video sees a picture as the first of a video, and films as they run. Ctrl-C
    gives what is done. Raises EngineError, and SourceError where nothing can be measured.
    """
    rows: list[Row] = []
    skipped: list[str] = []
    last: SourceError | None = None
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


def _row(enhancer: Enhancer, pair: Pair | Film) -> Row:
    scale = enhancer.scale
    stream: Stream | None = None
    found: list[tuple[float, ...]] = []
    for small, large in pair.lumas(scale) if isinstance(pair, Film) else [lumas(pair, scale)]:
        if min(large.shape) < metrics.smallest(scale):
            raise SourceError("The picture is too small to be measured.", where=pair.large)
        stream = stream or enhancer.stream((small.shape[0], small.shape[1]))
        made = np.clip(stream.gray(small), 0, 255)
        plain = np.clip(bicubic(small.astype(np.float32), (large.shape[0], large.shape[1])), 0, 255)
        truth, mine, other = (metrics.luma_of_gray(each) for each in (large, made, plain))
        found.append(tuple(figure(each, truth, scale) for each in (mine, other) for figure in (metrics.psnr, metrics.ssim)))
    if stream is None:
        raise SourceError("The video has no frames.", where=pair.large)
    return Row(pair.name, (stream.size[0] * scale, stream.size[1] * scale), *(mean(each) for each in zip(*found, strict=True)))
