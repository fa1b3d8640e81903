"""Bicubic resizing as the field does it: MATLAB's `imresize`, whose filter widens where a picture shrinks.

Low-resolution pictures of the literature are made by it, and tables compare with what it enlarges. Libraries' own bicubic filters
have other coefficients (-0.75 in place of -0.5), no widening, or other borders, and give other decibels.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

#: of the cubic convolution kernel (Keys, Cubic convolution interpolation for digital image processing, 1981)
A = -0.5


def cubic(x: np.ndarray) -> np.ndarray:
    """The kernel at distances x from its center; zero from 2 on."""
    x = np.abs(x)
    near = (A + 2) * x**3 - (A + 3) * x**2 + 1
    far = A * x**3 - 5 * A * x**2 + 8 * A * x - 4 * A
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


@lru_cache(maxsize=64)
def taps(size: int, made: int) -> tuple[np.ndarray, np.ndarray]:
    """(places, weights), both (made, k): which of `size` values each of `made` is a sum of. Beyond its borders a picture is
    mirrored, the border value included.
    """
    scale = made / size
    stretch = max(1.0, 1 / scale)  # the filter's, against aliasing
    center = (np.arange(made) + 0.5) / scale - 0.5
    reach = math.ceil(4 * stretch) + 2
    places = np.floor(center - 2 * stretch).astype(np.int64)[:, None] + np.arange(reach)
    weights = cubic((center[:, None] - places) / stretch)
    weights /= weights.sum(1, keepdims=True)
    mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])
    used = np.flatnonzero(weights.any(0))
    return mirrored[places[:, used] % (2 * size)], weights[:, used]


def along(picture: np.ndarray, made: int, axis: int) -> np.ndarray:
    """One axis resized to `made` values, in the picture's float type."""
    size = picture.shape[axis]
    if size == made:
        return picture
    places, weights = taps(size, made)
    shape = [1] * picture.ndim
    shape[axis] = made
    result = np.zeros((*picture.shape[:axis], made, *picture.shape[axis + 1 :]), picture.dtype)
    for place, weight in zip(places.T, weights.T.astype(picture.dtype), strict=True):
        result += np.take(picture, place, axis) * weight.reshape(shape)
    return result


def bicubic(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) or (H, W, C) -> the same with `size` (height, width). uint8 is rounded, as when it is written to a file; floats
    stay as they are.
    """
    made = picture if np.issubdtype(picture.dtype, np.floating) else picture.astype(np.float64)
    for axis in sorted((0, 1), key=lambda axis: size[axis] / picture.shape[axis]):  # what shrinks most comes first
        made = along(made, size[axis], axis)
    return made if made.dtype == picture.dtype else np.clip(np.floor(made + 0.5), 0, 255).astype(np.uint8)


@lru_cache(maxsize=16)
def matrix(size: int, made: int) -> np.ndarray:
    """(made, size) float32: the same along one axis as a product, for small pictures."""
    places, weights = taps(size, made)
    found = np.zeros((made, size), np.float32)
    np.add.at(found, (np.arange(made)[:, None], places), weights)
    return found
