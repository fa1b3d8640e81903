"""What training does to a clip, the same in all of its frames: one resampling, then one change of colors.

T frames, H W of the clip as it comes, h w of the network, C channels. Everything is drawn from the generator that is
handed in, so a clip looks the same whatever process makes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from everyframe.recipes.training import Augment

LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, as in `preprocess.prepare`


@dataclass(frozen=True)
class Change:
    """What was drawn for one clip. box: (top, left, height, width) of the part that is resized to the network's size,
    turned by `turn` degrees about its middle. gain, contrast, saturation: factors. hue: degrees.
    """

    box: tuple[int, int, int, int]
    flip: bool = False
    turn: float = 0.0
    gain: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


def draw(rng: np.random.Generator, how: Augment, picture: tuple[int, int], size: tuple[int, int]) -> Change:
    """picture: (H, W). size: (h, w)."""
    (height, width), (h, w) = picture, size
    largest = min(height / h, width / w) * float(rng.choice(how.scales)) + 1e-9  # of floats just below an integer
    box_h, box_w = max(1, int(h * largest)), max(1, int(w * largest))
    free_h, free_w = height - box_h, width - box_w
    top, left = free_h // 2, free_w // 2
    if how.crop == "random":
        top, left = (int(rng.integers(0, free + 1)) for free in (free_h, free_w))
    elif how.crop == "corner":
        corners = ((top, left), (0, 0), (0, free_w), (free_h, 0), (free_h, free_w))
        top, left = corners[int(rng.integers(0, len(corners)))]
    around = lambda width: float(rng.uniform(-width, width)) if width else 0.0  # noqa: E731
    return Change(
        (top, left, box_h, box_w), flip=how.flip and bool(rng.random() < 0.5), turn=around(how.rotate),
        gain=1 + around(how.brightness), contrast=1 + around(how.contrast), saturation=1 + around(how.saturation),
        hue=360 * around(how.hue),
    )  # fmt: skip


def apply(frames: np.ndarray, change: Change, size: tuple[int, int], color: Literal["rgb", "bgr", "gray"] = "rgb") -> np.ndarray:
    """(T, H, W, C) uint8 -> (T, h, w, C) uint8. Bilinear; wider when it shrinks, unless the clip is turned too."""
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (T, C, H, W), still channels last in memory
    made = _turned(video, change, size) if change.turn else _resized(video, change, size)
    made = _colored(made, change, color)
    return np.ascontiguousarray(made.permute(0, 2, 3, 1).numpy())


def _resized(video: Tensor, change: Change, size: tuple[int, int]) -> Tensor:
    top, left, h, w = change.box
    video = video[:, :, top : top + h, left : left + w]
    if (h, w) != size:
        video = F.interpolate(video, size, mode="bilinear", antialias=True, align_corners=False)
    return video.flip(3) if change.flip else video


def _turned(video: Tensor, change: Change, size: tuple[int, int]) -> Tensor:
    """Frames are channels of one picture, so that one grid serves all. Beyond the picture its border goes on."""
    frames, channels, height, width = video.shape
    top, left, box_h, box_w = change.box
    h, w = size
    y = ((torch.arange(h) + 0.5) / h - 0.5)[:, None] * box_h  # from the middle of the box, in pixels
    x = ((torch.arange(w) + 0.5) / w - 0.5)[None] * box_w * (-1 if change.flip else 1)
    cos, sin = math.cos(math.radians(change.turn)), math.sin(math.radians(change.turn))
    at_x = (cos * x - sin * y + left + box_w / 2) * (2 / width) - 1  # (h, w) from -1 to 1 over the whole picture
    at_y = (sin * x + cos * y + top + box_h / 2) * (2 / height) - 1
    picture = video.reshape(1, frames * channels, height, width).float()
    made = F.grid_sample(picture, torch.stack((at_x, at_y), -1)[None], "bilinear", "border", align_corners=False)
    return made.view(frames, channels, h, w)


def _colored(video: Tensor, change: Change, color: str) -> Tensor:
    """Brightness, contrast about the clip's mean luma, saturation and hue are one matrix and an offset: (T, C, h, w) uint8.

    Both are rounded to 1/4096, so that float32 holds every sum exactly and no number of threads can round it otherwise.
    """
    if video.dtype != torch.uint8:
        video = video.round_().to(torch.uint8)
    matrix = _rounded(color_matrix(change, color))
    offset = 0.0
    if change.contrast != 1:
        sums = video.sum((0, 2, 3), dtype=torch.int64).numpy()  # (C,)
        weights = LUMA[:: -1 if color == "bgr" else 1] if len(sums) == 3 else np.ones(1)
        offset = float(_rounded((1 - change.contrast) * change.gain * float(sums @ weights) * len(sums) / video.numel()))
    if not offset and np.array_equal(matrix, np.eye(len(matrix))):
        return video
    frames, channels, h, w = video.shape
    pixels = video.permute(0, 2, 3, 1).reshape(-1, channels).float()
    if np.count_nonzero(matrix) == channels:  # no more than a factor
        pixels *= float(matrix[0, 0])
    else:
        pixels = torch.from_numpy(pixels.numpy() @ matrix.T.astype(np.float32))
    made = pixels.add_(offset + 0.5).clamp_(0, 255).to(torch.uint8)
    return made.view(frames, h, w, channels).permute(0, 3, 1, 2)


def _rounded(values: np.ndarray | float) -> np.ndarray:
    return np.round(np.multiply(values, 4096)) / 4096


def color_matrix(change: Change, color: str) -> np.ndarray:
    """(C, C), gray staying gray. Hue turns the plane of equal luma (that of YIQ), which is linear, unlike a shift in HSV."""
    gain = change.gain * change.contrast
    if color == "gray":
        return np.array([[gain]])
    if change.saturation == 1 and not change.hue:
        return np.eye(3) * gain
    yiq = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    cos, sin = math.cos(math.radians(change.hue)), math.sin(math.radians(change.hue))
    turn = np.array([[1, 0, 0], [0, change.saturation * cos, -change.saturation * sin],
                     [0, change.saturation * sin, change.saturation * cos]])  # fmt: skip
    matrix = gain * np.linalg.inv(yiq) @ turn @ yiq
    return matrix[::-1, ::-1] if color == "bgr" else matrix
