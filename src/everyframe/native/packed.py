"""What packed convolutions are made of, and what packing floats and bytes have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from everyframe.native.blob import Blob
from everyframe.native.choice import Choice, Geometry, default
from everyframe.native.ir import Conv, Frame, Select, StateIn
from everyframe.native.layout import Form
from everyframe.native.target import Target


@dataclass(frozen=True)
class Shape:
    """What decides which kernels of `c/conv.c` a convolution needs. columns: positions of a row; step: floats from one
    position's input to the next; spans, paired: see `c/conv.c`; bits: of a weight that its kernels read;
    lengths: (blocks of a group, positions of a run) of its kernels."""

    columns: int
    step: int
    spans: int
    paired: bool
    bits: int
    lengths: tuple[tuple[int, int], ...]


@dataclass
class PackedLayer:
    """A convolution that several frames may share. op, frame: one of them and what it makes. cells: per tap (source (Cin,),
    channel (Cin,)), source -1 for none.
    forms: of each source. fields: what the C structure holds."""

    number: int
    key: tuple
    op: Conv
    frame: Frame
    out: Form
    residual: Form | None
    cells: list[tuple[np.ndarray, np.ndarray]]
    forms: list[Form]
    fields: dict[str, object] = field(default_factory=dict)
    shape: Shape | None = None
    geometry: Geometry | None = None
    choice: Choice | None = None  # None for scalar code and depthwise kernels, of which there is one
    macs: int = 0  # of a frame; zeros that cannot be skipped count too
    bytes: int = 0  # of the weights
    kept: float = 1.0  # share of the weights that are there
    halved: bool = False  # are the weights whole numbers of 16 bits, rounded from floats?
    kernel: str = ""  # where a kind has several: its C function
    tile: tuple[int, int] = (0, 0)  # of planes: output channels, vectors of a row (see `c/planes.c`)
    tiles: dict[int, int] = field(default_factory=dict)  # of bytes: heights of its kernels -> the most positions at once

    @property
    def kind(self) -> str:
        if self.op.planar:
            return "planes"
        numbers = "" if not self.op.quant else "_int16" if self.op.tile else "_int8"
        return ("depthwise" if self.op.depthwise else "conv") + numbers


@dataclass
class Call:
    layer: PackedLayer
    frames: list[Frame | None]  # of each source


#: says how a convolution of this geometry is computed; label: of its ONNX node
Choose = Callable[[Target, Geometry, str], Choice]


def by_default(target: Target, geometry: Geometry, label: str) -> Choice:
    return default(target, geometry)


def shares(weights: Sequence[np.ndarray]) -> tuple[int, int]:
    """Percent of weights (Cout, Cin, kh, kw) that are not zero, and of kernels (kh, kw)."""
    kept = [np.count_nonzero(weight) for weight in weights]
    whole = [
        weight.size if count == weight.size else np.count_nonzero(weight.any((2, 3))) * weight[0, 0].size
        for weight, count in zip(weights, kept, strict=True)
    ]
    size = max(1, sum(weight.size for weight in weights))
    return round(100 * sum(kept) / size), round(100 * sum(whole) / size)


def reads_states(op: Conv) -> int:
    """1 if some of the frames that it reads may be of earlier steps."""
    return int(any(isinstance(frame.op, StateIn | Select) for frame in op.convolved()))


class Packing:
    """For a processor, into a block of weights."""

    def __init__(self, target: Target, blob: Blob) -> None:
        self.target, self.blob = target, blob

    def splits(self, blocks: int, choice: Choice, tiles: tuple[tuple[int, int], ...]) -> Iterator[list[tuple[int, int]]]:
        """For each greatest height: as many of it as possible, the rest as even as possible (4 as 2 + 2, not 3 + 1).
        tiles: of the target, or its runs."""
        heights = [h for h, _ in tiles]
        for tallest in [choice.tallest] if choice.tallest else heights[::-1]:
            plan, first = [], 0
            while first < blocks:
                left = blocks - first
                count = max(h for h in heights if h <= min(left, tallest))
                if left - count == 1 and left % 2 == 0 and left // 2 in heights:
                    count = left // 2
                plan.append((first, count))
                first += count
            yield plan

    def geometry(self, layer: PackedLayer, frames: int) -> Geometry:
        op, read = layer.op, [tap.weight[:, source >= 0] for tap, (source, _) in zip(layer.op.taps, layer.cells, strict=True)]
        kept, kernels = shares(read)
        height, width = op.taps[0].weight.shape[2:]
        return Geometry(
            int(op.quant is not None), max(1, len(layer.forms)), height, width, *op.strides,
            sum(weight.shape[1] for weight in read), layer.out.channels, layer.out.height, layer.out.width, kept, frames, kernels,
            reads_states(op),
        )  # fmt: skip

    def positions(self, form: Form | None, out: Form, strides: tuple[int, int], pads: tuple[int, int]) -> int:
        """Table of the offsets at which the kernel stands for each output position."""
        if form is None:
            return 0
        y, x = np.mgrid[: out.height, : out.width]
        table = (y * strides[0] - pads[0]) * form.row + (x * strides[1] - pads[1]) * form.block
        return self.blob.add(table.astype(np.int32))
