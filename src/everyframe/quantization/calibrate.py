"""Ranges of a model's tensors, measured while it streams real videos: states are carried along, and empty where a video begins.

Only counts are kept, never activations: the extremes, and for methods that need it a histogram whose bins double in width
whenever a larger value comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from everyframe.errors import UsageError
from everyframe.progress import CountProgress, silent
from everyframe.quantization.structure import Structure
from everyframe.quantization.videos import Model
from everyframe.video.sources import Source

#: values beyond are no values but fills: a max pool's frames before the beginning hold the lowest float
HUGE = 1e30
BINS = 4096  # a histogram's, from -reach to reach
_LEVELS = 128  # magnitudes that eight bits with a sign tell apart
FEW = 20  # steps or clips of calibration: fewer leave the ranges to chance
PERCENTILE = 99.99


class Values:
    """What is known of the values of a tensor: extremes, and counts in bins where they are wanted."""

    def __init__(self, counted: bool = False) -> None:
        self.low, self.high = np.inf, -np.inf
        self.reach = 0.0  # a power of two; 0 before the first value
        self.counts = np.zeros(BINS, np.int64) if counted else None

    @property
    def empty(self) -> bool:
        return self.low > self.high

    def add(self, x: np.ndarray) -> None:
        """Takes in every value that is one: fills, infinities and NaN are left out."""
        if not x.size:
            return
        low, high = float(x.min()), float(x.max())
        if not (low > -HUGE and high < HUGE):
            x = x[np.abs(x) < HUGE]
            if not x.size:
                return
            low, high = float(x.min()), float(x.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.counts is None:
            return
        self._reach_for(max(-low, high))
        if self.reach:
            # a power of two: nothing is rounded. An edge of two bins belongs to the one nearer to zero, however wide they are
            places = x.ravel() * np.float32(BINS / 2 / self.reach)
            whole = np.floor(places)
            whole -= (whole == places) & (places > 0)
            self.counts += np.bincount(whole.astype(np.int64) + BINS // 2, minlength=BINS)
        else:
            self.counts[BINS // 2] += x.size

    def join(self, other: Values) -> None:
        """As if this had taken in the other's values too."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        if self.counts is None or other.counts is None:
            return
        self._reach_for(other.reach)
        same = Values(counted=True)
        same.reach, same.counts = other.reach, other.counts
        same._reach_for(self.reach)
        self.counts += same.counts

    def _reach_for(self, value: float) -> None:
        """Doubles the width of the bins until `value` has one."""
        wanted = float(2.0 ** np.ceil(np.log2(value))) if value > 1e-30 else 0.0
        if wanted <= self.reach or self.counts is None:
            return
        while 0 < self.reach < wanted and self.counts.any():
            pairs = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : BINS // 4 * 3] = pairs
            self.reach *= 2
        self.reach = wanted

    # -- ranges --------------------------------------------------------------------------------------------------------

    def minmax(self, percentile: float) -> tuple[float, float]:
        return self.low, self.high

    def percentile(self, percentile: float) -> tuple[float, float]:
        """Without the (100 - percentile) percent of values farthest out, half of them at each end."""
        if self.counts is None or not self.reach:
            return self.low, self.high
        share = np.cumsum(self.counts) / self.counts.sum()
        cut, width = (100 - percentile) / 200, 2 * self.reach / BINS
        first = int(np.searchsorted(share, cut, side="right"))
        last = int(np.searchsorted(share, 1 - cut, side="left"))
        return max(self.low, first * width - self.reach), min(self.high, (last + 1) * width - self.reach)

    def entropy(self, percentile: float) -> tuple[float, float]:
        """Cut where the distribution over 128 magnitudes stays nearest to the real one (Kullback-Leibler), as TensorRT does.

        Exact zeros of a ReLU say nothing about the cut, because zero is on every grid: their bin counts as its neighbor.
        """
        if self.counts is None or not self.reach:
            return self.low, self.high
        half = BINS // 2
        sizes = (self.counts[half:] + self.counts[:half][::-1]).astype(np.float64)  # by magnitude
        sizes[0] = min(sizes[0], sizes[1])
        used = int(np.flatnonzero(sizes)[-1]) + 1 if sizes.any() else 1
        cuts = range(min(_LEVELS, used), used + 1, 4)
        best = min(cuts, key=lambda cut: _divergence(sizes, cut)) if used > _LEVELS else used
        most = best * self.reach / half
        return max(self.low, -most), min(self.high, most)


