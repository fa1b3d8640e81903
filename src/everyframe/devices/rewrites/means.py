"""Means over axes, in the form that a target takes: one reduction, a 2-D global pool, or one axis after another.

Global average pools on five axes are what clip networks end with and what many compilers lack.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from everyframe.devices.nodes import Node
from everyframe.devices.rewrites.edit import Part

OPS = ("GlobalAveragePool", "AveragePool", "ReduceMean")


@dataclass(frozen=True)
class _Mean:
    """tensor of `shape`, averaged over `axes`; kept: as axes of one."""

    tensor: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    kept: bool

    @property
    def result(self) -> list[int]:
        sizes = [1 if axis in self.axes else size for axis, size in enumerate(self.shape)]
        return sizes if self.kept else [size for axis, size in enumerate(sizes) if axis not in self.axes]


def _mean(node: Node) -> _Mean | None:
    """The node as a mean over whole axes; None if it is not one, or its sizes are open."""
    shape = node.shapes[0]
    if not shape or 0 in shape:
        return None
    spatial = tuple(range(2, len(shape)))
    if node.op == "ReduceMean":
        kept = bool(node.attribute("keepdims"))
        return _Mean(node.proto.input[0], shape, node.axes, kept) if node.axes else None
    if node.op == "AveragePool" and (node.attribute("kernel_shape") != list(shape[2:]) or any(node.attribute("pads"))):
        return None
    return _Mean(node.proto.input[0], shape, spatial, True)


def reduction(node: Node, part: Part) -> str | None:
    mean = _mean(node)
    return part.mean(mean.tensor, mean.axes, mean.kept) if mean else None


def flat_pool(node: Node, part: Part) -> str | None:
    """(N, C, T, H, W) as (N, C, T*H, W), pooled globally: the same mean, on four axes."""
    mean = _mean(node)
    if mean is None or mean.axes != tuple(range(2, len(mean.shape))):
        return None
    four = [*mean.shape[:2], prod(mean.shape[2:-1]), mean.shape[-1]]
    tensor = mean.tensor if len(mean.shape) == 4 else part.emit("Reshape", mean.tensor, part.ints(four))
    pooled = part.emit("GlobalAveragePool", tensor)
    return pooled if mean.result == [*four[:2], 1, 1] else part.emit("Reshape", pooled, part.ints(mean.result))


def one_by_one(node: Node, part: Part) -> str | None:
    mean = _mean(node)
    if mean is None:
        return None
    tensor = mean.tensor
    for axis in mean.axes:
        tensor = part.mean(tensor, [axis])
    return tensor if mean.kept else part.emit("Reshape", tensor, part.ints(mean.result))


VARIANTS = (reduction, flat_pool, one_by_one)
