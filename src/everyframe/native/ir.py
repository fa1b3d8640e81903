"""What a network is between ONNX and C: frames, and operators that each make one frame.

A *frame* is (C, H, W), H = W = 1 for vectors; a *plane* is one channel of it. ONNX tensors are arrays of planes (`Planes`),
so Concat, Slice, Reshape, Transpose and the like only rearrange references and cost nothing at run time; a clip and a step of
several frames are the same thing: many frames. Counters and masks are arrays of C expressions (`Scalars`).

Letters: C channels, H height, W width, k taps (frames that a convolution reads).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from everyframe.native.quants import Quant

SHIFT = 24  # a plane is frame number << SHIFT | channel


@dataclass(eq=False, repr=False)
class Frame:
    """op: what makes it. label: the ONNX tensor it belongs to, for messages and comments. quant: None for float32. half: it is
    stored as float16; only maps read and make such frames, others read a float32 copy. Transformed bytes (see `winograd`) are
    stored in as much, as whole numbers."""

    number: int
    channels: int
    height: int
    width: int
    op: Op
    label: str = ""
    quant: Quant | None = None
    half: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    @property
    def floats(self) -> int:
        return self.channels * self.height * self.width

    def planes(self) -> np.ndarray:
        """References to all channels, (C,) int64."""
        return (self.number << SHIFT) + np.arange(self.channels, dtype=np.int64)


#: a cell is one value of a plane: (plane << _PLACE | y * W + x) + 1, and 0 is the number 0 from nowhere
_PLACE = 22
MOST_FRAMES, MOST_PLACES = 1 << (62 - SHIFT - _PLACE), 1 << _PLACE


def cell(planes: np.ndarray, places: np.ndarray) -> np.ndarray:
    return (planes << _PLACE) + places + 1


def split_cells(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(plane references, places in them); -1 and -1 for what comes from nowhere."""
    return (cells - 1) >> _PLACE, np.where(cells > 0, (cells - 1) & (MOST_PLACES - 1), -1)


@dataclass
class Planes:
    """A float tensor. array: plane references in the tensor's shape without H and W. space: (H, W) where those are its last two
    axes, None where it has no such axes (every plane is then 1 x 1). merged: H and W are one axis, as in a channel shuffle on
    four axes; such a tensor can only be reshaped and transposed. kind: what the floats stand for: 'float', 'bool' (0 or 1), 'int'
    (whole numbers, exact up to 2**24), 'uint8' and 'int8': the integers that quantized frames are stored as, or 'half': float16.
    """

    array: np.ndarray
    space: tuple[int, int] | None
    merged: bool = False
    kind: str = "float"

    @property
    def shape(self) -> tuple[int, ...]:
        if self.space is None:
            return self.array.shape
        height, width = self.space
        return (*self.array.shape, height * width) if self.merged else (*self.array.shape, height, width)


@dataclass
class Scalars:
    """A small tensor of C expressions (object array of str), over the integer states. kind: 'int', 'bool' or 'float'."""

    array: np.ndarray
    kind: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape


Value = Planes | Scalars | np.ndarray


# -- operators ----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Op:
    """order: position of the ONNX node; label: its name."""

    order: int
    label: str

    def reads(self) -> list[Frame]:
        """Frames whose values are read, in any order, each as often as it is named."""
        return []


@dataclass(eq=False)
class Input(Op):
    """A frame of what the caller hands over: its first channel begins at float `start`, the next one `stride` floats behind."""

    start: int = 0
    stride: int = 0


@dataclass(eq=False)
class StateIn(Op):
    """Frame `row` of a state tensor, as the last step left it."""

    slot: int = 0
    fill: float = 0.0


@dataclass(eq=False)
class Fill(Op):
    """The same value everywhere."""

    value: float = 0.0


@dataclass(eq=False)
class Constant(Op):
    """data: (C, H, W) float32."""

    data: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 1), np.float32))


@dataclass(eq=False)
class Select(Op):
    """Either of two frames, by a condition on the counters: a choice of pointers, no copy."""

    condition: str = ""
    yes: Frame = None  # type: ignore[assignment]
    no: Frame = None  # type: ignore[assignment]

    def reads(self) -> list[Frame]:
        return [self.yes, self.no]


#: as C numbers them
ACTIVATIONS = ("none", "sigmoid", "silu", "tanh", "hardswish", "relu6")


