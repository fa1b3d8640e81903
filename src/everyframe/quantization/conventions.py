"""What the integers of a target look like: one row a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from everyframe.errors import UsageError
from everyframe.targets import advice


@dataclass(frozen=True, slots=True)
class Convention:
    """activations: kind of their integers. symmetric: zero point 0, which uint8 cannot have. power_of_two: every scale is one.
    per_channel: a scale for each output channel of a weight. allowed: kinds of activations that the target computes with.
    overflow_fix: which layers get weights so small that no sum of two products overflows 16 bits (`modelfile.saturation`).
    sums: sums of convolutions over frames are one convolution on three axes (`sums`), which not every device computes.
    """

    activations: str = "uint8"
    power_of_two: bool = False
    per_channel: bool = True
    allowed: tuple[str, ...] = ("uint8", "int8", "int16")
    overflow_fix: str = "none"
    sums: bool = False

    @property
    def symmetric(self) -> bool:
        return self.activations != "uint8"

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer; a symmetric grid leaves the smallest one out when scales are computed."""
        info = np.iinfo(self.activations)
        return int(info.min), int(info.max)


OVERFLOW_FIXES = ("first", "all", "none")

#: `cpu` may be any x86 processor, also one whose sums of two products saturate at 16 bits. The others' devices add in 32 bits, so
#: that smaller weights would cost them accuracy for nothing.
TARGETS: Mapping[str, Convention] = MappingProxyType({
    "cpu": Convention(overflow_fix="all", sums=True),
    "rdk-s100": Convention("int8", allowed=("int8", "int16")),
    "vitis-dpu": Convention("int8", power_of_two=True, per_channel=False, allowed=("int8",)),
    "tensorrt": Convention("int8", allowed=("int8",)),
})  # fmt: skip


def convention(target: str, activations: str | None = None, overflow_fix: str | None = None) -> Convention:
    """The row of a target, with another kind of activations or another overflow fix where they are asked for. Raises
    UsageError.
    """
    if target not in TARGETS:
        hint = advice(target, tuple(TARGETS))
        raise UsageError(
            "There are no integers for this target.", where="target", expected=", ".join(TARGETS), got=target, hint=hint
        )
    row = TARGETS[target]
    if activations is not None and activations not in row.allowed:
        raise UsageError(
            f"{target} does not compute with such activations.",
            where="activations", expected=" or ".join(row.allowed), got=activations,
        )  # fmt: skip
    if overflow_fix is not None and overflow_fix not in OVERFLOW_FIXES:
        raise UsageError(
            "There is no such overflow fix.", where="overflow_fix", expected=", ".join(OVERFLOW_FIXES), got=overflow_fix
        )
    return replace(row, activations=activations or row.activations, overflow_fix=overflow_fix or row.overflow_fix)
