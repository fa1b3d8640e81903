"""What a camera does to a picture. Streams are (n, H, W) float32 in 0..1 until `expose` makes them uint8."""

from __future__ import annotations

import numpy as np


def smooth_walk(rng: np.random.Generator, n: int, width: float, columns: int = 2) -> np.ndarray:
    """(n, columns) of slow random motion with unit-ish spread; width: frames over which it is smooth."""
    knots = max(3, int(n / max(width, 1)) + 3)
    values = rng.normal(0, 1, (knots, columns))
    at = np.linspace(0, knots - 1.001, n)
    i = at.astype(int)
    f = (at - i)[:, None]
    f = f * f * (3 - 2 * f)
    return values[i] * (1 - f) + values[np.minimum(i + 1, knots - 1)] * f


def blur(video: np.ndarray, sigma: float) -> np.ndarray:
    """Spatial Gaussian-like blur, separable, sigma in pixels."""
    if sigma < 0.2:
        return video
    reach = int(np.ceil(2 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    for axis in (1, 2):
        pad = [(0, 0)] * 3
        pad[axis] = (reach, reach)
        wide = np.pad(video, pad, mode="edge")
        n = video.shape[axis]
        video = sum(k * np.take(wide, range(i, i + n), axis=axis) for i, k in enumerate(kernel))
    return video


_DCT = {
    size: np.array(
        [
            [np.cos(np.pi * k * (2 * i + 1) / (2 * size)) * np.sqrt((1 if k == 0 else 2) / size) for i in range(size)]
            for k in range(size)
        ],
        np.float32,
    )
    for size in (4, 8)
}


def compress(video: np.ndarray, step: float, size: int = 8) -> np.ndarray:
    """Coarse quantization of block DCT coefficients, coarser for high frequencies, as every video codec has it."""
    n, h, w = video.shape
    if h % size or w % size:
        return video
    basis = _DCT[size]
    blocks = video.reshape(n, h // size, size, w // size, size).transpose(0, 1, 3, 2, 4)
    coefficients = basis @ blocks @ basis.T
    k = np.arange(size, dtype=np.float32)
    steps = step * (1 + 0.5 * (k[:, None] + k[None]))
    blocks = basis.T @ (np.round(coefficients / steps) * steps) @ basis
    return blocks.transpose(0, 1, 3, 2, 4).reshape(n, h, w)


def skip_blocks(video: np.ndarray, threshold: float, size: int = 8) -> np.ndarray:
    """Blocks that hardly changed keep what they last showed, as P-frames do."""
    n, h, w = video.shape
    if h % size or w % size:
        return video
    blocks = video.reshape(n, h // size, size, w // size, size)
    shown = blocks.copy()
    for i in range(1, n):
        change = np.abs(blocks[i] - shown[i - 1]).mean((1, 3), keepdims=True)
        shown[i] = np.where(change > threshold, blocks[i], shown[i - 1])
    return shown.reshape(n, h, w)


def flicker(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, 1, 1) gain: mains beat, a lamp switched, auto-exposure hunting, or nothing."""
    t = np.arange(n)
    kind = rng.choice(["none", "beat", "switch", "hunt"], p=[0.6, 0.16, 0.09, 0.15])
    gain = np.ones(n)
    if kind == "beat":
        gain = 1 + rng.uniform(0.01, 0.12) * np.sin(2 * np.pi * rng.uniform(0.05, 0.5) * t + rng.uniform(0, 6))
    elif kind == "switch":
        gain = np.where(t < rng.integers(1, n), 1.0, rng.choice([0.4, 0.6, 1.5, 1.9]))
    elif kind == "hunt":
        gain = 1 + 0.12 * smooth_walk(rng, n, rng.uniform(4, 20), 1)[:, 0]
    return gain[:, None, None].astype(np.float32)


def pumping(rng: np.random.Generator, video: np.ndarray) -> np.ndarray:
    """(n, 1, 1) gain of an automatic exposure, which follows what is in the picture, late."""
    bright = video.mean((1, 2))
    slow, pace = bright.copy(), rng.uniform(0.08, 0.5)
    for i in range(1, len(slow)):
        slow[i] = slow[i - 1] + pace * (bright[i] - slow[i - 1])
    return ((bright[0] + 0.05) / (slow + 0.05))[:, None, None].astype(np.float32) ** np.float32(rng.uniform(0.5, 1.5))


def shown(rng: np.random.Generator, times: np.ndarray, fps: float) -> np.ndarray:
    """Which moment each of the times, seconds, shows: the newest frame of a camera of that rate, which shakes, loses frames or
    doubles them.
    """
    n = int((times[-1] - times[0] + 1) * fps) + 3
    taken = times[0] - 0.5 + (np.arange(n) + rng.random()) / fps
    kept = rng.random(n) >= rng.choice([0.0, 0.03, 0.15], p=[0.5, 0.3, 0.2])
    kept[0] = True
    arrived = taken + rng.normal(0, rng.choice([0.0, 0.1, 0.3]) / fps, n)
    return taken[kept][np.clip(np.searchsorted(np.sort(arrived[kept]), times, side="right") - 1, 0, kept.sum() - 1)]


def expose(rng: np.random.Generator, video: np.ndarray, clean: bool = False) -> np.ndarray:
    """Tone curve, flicker, blur, noise and compression: (n, H, W) float32 -> uint8."""
    n = len(video)
    if not clean:
        video = video * rng.uniform(0.55, 1.15) + rng.uniform(-0.03, 0.2)
        gain = pumping(rng, video) if rng.random() < 0.2 else flicker(rng, n)
        video = np.clip(video * gain, 0, 1) ** np.float32(rng.uniform(0.6, 1.4))
        video = blur(video, rng.choice([0, rng.uniform(0.3, 1.1)], p=[0.55, 0.45]))
        noise = rng.choice([0.0, rng.uniform(0.003, 0.02), rng.uniform(0.02, 0.06)], p=[0.3, 0.55, 0.15])
        if noise:
            grain = rng.standard_normal((min(n, 7), *video.shape[1:]), dtype=np.float32) * np.float32(noise)
            order = rng.integers(0, len(grain), n)
            roll = rng.integers(0, 64, (n, 2))
            video = video + np.stack([np.roll(grain[o], tuple(r), (0, 1)) for o, r in zip(order, roll, strict=True)])
        if rng.random() < 0.35:
            video = compress(video, rng.uniform(0.02, 0.1), int(rng.choice([4, 8])))
        if rng.random() < 0.3:
            video = skip_blocks(video, rng.uniform(0.004, 0.02))
    return (np.clip(video, 0, 1) * 255 + 0.5).astype(np.uint8)