@dataclass(frozen=True)
class Activation:
    """y = name(x), then clamped to [low, high]. name: 'none' or one of maps.UNARY."""

    name: str = "none"
    low: float = -np.inf
    high: float = np.inf

    @property
    def idle(self) -> bool:
        return self == Activation()


@dataclass(eq=False)
class Tap:
    """One kernel of a convolution and what it meets. weight: (Cout, Cin, kh, kw), or (C, 1, kh, kw) depthwise. key: names the
    weight, so that frames of one layer share it. planes: (Cin,) references; those of a Fill with 0 (time padding) are skipped.
    integers: int8 in the form of `weight`, which is integers * scale, scale: (Cout,); None where the weight was not quantized.
    """

    weight: np.ndarray
    key: tuple
    planes: np.ndarray
    integers: np.ndarray | None = None
    scale: np.ndarray | None = None
    rows: Callable[[], np.ndarray] | None = None  # of a `tile` product: the weights of each row, (rows, Cout, Cin)


@dataclass(eq=False)
class Conv(Op):
    """out = activation(sum over taps of conv2d + bias + residual), or activation(...) + residual if `residual_last`.

    strides, dilations: (y, x); pads: (top, left). A fully connected layer is one with a kernel as large as its frame.
    quant: of all frames that it reads, if it is computed in integers (then all taps have them, with one scale).
    """

    taps: list[Tap] = field(default_factory=list)
    bias: np.ndarray | None = None
    bias_key: tuple = ()
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    dilations: tuple[int, int] = (1, 1)
    depthwise: bool = False
    residual: Frame | None = None
    residual_last: bool = False
    activation: Activation = Activation()
    quant: Quant | None = None
    frames: dict[int, Frame] = field(default_factory=dict)  # the frames that `planes` refer to, by number
    #: frames are transformed (see `winograd`): a tap's weight says only which weights there are, its `rows` what they are
    tile: int = 0
    how: Any = None  # the `choice.Choice` that asked for that
    batch: int = -1  # frames of one layer that are one call have the same (see `together`)
    chain: int = -1  # of those of the graph (see `strips`)
    planar: bool = False  # it makes planes (see `planar`)

    def convolved(self) -> list[Frame]:
        numbers = dict.fromkeys(n for tap in self.taps for n in frame_numbers(tap.planes))
        return [self.frames[n] for n in numbers if not is_zero(self.frames[n])]

    def reads(self) -> list[Frame]:
        return self.convolved() + ([self.residual] if self.residual else [])


def sizes_of(op: Conv) -> tuple[int, int, int]:
    """Of its kernel: rows of the input that a row of the output reads, from one to the next, and that lie above it."""
    return (op.taps[0].weight.shape[2] - 1) * op.dilations[0] + 1, op.strides[0], op.pads[0]


@dataclass(frozen=True, eq=False)
class Chain:
    """Convolutions in levels, each of which alone reads what the one before it makes (see `strips`). ops: all, in order; rows: of
    the last, at a time; held: of the others, that are there; copies: for so many threads; shares: frames in places of others."""

    levels: list[list[Conv]]
    ops: list[Conv]
    rows: int
    held: list[int]
    copies: int = 1
    shares: dict[int, int] = field(default_factory=dict)


@dataclass(eq=False)
class Pool(Op):
    """kind: 'max' or 'avg'. parts: the frames of the window. A padded value never wins a max; it counts as 0 in a mean if
    `count_pads`. pads: (top, left, bottom, right)."""

    kind: str = "max"
    parts: list[Frame] = field(default_factory=list)
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    count_pads: bool = False
    depth: int = 1  # frames of the whole window, padded ones included where they count

    def reads(self) -> list[Frame]:
        return self.parts


@dataclass(eq=False)
class Reduce(Op):
    """(C, 1, 1): mean, sum, product, max or min over space and over `parts`."""

    kind: str = "mean"
    parts: list[Frame] = field(default_factory=list)

    def reads(self) -> list[Frame]:
        return self.parts


@dataclass(eq=False)
class Gather(Op):
    """Copies planes of any frames into one frame."""

    planes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    frames: dict[int, Frame] = field(default_factory=dict)

    def reads(self) -> list[Frame]:
        return [self.frames[n] for n in dict.fromkeys(frame_numbers(self.planes))]


