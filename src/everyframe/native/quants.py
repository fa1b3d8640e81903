"""How values are stored as bytes, and what constants were before they were dequantized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Quant:
    """How values are stored as bytes: value = (byte - zero) * scale. ONNX's int8 is stored 128 higher, so bytes have no sign."""

    scale: float
    zero: int

    @property
    def inverse(self) -> float:
        return float(np.float32(1) / np.float32(self.scale))

    def byte(self, value: float) -> int:
        return int(np.clip(np.rint(np.float32(value) / np.float32(self.scale)) + self.zero, 0, 255))

    def nearest(self, value: float) -> float:
        """The value that a byte can stand for."""
        return float(np.float32(self.byte(value) - self.zero) * np.float32(self.scale))


@dataclass(frozen=True, eq=False)
class Levels:
    """A constant that was quantized: its value is integers * scale. scale: one number for each index of axis 0 or 1 of a matrix
    or kernel, or a single one."""

    integers: np.ndarray  # int8
    scale: np.ndarray
    axis: int
