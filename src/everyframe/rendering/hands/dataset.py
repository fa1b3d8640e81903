"""Many streams with a target for every frame, held in memory as uint8 and renewed while training goes on.

A target is the *set* of labels that are right at that frame, as bits: while a gesture is under way both `none` and its
label are right; once it can be recognized only its label is; some time after its end either, then only `none`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everyframe.rendering.hands.motions import LABELS, MIRRORED, Interval
from everyframe.rendering.hands.scene import Shares, random_stream

SURE_S = 0.4  # after a gesture's end its label must still be given for so long
FADE_S = 1.05  # and may be for so long
NONE = 1

# bit set -> bit set of the mirrored labels
MIRROR_BITS = np.array(
    [sum(1 << LABELS.index(MIRRORED[label]) for i, label in enumerate(LABELS) if bits >> i & 1) for bits in range(256)],
    np.uint8,
)
SPLITS = {"train": 0, "validation": 1, "test": 2}  # first word of a stream's seed: splits never share one


def targets(intervals: list[Interval], frames: int, fps: float) -> np.ndarray:
    """(frames,) uint8 of bits, bit i: LABELS[i] is right."""
    t = np.arange(frames) / fps
    bits = np.full(frames, NONE, np.uint8)
    for interval in sorted(intervals, key=lambda i: i.start_s):
        own = np.uint8(1 << LABELS.index(interval.label))
        bits[(t >= interval.start_s) & (t < interval.ready_s)] |= own | NONE
        fading = (t >= interval.end_s + SURE_S) & (t < interval.end_s + FADE_S)
        bits[fading] |= own | NONE
        bits[(t >= interval.ready_s) & (t < interval.end_s + SURE_S)] = own
    return bits


@dataclass
class Batch:
    video: np.ndarray  # (streams, frames, H, W) uint8
    bits: np.ndarray  # (streams, frames) uint8
    hand: np.ndarray  # (streams, frames, 3) float32: x, y, visible
    intervals: list[list[Interval]]


def streams(
    split: str,
    seed: int,
    indices: range,
    frames: int = 48,
    fps: float = 12.0,
    size: tuple[int, int] = (48, 64),
    label: str | None = None,
    negative: bool | None = None,
    single: bool = False,
    shares: Shares = Shares(),
) -> Batch:
    """Renders the streams with these indices of a split; the same arguments give the same bytes."""
    made = [
        random_stream(np.random.default_rng([SPLITS[split], seed, i]), frames, fps, size, label, negative, single, shares)
        for i in indices
    ]
    return Batch(
        np.stack([s.video for s in made]),
        np.stack([targets(s.intervals, frames, fps) for s in made]),
        np.stack([s.hand for s in made]),
        [s.intervals for s in made],
    )


def mirrored(video: np.ndarray, bits: np.ndarray, hand: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same streams seen in a mirror: width is the last axis."""
    return video[..., ::-1], MIRROR_BITS[bits], hand * np.array([-1, 1, 1], np.float32)
