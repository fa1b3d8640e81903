"""From a range to a scale and a zero point, and the rounding they mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everyframe.modelfile import saturation
from everyframe.quantization.conventions import Convention


@dataclass(frozen=True, slots=True)
class Scale:
    """An integer q stands for (q - zero) * scale."""

    scale: float  # a float32
    zero: int
    kind: str  # of the integers

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """What QuantizeLinear and DequantizeLinear make of x: the nearest value (of two the even one), saturated."""
        info = np.iinfo(self.kind)
        integers = np.clip(np.rint(x / np.float32(self.scale)) + self.zero, info.min, info.max)
        return ((integers - self.zero) * np.float32(self.scale)).astype(np.float32)

    @property
    def limits(self) -> tuple[float, float]:
        info = np.iinfo(self.kind)
        return (info.min - self.zero) * self.scale, (info.max - self.zero) * self.scale


def scale_for(low: float, high: float, to: Convention) -> Scale:
    """The finest scale whose grid holds 0 and reaches from low to high."""
    lowest, highest = to.limits
    if to.symmetric:
        found, zero = max(-low, high) / highest, 0
    else:
        found = (high - low) / (highest - lowest)
        zero = int(np.rint(lowest - low / found)) if found > 0 else 0
    if not found > np.finfo(np.float32).tiny:  # always zero: any scale will do
        return Scale(1.0, 0, to.activations)
    return Scale(float(np.float32(power_of_two(found) if to.power_of_two else found)), zero, to.activations)


def power_of_two(scale: float) -> float:
    """The next one at or above."""
    return float(2.0 ** np.ceil(np.log2(scale)))


def weight_scales(
    weight: np.ndarray, axis: int | None, bias: np.ndarray | None = None, input_scale: float = 1.0, *,
    powers: bool = True, outputs: int | None = None,
) -> np.ndarray:  # fmt: skip
    """For a weight in int8, one for each channel along `axis` or one for all. A bias is kept in int32 under input_scale times
    these, and has to fit. powers: of two. outputs: the axis of what is added for one output each, where no two integers of one
    sign may add up to more than `saturation.PAIR`.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis) if axis is not None else None
    wanted = np.abs(weight).max(axis=others).astype(np.float64).reshape(-1) / 127
    if bias is not None:
        needed = np.abs(bias.astype(np.float64)) / input_scale / (2**31 - 1)
        wanted = np.maximum(wanted, needed if axis is not None else needed.max(initial=0))
    found = _as_scales(wanted, powers)
    if outputs is None:
        return found
    rows = np.moveaxis(weight, outputs, 0).reshape(weight.shape[outputs], -1).astype(np.float32)
    one_each = axis == outputs
    pairs = saturation.pairs(np.rint(rows / (found[:, None] if one_each else found.max())))  # as they will be rounded
    # two roundings add half a step each: sums of 127 steps become 128 at most
    coarser = np.where(pairs > saturation.PAIR, saturation.pairs(rows.astype(np.float64)) / (saturation.PAIR - 1), 0)
    coarser = coarser if one_each else np.full(len(found), coarser.max(initial=0))
    return np.where(coarser > 0, np.maximum(found, _as_scales(coarser, powers)), found).astype(np.float32)


def _as_scales(wanted: np.ndarray, powers: bool) -> np.ndarray:
    """float32; 1 for what is always zero."""
    if powers:
        return np.array([power_of_two(w) if w > 0 else 1.0 for w in wanted], np.float32)
    return np.where(wanted > np.finfo(np.float32).tiny, wanted, 1.0).astype(np.float32)
