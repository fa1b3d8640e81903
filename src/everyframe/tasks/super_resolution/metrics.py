"""PSNR and SSIM as papers of super-resolution give them: of luma alone, in whole numbers, without a border as wide as the scale.

Bicubic enlargement of Set5 then has the 33.66, 30.39 and 28.42 dB of their tables (`tests/unit/test_super_resolution.py`).
"""

from __future__ import annotations

import numpy as np

from everyframe.errors import SourceError

#: MATLAB's rgb2ycbcr (BT.601, video range): what 0..255 of R, G, B add to Y of 16..235
RGB_TO_Y = np.array([65.481, 128.553, 24.966]) / 255
BLACK, SPAN = 16.0, 219.0
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def luma(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB of 0..255 -> Y (H, W) of 16..235, float64, not rounded."""
    return picture @ RGB_TO_Y + BLACK


def luma_of_gray(gray: np.ndarray) -> np.ndarray:
    """(H, W) of 0..255, which is the same luma in full range -> Y (H, W) of 16..235."""
    return gray * (SPAN / 255) + BLACK


def psnr(found: np.ndarray, truth: np.ndarray, border: int) -> float:
    """Peak signal-to-noise ratio of two Y (H, W), in dB; infinite for equal ones."""
    found, truth = _inner(found, truth, border)
    error = float(np.mean((found - truth) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(found: np.ndarray, truth: np.ndarray, border: int) -> float:
    """Structural similarity of two Y (H, W) (Wang et al., 2004): an 11 x 11 Gaussian window of sigma 1.5, only where it lies
    within the picture.
    """
    a, b = _inner(found, truth, border)
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a = _blurred(a * a) - mean_a**2
    var_b = _blurred(b * b) - mean_b**2
    both = _blurred(a * b) - mean_a * mean_b
    made = (2 * mean_a * mean_b + _C1) * (2 * both + _C2)
    return float(np.mean(made / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))))


def smallest(border: int) -> int:
    """Pixels of the shortest side that can be measured."""
    return 2 * border + _WINDOW


def _inner(found: np.ndarray, truth: np.ndarray, border: int) -> tuple[np.ndarray, np.ndarray]:
    least = smallest(border)
    if found.shape != truth.shape or min(truth.shape) < least:
        raise SourceError(
            "These pictures cannot be compared.", expected=f"two of the same size, at least {least} x {least}",
            got=f"{found.shape[0]} x {found.shape[1]} and {truth.shape[0]} x {truth.shape[1]} (height x width)",
        )  # fmt: skip
    inside = slice(border, -border or None)
    return tuple(np.floor(each[inside, inside].astype(np.float64) + 0.5) for each in (found, truth))  # type: ignore[return-value]


def _blurred(picture: np.ndarray) -> np.ndarray:
    """(H, W) -> (H - 10, W - 10)."""
    window = np.exp(-((np.arange(_WINDOW) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
    window /= window.sum()
    for axis in (0, 1):
        picture = np.lib.stride_tricks.sliding_window_view(picture, _WINDOW, axis) @ window
    return picture