@dataclass(eq=False)
class Window(Op):
    """out[y, x] = source[y * strides[0] + origin[0], ...]; `value` where that lies outside. Crops, pads and thins out."""

    source: Frame = None  # type: ignore[assignment]
    origin: tuple[int, int] = (0, 0)
    strides: tuple[int, int] = (1, 1)
    value: float = 0.0

    def reads(self) -> list[Frame]:
        return [self.source]


@dataclass(eq=False)
class Move(Op):
    """Every value from any place: cells, (C, H, W), see `cell`; what comes from nowhere is 0. The frame is of that shape, or has
    the values one after another, (C*H*W, 1, 1)."""

    cells: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 1), np.int64))
    frames: dict[int, Frame] = field(default_factory=dict)

    def reads(self) -> list[Frame]:
        return list(self.frames.values())


@dataclass(eq=False)
class Flatten(Op):
    """(C, H, W) -> (C*H*W, 1, 1)."""

    source: Frame = None  # type: ignore[assignment]

    def reads(self) -> list[Frame]:
        return [self.source]


#: a step of a Map: (function, operands); operands are ('in', i), ('tmp', i), ('num', value), ('expr', C text) or ('par', value),
#: a number that does not make it another function
Step = tuple[str, tuple[tuple, ...]]


@dataclass(eq=False)
class Map(Op):
    """Element-wise: `steps` in order, the last is the result. inputs: frames of the same H, W or 1 x 1 (one value a channel)."""

    inputs: list[Frame] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def reads(self) -> list[Frame]:
        return self.inputs


def copied() -> list[Step]:
    """The steps of a map that only stores what it reads in another way."""
    return [("keep", (("in", 0),))]


def is_zero(frame: Frame) -> bool:
    return isinstance(frame.op, Fill) and frame.op.value == 0


def frame_numbers(planes: np.ndarray) -> list[int]:
    """Numbers of the frames that planes refer to, in order of first use."""
    numbers = np.asarray(planes).ravel() >> SHIFT
    if len(numbers) and (numbers == numbers[0]).all():  # mostly one frame's channels, of which there may be a hundred thousand
        return [int(numbers[0])]
    return list(dict.fromkeys(numbers.tolist()))


def channels_of(planes: np.ndarray) -> np.ndarray:
    return np.asarray(planes) & ((1 << SHIFT) - 1)


def common_quant(frames: Iterable[Frame]) -> Quant | None:
    """What all frames that are not fills have in common; None where one is float32, they differ or there are none."""
    found = {frame.quant for frame in frames if not isinstance(frame.op, Fill)}
    return found.pop() if len(found) == 1 else None


def carried_quant(op: Op) -> Quant | None:
    """The quantization of what an operator makes that computes no new values."""
    if not isinstance(op, Select | Gather | Window | Move | Flatten) and not (isinstance(op, Pool) and op.kind == "max"):
        return None
    quant = common_quant(op.reads())
    fill = op.value if isinstance(op, Window) else 0.0
    return None if quant and quant.nearest(fill) != fill else quant


def retarget(planes: np.ndarray, frames: dict[int, Frame]) -> np.ndarray:
    """The same channels of other frames: frames maps old numbers to frames."""
    numbers, which = np.unique(np.asarray(planes) >> SHIFT, return_inverse=True)
    new = np.array([frames[n].number for n in numbers.tolist()], np.int64)
    return (new[which].reshape(np.shape(planes)) << SHIFT) + channels_of(planes)


@dataclass
class Graph:
    """A traced network. ops: in order of execution. made: the frame each op makes. slots: the StateIn frames, with what each
    holds after the step; counters: integer states as (name, C expression of the next value). logits: the frames of all
    answers, one behind the other. answers: their names and shapes, the main one first."""

    ops: list[Op]
    made: dict[int, Frame]  # id(op) -> frame
    frames: dict[int, Frame]
    slots: list[Frame]
    slot_next: list[Frame]
    counters: list[str]
    counter_next: list[str]
    tables: list[np.ndarray]
    logits: list[Frame]
    inputs: tuple[tuple[str, tuple[int, ...]], ...]  # what the caller hands over, one behind the other: names and shapes
    clip: bool  # a clip, (C, T, H, W) instead of (N, C, H, W)
    answers: tuple[tuple[str, tuple[int, ...]], ...]
    chains: list[Chain] = field(default_factory=list)

    def out(self, op: Op) -> Frame:
        return self.made[id(op)]