def _divergence(sizes: np.ndarray, cut: int) -> float:
    """Of the counts up to `cut`, what lies beyond put into the last bin, from the same in 128 levels."""
    real = sizes[:cut].copy()
    real[-1] += sizes[cut:].sum()
    filled = sizes[:cut] > 0
    level = np.arange(cut) * _LEVELS // cut
    total, bins = np.bincount(level, sizes[:cut], _LEVELS), np.bincount(level, filled, _LEVELS)
    coarse = np.where(filled, total[level] / np.maximum(bins[level], 1), 0)
    p, q = real / max(real.sum(), 1e-300), coarse / max(coarse.sum(), 1e-300)
    both = (p > 0) & (q > 0)
    return float((p[both] * np.log(p[both] / q[both])).sum() + 10 * p[(p > 0) & (q == 0)].sum())


Method = Callable[[Values, float], tuple[float, float]]
METHODS: Mapping[str, Method] = MappingProxyType(
    {"minmax": Values.minmax, "percentile": Values.percentile, "entropy": Values.entropy}
)


@dataclass(frozen=True)
class Calibration:
    """values: tensor -> what was measured. ranges: group -> (low, high), 0 always within. steps: measured runs of the network;
    frames: what they and the runs between them were given.
    """

    values: dict[str, Values]
    ranges: dict[str, tuple[float, float]]
    method: str
    videos: int
    steps: int
    frames: int
    warnings: tuple[str, ...]

    @property
    def material(self) -> str:
        """What it was measured on, in words."""
        return f"{self.frames} frames of {self.videos} video{'s' * (self.videos != 1)}"


def calibrate(
    model: Model,
    parts: Structure,
    sources: Sequence[Source],
    *,
    method: str = "minmax",
    percentile: float = PERCENTILE,
    every: int = 1,
    progress: CountProgress = silent,
) -> Calibration:
    """Streams every video from its first frame with fresh states. every: measures each so manieth step; all of them are run.
    Raises UsageError, SourceError.
    """
    if method not in METHODS:
        raise UsageError("There is no such method.", where="method", expected=", ".join(METHODS), got=method)
    if every < 1 or not 50 < percentile <= 100:
        raise UsageError("Calibration cannot be like that.", expected="every from 1, percentile above 50, up to 100",
                         got=f"every {every}, percentile {percentile}")  # fmt: skip
    values = {name: Values(counted=method != "minmax") for name in parts.measured}
    walk, measured, settled, runs, video, step = model.walk(parts.measured), 0, 0, 0, 0, 0
    delay = model.metadata.feature_delay if model.metadata.kind == "step" else 0
    for number, frames in model.inputs(sources):
        if number != video:
            walk.reset()
            video, step = number, 0
            progress(number, len(sources))
        found = walk.step(frames)
        if step % every == 0:
            measured += 1
            settled += (step + 1) * model.frames_a_step > delay
            for name, seen in values.items():
                seen.add(found[name])
        runs, step = runs + 1, step + 1
    groups: dict[str, Values] = {}
    for name, seen in values.items():
        groups.setdefault(parts.share.get(name, name), Values(counted=method != "minmax")).join(seen)
    ranges = {name: _with_zero(METHODS[method](seen, percentile)) for name, seen in groups.items() if not seen.empty}
    warnings = (*model.left_out(), *_warnings(model, values, measured, settled))
    read = len(sources) - sum(model.kept.get(source) == [] for source in model.broken)
    return Calibration(values, ranges, method, read, measured, runs * model.frames_a_step, warnings)


def _with_zero(limits: tuple[float, float]) -> tuple[float, float]:
    return min(0.0, limits[0]), max(0.0, limits[1])


def _warnings(model: Model, values: Mapping[str, Values], steps: int, settled: int) -> list[str]:
    made = []
    if steps < FEW:
        made.append(f"only {steps} {model.runs} of calibration; from {FEW} on the ranges stop being left to chance")
    elif settled < max(FEW, steps // 2):
        made.append(
            f"only {settled} of {steps} measured steps lie beyond the network's delay of {model.metadata.feature_delay} frames: "
            "longer videos show what its states hold later"
        )
    seen = values.get(model.interface.frames)
    if seen is not None and not seen.empty:
        preprocess = model.metadata.preprocess
        ends = [(v * preprocess.scale - m) / s for m, s in zip(preprocess.mean, preprocess.std, strict=True) for v in (0, 255)]
        used = (seen.high - seen.low) / (max(ends) - min(ends))
        if used < 0.5:
            made.append(f"the calibration videos use {used:.0%} of the brightness that a picture can have: are they typical?")
    return made
