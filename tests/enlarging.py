"""Pictures to learn to enlarge, and a recipe that searches a network for them in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SEARCH = """
name = "small"
task = "enhance"
[model]
scale = 2
wide = 8
size = [16, 16]
[data]
crop = 8
crops = 8
[optimizer]
kind = "adamw"
learning_rate = 1e-3
weight_decay = 0.0
[training]
epochs = 1
batch = 4
threads = 1
[search]
engine = "ort"
target_ms = 50
evaluations = 2
checked = 3
sampled = 1
[search.choices]
grid = ["2x16"]
depth = [1, 2]
first = [3]
activation = ["relu"]
block = ["conv3"]
scheme = ["none"]
"""


def write_pictures(folder: Path, count: int = 5) -> Path:
    """Smooth noise, 64 x 56."""
    folder.mkdir(exist_ok=True)
    for seed in range(count):
        noise = np.random.default_rng(seed).integers(0, 256, (14, 16, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((64, 56), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    return folder
