"""Clips that a tiny network learns in seconds: a bright square that moves one of four ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from handmade import write_video

WAYS = {"down": (1, 0), "east": (0, 1), "up": (-1, 0), "west": (0, -1)}
SIZE, FRAMES = (32, 40), 8
#: a recipe for them
TEXT = f"""
name = "tiny"
[model]
name = "motionnet_0.5x"
frames = {FRAMES}
size = [32, 40]
[preprocess]
color = "gray"
resize = [32, 40]
mean = [0.45]
std = [0.25]
[data]
cache = false
workers = 0
[augment]
crop = "center"
[optimizer]
kind = "adamw"
learning_rate = 5e-3
[training]
epochs = 2
batch = 4
average = 0.9
threads = 1
"""


def write_clips(root: Path) -> Path:
    """train/WAY/*.mp4 and val/WAY/*.mp4."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for way, (down, across) in WAYS.items():
            (root / split / way).mkdir(parents=True)
            for i in range(count):
                top, left = 12 + rng.integers(-4, 5), 16 + rng.integers(-4, 5)
                frames = []
                for t in range(FRAMES):
                    picture = np.full((*SIZE, 3), 30, np.uint8)
                    y, x = top + 2 * down * (t - 3), left + 2 * across * (t - 3)
                    picture[max(0, y) : y + 8, max(0, x) : x + 8] = 220
                    frames.append(picture)
                write_video(root / split / way / f"{i}.mp4", frames)
    return root
