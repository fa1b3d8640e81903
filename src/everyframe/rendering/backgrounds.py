"""Textures: what is behind everybody. Each returns (height, width) float32 gray in 0..1."""

from __future__ import annotations

import numpy as np

SIZE = (108, 144)  # texels; about 1.5 frames at 64x48, enough for shake, pan and zoom


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """(h, w) in 0..1: random values on a coarse grid, bilinear between."""
    grid = rng.random((cells + 2, cells + 2)).astype(np.float32)
    y, x = np.linspace(0, cells, shape[0], dtype=np.float32), np.linspace(0, cells, shape[1], dtype=np.float32)
    iy, ix = y.astype(int), x.astype(int)
    fy, fx = (y - iy)[:, None], (x - ix)[None]
    top = grid[iy][:, ix] * (1 - fx) + grid[iy][:, ix + 1] * fx
    bottom = grid[iy + 1][:, ix] * (1 - fx) + grid[iy + 1][:, ix + 1] * fx
    return top * (1 - fy) + bottom * fy


def plain(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.full(shape, rng.choice([0.0, 0.03, rng.random()]), np.float32)


def gradient(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    a, b = rng.random(2)
    y, x = np.mgrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    return (a + (b - a) * np.clip(0.5 + (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn), 0, 1)).astype(np.float32)


def clouds(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    image = np.sum([smooth_noise(rng, shape, cells) / cells**0.6 for cells in (2, 5, 11, 23, 47)], 0)
    image = (image - image.min()) / (np.ptp(image) + 1e-6)
    low, high = np.sort(rng.random(2))
    return (low + (high - low) * image).astype(np.float32)


def room(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Furniture: boxes, windows, shelves and door frames over a shaded wall."""
    image = gradient(rng, shape) * 0.5 + 0.25 * rng.random()
    h, w = shape
    for _ in range(rng.integers(4, 18)):
        bh, bw = int(rng.uniform(0.03, 0.5) * h) + 1, int(rng.uniform(0.02, 0.4) * w) + 1
        y, x = rng.integers(-bh // 2, h), rng.integers(-bw // 2, w)
        y0, x0 = max(0, y), max(0, x)
        box = image[y0 : max(0, y + bh), x0 : max(0, x + bw)]
        if box.size:
            box[:] = rng.random() * 0.9 + 0.1 * smooth_noise(rng, box.shape, 3)
            if rng.random() < 0.4:
                box[:: rng.integers(2, 8)] *= rng.uniform(0.5, 1.2)
            if rng.random() < 0.3:
                box[:, :: rng.integers(2, 10)] *= rng.uniform(0.5, 1.2)
    return np.clip(image, 0, 1)


def stripes(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    turn, period = rng.uniform(0, np.pi), rng.uniform(4, 30)
    wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * 2 * np.pi / period)
    if rng.random() < 0.5:
        wave = np.sign(wave)
    return np.clip(rng.uniform(0.2, 0.8) + wave * rng.uniform(0.05, 0.3), 0, 1).astype(np.float32)


KINDS = ((plain, 0.12), (gradient, 0.12), (clouds, 0.26), (room, 0.42), (stripes, 0.08))


def any_background(rng: np.random.Generator, shape: tuple[int, int] = SIZE) -> np.ndarray:
    """One of the kinds, by share, with a little grain so that camera motion shows."""
    kind = KINDS[rng.choice(len(KINDS), p=[share for _, share in KINDS])][0]
    image = kind(rng, shape)
    if kind is not plain:
        image = image + rng.normal(0, rng.uniform(0, 0.04), shape).astype(np.float32)
    return np.clip(image, 0, 1).astype(np.float32)


def sample(texture: np.ndarray, x: np.ndarray, y: np.ndarray, cover: float = 1.5) -> np.ndarray:
    """Bilinear look-up at places in frame heights; the texture spans `cover` frame heights, mirrored beyond its
    edge.
    """
    h, w = texture.shape
    u = np.abs((x / (cover * w / h) + 0.5) * (w - 1))
    v = np.abs((y / cover + 0.5) * (h - 1))
    u = np.clip((w - 1) - np.abs((w - 1) - u), 0, w - 1.001)
    v = np.clip((h - 1) - np.abs((h - 1) - v), 0, h - 1.001)
    iu, iv = u.astype(np.int32), v.astype(np.int32)
    fu, fv = (u - iu).astype(np.float32), (v - iv).astype(np.float32)
    flat, base = texture.ravel(), iv * w + iu
    top = flat[base] * (1 - fu) + flat[base + 1] * fu
    bottom = flat[base + w] * (1 - fu) + flat[base + w + 1] * fu
    return top * (1 - fv) + bottom * fv
