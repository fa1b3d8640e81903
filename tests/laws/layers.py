"""The layers of random networks: one class a kind, its name in `ROWS`.

`draw` picks random settings for the wire at hand, `write` adds the ONNX nodes and returns the wire behind them, or raises
DoesNotFit. To add an operator: such a class, and its name in ROWS (and in SAME, if it can leave shapes alone).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from laws.layers_of_frames import Shuffle, Space, TimePad, TimeSlice
from laws.layers_plain import Act, BatchNorm, Constant, Conv, Linear, Poison, Pool
from laws.layers_with_means import Append, Channels, Context, Gate, InstanceNorm
from laws.sketch import END, DoesNotFit, Kernel, Sketch, Wire


@dataclass(frozen=True)
class Shift:
    """Temporal shift: the first channels come from the frame before, the next ones from the frame after."""

    past: int
    future: int
    by: int
    pad: bool  # written with Pad, else with Concat
    at_once: bool  # one Slice cuts channels and time, else two do
    folded: bool  # on (T, C, H, W), unfolded for the shift

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Shift:
        past = draw(st.integers(0, x.c))
        return Shift(
            past,
            draw(st.integers(0, x.c - past)),
            draw(st.sampled_from([1, 1, 2])),
            draw(st.booleans()),
            draw(st.booleans()),
            draw(st.booleans()),
        )

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        shifted = self.past + self.future
        if self.by >= x.T or shifted == 0 or shifted > x.c:
            raise DoesNotFit
        made = Fold(()).enter(sketch, x) if self.folded else x
        if self.folded:
            unfolded = sketch.op("Reshape", made.name, sketch.ints(1, made.t, x.c, x.h, x.w))
            made = sketch.keep(replace(made, name=unfolded, layout="NTCHW"))
        c, parts, b = made.axis("C"), [], self.by
        if self.past:
            cut = self._cut(sketch, made, 0, self.past, 0, -b)
            parts.append(self._fill(sketch, made, cut, self.past, b, 0))
        if self.future:
            cut = self._cut(sketch, made, self.past, self.past + self.future, b, END)
            parts.append(self._fill(sketch, made, cut, self.future, 0, b))
        if x.c > self.past + self.future:
            parts.append(sketch.slice(made.name, [c], [self.past + self.future], [END], [1]))
        joined = sketch.op("Concat", *parts, axis=c) if len(parts) > 1 else sketch.op("Relu", parts[0])
        moves = [-b] * bool(self.past) + [b] * bool(self.future) + [0] * (x.c > self.past + self.future)
        delay = max(0, *(max(0, x.delay) + move * x.spacing for move in moves))
        clear = x.clear + self.by * bool(self.past)
        whole = max(0, x.whole - self.by * bool(self.future))
        joined = sketch.keep(replace(made, name=joined, delay=delay, clear=clear, whole=whole, zeros=True))
        if not self.folded:
            return joined
        back = sketch.op("Reshape", joined.name, sketch.ints(joined.t, x.c, x.h, x.w))
        return Fold(()).leave(sketch, sketch.keep(replace(joined, name=back, layout="TCHW")), x.layout)

    def _cut(self, sketch: Sketch, x: Wire, first: int, end: int, start: int, stop: int) -> str:
        c, t = x.axis("C"), x.axis("T")
        if self.at_once:
            return sketch.slice(x.name, [t, c], [start, first], [stop, end], [1, 1])
        return sketch.slice(sketch.slice(x.name, [c], [first], [end], [1]), [t], [start], [stop], [1])

    def _fill(self, sketch: Sketch, x: Wire, name: str, channels: int, before: int, after: int) -> str:
        t, rank = x.axis("T"), len(x.layout)
        if self.pad:
            return sketch.pad(name, [before * (i == t) for i in range(rank)], [after * (i == t) for i in range(rank)], 0.0)
        shape = list(replace(x, c=channels).shape(before + after))
        zeros = sketch.const(np.zeros(shape))
        return sketch.op("Concat", *([zeros, name] if before else [name, zeros]), axis=t)


@dataclass(frozen=True)
class Branches:
    """Several ways from one wire, joined again. split: each way gets its own channels (ShuffleNetV2)."""

    ways: tuple[tuple[Any, ...], ...]
    join: str
    split: bool

    @staticmethod
    def draw(draw, x: Wire, *, padless: bool = False, **_: Any) -> Branches:
        join, split = draw(st.sampled_from(["Add", "Add", "Concat", "Mul", "Max"])), draw(st.sampled_from([False, False, True]))
        split = split and x.c % 2 == 0
        first = replace(x, c=x.c // 2) if split else x
        stride, ways = 1 if padless else draw(st.sampled_from([1, 1, 1, 2])), []
        for way in range(draw(st.integers(2, 3)) if not split else 2):
            wire, layers = first, []
            for i in range(draw(st.integers(0 if way and stride == 1 else 1, 2))):
                kind = draw(st.sampled_from(SAME))
                layer = kind.draw(draw, wire, same=True, keep_channels=True) if not padless else _Valid.draw(draw, wire)
                if i == 0 and stride > 1:
                    layer = _strided(draw, wire, stride)
                layers.append(layer)
            ways.append(tuple(layers))
        return Branches(tuple(ways), join, split)

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        starts = [x] * len(self.ways)
        if self.split:
            halves = sketch.op("Split", x.name, sketch.ints(x.c // 2, x.c // 2), axis=x.axis("C"), outputs=2)
            starts = [sketch.keep(x.computed(half, c=x.c // 2)) for half in halves]
        ends = []
        for wire, layers in zip(starts, self.ways, strict=True):
            for layer in layers:
                wire = layer.write(sketch, wire)
            ends.append(wire)
        first = ends[0]
        if len({(e.layout, e.h, e.w, e.t, e.T, e.spacing) for e in ends}) > 1 or (
            self.join != "Concat" and len({e.c for e in ends}) > 1
        ):
            raise DoesNotFit
        if self.join == "Concat":
            made, c = sketch.op("Concat", *(e.name for e in ends), axis=x.axis("C")), sum(e.c for e in ends)
            if c > 8:
                raise DoesNotFit
        else:
            made, c = first.name, first.c
            for e in ends[1:]:
                made = sketch.op(self.join, made, e.name)
        return sketch.keep(
            replace(
                first,
                name=made,
                c=c,
                delay=max(0, *(e.delay for e in ends)),
                clear=max(e.clear for e in ends),
                whole=min(e.whole for e in ends),
                zeros=any(e.zeros for e in ends),
                padded=max(e.padded for e in ends),
            )
        )


def _strided(draw, x: Wire, stride: int) -> Any:
    """A layer with ceil(t / stride) frames, whatever t is."""
    kind = draw(st.sampled_from(["slice", "conv", "pool"]))
    if kind == "slice":
        return TimeSlice(0, 0, stride, draw(st.sampled_from(["Slice", "Gather"])))
    if kind == "pool":
        return Pool("MaxPool", Kernel(3, stride, 1, draw(st.sampled_from([0, 1, 2])), 0).balanced())
    k, d = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2]))
    return Conv(Kernel(k, stride, d, draw(st.integers(0, (k - 1) * d))).balanced(), x.c)


@dataclass(frozen=True)
class _Valid:
    """A convolution without padding beside a slice: x[a : -b] has as many frames as a kernel with a + b more taps leaves."""

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Any:
        total = 2
        if draw(st.booleans()):
            start = draw(st.integers(0, total))
            return TimeSlice(start, total - start, 1, draw(st.sampled_from(["Slice", "Gather"])))
        return Conv(draw(st.sampled_from([Kernel(3), Kernel(2, 1, 2)])), x.c)


@dataclass(frozen=True)
class Pair:
    """Padding that the next operator may take for its own."""

    pad: Any
    reader: Any

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Pair:
        pad = draw(st.sampled_from([TimePad, TimePad, Space])).draw(draw, x)
        return Pair(pad, draw(st.sampled_from([Conv, Pool, TimeSlice, Shift, TimePad, Space, Gate])).draw(draw, x))

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        return self.reader.write(sketch, self.pad.write(sketch, x))


@dataclass(frozen=True)
class Fold:
    """(N, C, T, H, W) -> (T, C, H, W), 2-D layers, and back."""

    layers: tuple[Any, ...]

    @staticmethod
    def draw(draw, x: Wire, *, keep_channels: bool = False, **_: Any) -> Fold:
        wire, layers = replace(x, layout="TCHW"), []
        for _ in range(draw(st.integers(0, 2))):
            layers.append(
                draw(st.sampled_from([Conv, Pool, Act, Constant, Shuffle, InstanceNorm])).draw(
                    draw, wire, keep_channels=True, same=keep_channels
                )
            )
        return Fold(tuple(layers))

    def enter(self, sketch: Sketch, x: Wire) -> Wire:
        if x.layout not in ("NCTHW", "NTCHW"):
            raise DoesNotFit
        name = x.name
        if x.layout == "NCTHW":
            name = sketch.op("Transpose", name, perm=[0, 2, 1, 3, 4])
            x = sketch.keep(x.computed(name, layout="NTCHW"))
        shape = (x.t, x.c, x.h, x.w)
        return sketch.keep(x.computed(sketch.op("Reshape", name, sketch.ints(*shape)), layout="TCHW"))

    def leave(self, sketch: Sketch, x: Wire, layout: str) -> Wire:
        made = sketch.op("Reshape", x.name, sketch.ints(1, x.t, x.c, x.h, x.w))
        made = sketch.keep(x.computed(made, layout="NTCHW"))
        if layout == "NCTHW":
            made = sketch.keep(replace(made, name=sketch.op("Transpose", made.name, perm=[0, 2, 1, 3, 4]), layout="NCTHW"))
        return made

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        made = self.enter(sketch, x)
        for layer in self.layers:
            made = layer.write(sketch, made)
        return self.leave(sketch, made, x.layout)


@dataclass(frozen=True)
class Turn:
    """Other axis orders: layers on (N, C, H, W, T), say, and back."""

    layout: str
    layers: tuple[Any, ...]

    @staticmethod
    def draw(draw, x: Wire, *, keep_channels: bool = False, **_: Any) -> Turn:
        layout = draw(st.sampled_from(["NCHWT", "NCHTW", "NCTWH"]))
        wire, layers = replace(x, layout=layout), []
        for _ in range(draw(st.integers(1, 2))):
            layers.append(
                draw(st.sampled_from([Conv, Pool, Gate, TimePad])).draw(draw, wire, same=keep_channels, keep_channels=True)
            )
        return Turn(layout, tuple(layers))

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if x.layout != "NCTHW":
            raise DoesNotFit
        made = sketch.op("Transpose", x.name, perm=[x.axis(a) for a in self.layout])
        made = sketch.keep(x.computed(made, layout=self.layout))
        for layer in self.layers:
            made = layer.write(sketch, made)
        back = sketch.op("Transpose", made.name, perm=[made.axis(a) for a in x.layout])
        return sketch.keep(made.computed(back, layout=x.layout))


@dataclass(frozen=True)
class SpaceMean:
    """The end of pictures: (N, C, T, H, W) -> (N, C, T); 1-D layers may follow."""

    layers: tuple[Any, ...]

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> SpaceMean:
        wire, layers = replace(x, layout="NCT", h=1, w=1), []
        for _ in range(draw(st.integers(0, 2))):
            layers.append(draw(st.sampled_from([Conv, Pool, Act])).draw(draw, wire, keep_channels=True))
        return SpaceMean(tuple(layers))

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if x.layout not in ("NCTHW", "NCTW"):
            raise DoesNotFit
        axes = list(range(3, len(x.layout)))
        made = sketch.keep(x.computed(sketch.reduce("ReduceMean", x.name, axes, False), layout="NCT", h=1, w=1))
        for layer in self.layers:
            made = layer.write(sketch, made)
        return made


# kinds that can leave the numbers of frames, pixels and channels alone
SAME = (Conv, Conv, Pool, Act, BatchNorm, Shift, Poison, Linear, Gate, Constant, Fold)
# every kind; those that matter most are drawn more often
ROWS = (
    *(Conv, Conv, Conv, Conv, Pool, Pool, Branches, Branches, Branches, Gate, Gate, Shift, Shift, Pair, Pair),
    *(Act, BatchNorm, Poison, Constant, Context, Append, Channels, Shuffle, Linear, SpaceMean),
    *(TimePad, TimeSlice, Space, Fold, Turn),
)
