"""What the integers of a target look like: one row a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from everyframe.errors import UsageError


@dataclass(frozen=True, slots=True)
class Convention:
    """activations: kind of their integers. symmetric: zero point 0, which uint8 cannot have. power_of_two: every scale is one.
    per_channel: a scale for each output channel of a weight. allowed: kinds of activations that the target computes with.
    """

    activations: str = "uint8"
    power_of_two: bool = False
    per_channel: bool = True
    allowed: tuple[str, ...] = ("uint8", "int8", "int16")

    @property
    def symmetric(self) -> bool:
        return self.activations != "uint8"

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer; a symmetric grid leaves the smallest one out when scales are computed."""
        info = np.iinfo(self.activations)
        return int(info.min), int(info.max)


TARGETS: Mapping[str, Convention] = MappingProxyType({
    "cpu": Convention(),
    "rdk-s100": Convention("int8", allowed=("int8", "int16")),
    "vitis-dpu": Convention("int8", power_of_two=True, per_channel=False, allowed=("int8",)),
    "tensorrt": Convention("int8", allowed=("int8",)),
})  # fmt: skip


def convention(target: str, activations: str | None = None) -> Convention:
    """The row of a target, with another kind of activations where one is asked for. Raises UsageError."""
    if target not in TARGETS:
        raise UsageError("There is no such target.", where="target", expected=", ".join(TARGETS), got=target)
    row = TARGETS[target]
    if activations is None:
        return row
    if activations not in row.allowed:
        raise UsageError(
            f"{target} does not compute with such activations.",
            where="activations", expected=" or ".join(row.allowed), got=activations,
        )  # fmt: skip
    return replace(row, activations=activations)
