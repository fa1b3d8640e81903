"""The layers of random networks: one class a kind, its name in `ROWS`.

`draw` picks random settings for the wire at hand, `write` adds the ONNX nodes and returns the wire behind them, or raises
DoesNotFit. To add an operator: such a class, and its name in ROWS (and in SAME, if it can leave shapes alone).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from laws.sketch import END, DoesNotFit, Kernel, Sketch, Wire, dead_taps, frames_out, trimmed


@dataclass(frozen=True)
class Conv:
    kernel: Kernel
    out: int
    groups: int = 1
    bias: bool = True
    bn: bool = False
    act: str = ""

    @staticmethod
    def draw(draw, x: Wire, *, same: bool = False, padless: bool = False, keep_channels: bool = False) -> Conv:
        kernel = Kernel.draw(draw, x, same=same, padless=padless)
        groups = draw(st.sampled_from([1, 1, x.c, 2 if x.c % 2 == 0 else 1]))
        out = x.c if keep_channels else groups * draw(st.integers(1, max(1, 4 // groups)))
        return Conv(
            kernel,
            out,
            groups,
            draw(st.booleans()),
            draw(st.sampled_from([False, False, True])),
            draw(st.sampled_from(["", "", "Relu", "HardSwish", "Clip"])),
        )

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if x.layout[:2] != "NC" and x.layout != "TCHW":
            raise DoesNotFit
        q = self.kernel
        changes = q.apply(x)
        weight = sketch.random(
            self.out, x.c // self.groups, *self._shape(x), scale=1 / np.sqrt(x.c // self.groups * prod(self._shape(x)))
        )
        if sketch.taps == "trained" and "T" in x.layout[2:]:
            dead = dead_taps(q.k, q.s, q.d, q.pl, x.T, changes["T"])
            first, last, _, _ = trimmed(q.k, q.d, q.pl, q.pr, dead)
            changes = q.apply(x, first, last)
            if sketch.long:  # a dead tap that could not be cut away weighs nothing
                array = sketch.arrays[weight].copy()
                np.moveaxis(array, x.axis("T"), 0)[dead] = 0
                sketch.arrays[weight] = array
        bias = [sketch.random(self.out, scale=0.3, stem="bias")] if self.bias else []
        made = sketch.op("Conv", x.name, weight, *bias, group=self.groups, **q.attrs(x))
        made = sketch.keep(replace(x, name=made, c=self.out, **changes))
        if self.bn:
            made = BatchNorm().write(sketch, made)
        return Act(self.act).write(sketch, made) if self.act else made

    def _shape(self, x: Wire) -> list[int]:
        return [self.kernel.k if a == "T" else self.kernel.ks for a in x.layout[2:]]


@dataclass(frozen=True)
class Pool:
    kind: str
    kernel: Kernel
    counted: bool = True  # AveragePool: padding counts

    @staticmethod
    def draw(draw, x: Wire, *, same: bool = False, padless: bool = False, keep_channels: bool = False) -> Pool:
        kind = draw(st.sampled_from(["MaxPool", "AveragePool"]))
        kernel = Kernel.draw(draw, x, same=same, pool=True, padless=padless)
        if kind == "AveragePool" and kernel.d > 1:  # opset 19
            kernel = replace(kernel, d=1, pr=kernel.k - 1 - kernel.pl) if same and kernel.pl < kernel.k else replace(kernel, d=1)
        return Pool(kind, replace(kernel, ds=1) if kind == "AveragePool" else kernel, kernel.pl > 0 or draw(st.booleans()))

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if x.layout[:2] != "NC" and x.layout != "TCHW":
            raise DoesNotFit
        q = self.kernel
        changes, attrs, source = q.apply(x), q.attrs(x), x.name
        timed = "T" in x.layout[2:]
        if timed and changes["T"] == 1 and q.k == x.T and not q.pl:
            raise DoesNotFit  # this is a head: test_pools_over_the_clip.py
        if self.kind == "MaxPool" and timed and sketch.taps == "trained":
            first, last, pl, pr = trimmed(q.k, q.d, q.pl, q.pr, dead_taps(q.k, q.s, q.d, q.pl, x.T, changes["T"]))
            changes = q.apply(x, first, last)
            if changes["T"] == 1 and last - first + 1 == x.T > 1 and not pl:
                raise DoesNotFit  # so is what is left of it
            if sketch.long and (first, last) != (0, q.k - 1):
                t, rank = x.axis("T"), len(x.layout)
                before, after = ([n * (i == t) for i in range(rank)] for n in (pl, pr))
                source = sketch.pad(x.name, before, after, float(np.finfo(np.float32).min), hidden=True)
                attrs = q.attrs(x, first, last, 0, 0)
                changes["t"] = frames_out(x.t + pl + pr, last - first + 1, q.s, q.d, 0, 0, q.ceil)
        if self.kind == "AveragePool":
            attrs = {**attrs, "count_include_pad": int(self.counted)}
            del attrs["dilations"]
        return sketch.keep(replace(x, name=sketch.op(self.kind, source, ceil_mode=int(q.ceil), **attrs), **changes))


@dataclass(frozen=True)
class Act:
    op: str

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Act:
        return Act(
            draw(st.sampled_from(["Relu", "Sigmoid", "HardSwish", "Clip", "LeakyRelu", "Tanh", "PRelu", "Softmax", "Swish"]))
        )

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if self.op == "Clip":
            made = sketch.op("Clip", x.name, sketch.const(-0.2), sketch.const(1.5))
        elif self.op == "PRelu":
            shape = [x.c if a == "C" else 1 for a in x.layout[x.axis("C") :]]
            made = sketch.op("PRelu", x.name, sketch.random(*shape))
        elif self.op == "Softmax":
            if sketch.opset < 13:  # it ran over all axes from this one on
                raise DoesNotFit
            made = sketch.op("Softmax", x.name, axis=x.axis("C"))
        elif self.op == "Swish":
            made = sketch.op("Mul", x.name, sketch.op("Sigmoid", x.name))
        elif self.op == "HardSwish" and sketch.opset < 14:
            made = sketch.op("Mul", x.name, sketch.op("HardSigmoid", x.name, alpha=1 / 6, beta=0.5))
        else:
            made = sketch.op(self.op, x.name)
        return sketch.keep(x.computed(made, zeros=x.zeros or self.op in ("Relu", "HardSwish", "Clip")))


@dataclass(frozen=True)
class BatchNorm:
    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> BatchNorm:
        return BatchNorm()

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if x.layout[1] != "C":
            raise DoesNotFit
        parameters = [
            sketch.random(x.c, scale=0.2, shift=shift, stem=stem) for stem, shift in (("weight", 1.0), ("bias", 0), ("mean", 0))
        ]
        variance = sketch.const(np.linspace(0.6, 1.4, x.c))
        return sketch.keep(x.computed(sketch.op("BatchNormalization", x.name, *parameters, variance)))


@dataclass(frozen=True)
class Poison:
    """x * x / x: nothing happens to a number, but 0 becomes NaN (as do frames before the beginning that are made of zeros)."""

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Poison:
        return Poison()

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if x.zeros:
            raise DoesNotFit
        return sketch.keep(x.computed(sketch.op("Div", sketch.op("Mul", x.name, x.name), x.name)))


@dataclass(frozen=True)
class Constant:
    """An element-wise operator with a constant: a number, one a channel, or a picture; perhaps repeated for all T frames."""

    op: str
    shape: str
    repeated: bool
    first: bool  # the constant is the first operand

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Constant:
        return Constant(
            draw(st.sampled_from(["Add", "Mul", "Sub", "Max", "Min"])),
            draw(st.sampled_from(["", "C", "CHW", "HW"])),
            draw(st.booleans()),
            draw(st.booleans()),
        )

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        letters = self.shape + ("T" if self.repeated and self.shape else "")
        shape = [x.size(a) if a in letters and a != "T" else 1 for a in x.layout]
        name = sketch.random(*shape, scale=0.5, shift=0.7, stem="value")
        array = sketch.arrays[name]
        if "T" in letters and "T" in x.layout:
            array = np.repeat(array, x.t, axis=x.axis("T"))
        elif not self.shape:
            array = array.reshape(())
        sketch.arrays[name] = array
        operands = (name, x.name) if self.first else (x.name, name)
        return sketch.keep(x.computed(sketch.op(self.op, *operands)))


@dataclass(frozen=True)
class Gate:
    """Squeeze-and-excite. form: how the mean is written. late: the gated wire is computed after the gate."""

    form: str
    mid: int
    late: bool

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Gate:
        form = draw(st.sampled_from(["keep", "flat", "flat-unsqueeze", "global", "pool", "of pictures"]))
        return Gate(form, draw(st.integers(1, 3)), draw(st.sampled_from([False, False, True])))

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if x.layout[:2] != "NC" or "T" not in x.layout or "H" not in x.layout or prod(x.shape(x.T)[2:]) == 1:
            raise DoesNotFit
        down = sketch.random(self.mid, x.c, scale=1 / np.sqrt(x.c))
        up = sketch.random(x.c, self.mid, scale=1 / np.sqrt(self.mid))
        bias = sketch.random(self.mid, scale=0.3, stem="bias"), sketch.random(x.c, scale=0.3, stem="bias")
        if sketch.long or self.form == "of pictures":
            gate = self._by_frame(sketch, x, (down, up), bias)
        elif self.form.startswith("flat"):
            gate = self._flat(sketch, x, (down, up), bias)
        else:
            gate = self._kept(sketch, x, (down, up), bias)
        y = Conv(Kernel(), x.c).write(sketch, x) if self.late else x
        made = y.computed(sketch.op("Mul", y.name, gate))
        if sketch.se == "window" and self.form != "of pictures":
            made = replace(made, clear=made.clear + x.T - 1)
        return sketch.keep(made)

    def _excite(self, sketch: Sketch, mean: str, x: Wire, weights: tuple[str, str], bias: tuple[str, str]) -> str:
        """Two 1x1x1 convolutions on the mean, which has all axes."""
        for weight, b, act in zip(weights, bias, ("Relu", "Sigmoid"), strict=True):
            array = sketch.arrays[weight]
            kernel = sketch.const(array.reshape(*array.shape, *(1 for _ in x.layout[2:])))
            mean = sketch.op(act, sketch.op("Conv", mean, kernel, b, hidden=True), hidden=True)
        return mean

    def _by_frame(self, sketch: Sketch, x: Wire, weights: tuple[str, str], bias: tuple[str, str]) -> str:
        mean = sketch.reduce("ReduceMean", x.name, [x.axis("H"), x.axis("W")], True, hidden=True)
        if sketch.se == "window" and self.form != "of pictures":  # the last T frames, of those that exist
            kernel = [x.T if a == "T" else 1 for a in x.layout[2:]]
            pads = [x.T - 1 if a == "T" else 0 for a in x.layout[2:]] + [0, 0, 0]
            mean = sketch.op("AveragePool", mean, kernel_shape=kernel, pads=pads, count_include_pad=0, hidden=True)
        return self._excite(sketch, mean, x, weights, bias)

    def _kept(self, sketch: Sketch, x: Wire, weights: tuple[str, str], bias: tuple[str, str]) -> str:
        if self.form == "keep":
            mean = sketch.reduce("ReduceMean", x.name, [2, 3, 4], True, hidden=True)
        elif self.form == "global":
            mean = sketch.op("GlobalAveragePool", x.name, hidden=True)
        else:
            mean = sketch.op("AveragePool", x.name, kernel_shape=list(x.shape()[2:]), hidden=True)
        return self._excite(sketch, mean, x, weights, bias)

    def _flat(self, sketch: Sketch, x: Wire, weights: tuple[str, str], bias: tuple[str, str]) -> str:
        gate = sketch.reduce("ReduceMean", x.name, [2, 3, 4], False, hidden=True)
        for weight, b, act in zip(weights, bias, ("Relu", "Sigmoid"), strict=True):
            gate = sketch.op(act, sketch.op("Gemm", gate, weight, b, transB=1, hidden=True), hidden=True)
        if self.form == "flat":
            return sketch.op("Reshape", gate, sketch.ints(1, x.c, 1, 1, 1), hidden=True)
        return sketch.op("Unsqueeze", gate, sketch.ints(2, 3, 4), hidden=True)


@dataclass(frozen=True)
class Context:
    """x minus its mean over time alone: not for `--se frame`, where nothing would be left of it."""

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Context:
        return Context()

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if sketch.se != "window" or x.layout[:3] != "NCT" or prod(x.shape(x.T)[2:]) == 1:
            raise DoesNotFit
        if sketch.long:
            space = [1] * (len(x.layout) - 3)
            pads = [x.T - 1] + [0] * (2 * len(space) + 1)
            mean = sketch.op("AveragePool", x.name, kernel_shape=[x.T, *space], pads=pads, count_include_pad=0, hidden=True)
        else:
            mean = sketch.reduce("ReduceMean", x.name, [2], True, hidden=True)
        made = x.computed(sketch.op("Sub", x.name, mean), zeros=True)
        return sketch.keep(replace(made, clear=made.clear + x.T - 1))


@dataclass(frozen=True)
class Channels:
    """Some of the channels, in any order."""

    form: str
    first: int
    end: int

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Channels:
        first = draw(st.integers(0, x.c - 1))
        return Channels(draw(st.sampled_from(["Slice", "Gather", "Split"])), first, draw(st.integers(first + 1, x.c)))

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        axis, count = x.axis("C"), self.end - self.first
        if self.end > x.c:
            raise DoesNotFit
        if self.form == "Slice":
            made = sketch.slice(x.name, [axis], [self.first], [self.end], [1])
        elif self.form == "Gather":
            made = sketch.op("Gather", x.name, sketch.ints(*range(self.end - 1, self.first - 1, -1)), axis=axis)
        else:
            sizes = [n for n in (self.first, count, x.c - self.end) if n]
            parts = sketch.op("Split", x.name, sketch.ints(*sizes), axis=axis, outputs=len(sizes))
            made = parts[1 if self.first else 0] if len(sizes) > 1 else parts
        return sketch.keep(x.computed(made, c=count))


@dataclass(frozen=True)
class Append:
    """Constant channels beside the others, the same ones in all T frames."""

    value: float
    before: bool

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Append:
        return Append(draw(st.sampled_from([0.0, 0.5])), draw(st.booleans()))

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        constant = sketch.const(np.full(replace(x, c=1).shape(), self.value))
        made = sketch.op("Concat", *((constant, x.name) if self.before else (x.name, constant)), axis=x.axis("C"))
        return sketch.keep(x.computed(made, c=x.c + 1, zeros=x.zeros or not self.value))


@dataclass(frozen=True)
class InstanceNorm:
    """Of single pictures: frames are in the batch."""

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> InstanceNorm:
        return InstanceNorm()

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if x.layout != "TCHW" or x.h * x.w == 1:
            raise DoesNotFit
        scale, bias = sketch.random(x.c, scale=0.2, shift=1.0), sketch.random(x.c, stem="bias")
        return sketch.keep(x.computed(sketch.op("InstanceNormalization", x.name, scale, bias)))


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
class TimePad:
    """Constant frames before (and behind) the others."""

    before: int
    after: int
    value: float
    concat: bool

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> TimePad:
        return TimePad(
            draw(st.integers(0, 4)), draw(st.integers(0, 2)), draw(st.sampled_from([0.0, 0.0, 0.5, -1.0])), draw(st.booleans())
        )

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        if "T" not in x.layout[1:]:
            raise DoesNotFit
        more = self.before + self.after
        t = x.axis("T")
        if self.concat and more:
            full = [sketch.const(np.full(x.shape(n), self.value)) for n in (self.before, self.after)]
            parts = [*full[:1][: self.before], x.name, *full[1:][: self.after]]
            made = sketch.op("Concat", *parts, axis=t)
        else:
            made = sketch.pad(
                x.name,
                [self.before * (i == t) for i in range(len(x.layout))],
                [self.after * (i == t) for i in range(len(x.layout))],
                self.value,
            )
        return sketch.keep(
            x.renumbered(
                made,
                -self.before,
                t=x.t + more,
                T=x.T + more,
                zeros=x.zeros or not self.value,
                padded=x.padded + self.before * x.spacing,
            )
        )


@dataclass(frozen=True)
class TimeSlice:
    """x[start : -end : stride] on time, written as Slice, Gather or Split."""

    start: int
    end: int
    stride: int
    form: str

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> TimeSlice:
        return TimeSlice(
            draw(st.integers(0, 3)),
            draw(st.integers(0, 2)),
            draw(st.sampled_from([1, 1, 2, 3])),
            draw(st.sampled_from(["Slice", "Gather", "Split"])),
        )

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        start, end, stride = self.start, self.end, 1 if self.form == "Split" else self.stride
        t, T = (max(0, -(-(n - start - end) // stride)) for n in (x.t, x.T))
        if T < 1 or "T" not in x.layout[1:] or (stride > 1 and T < 2):
            raise DoesNotFit
        axis = x.axis("T")
        if self.form == "Slice":
            made = sketch.slice(x.name, [axis], [start], [-end if end else END], [stride])
        elif self.form == "Gather":
            made = sketch.op("Gather", x.name, sketch.ints(*range(start, x.t - end, stride)), axis=axis)
        else:
            sizes = [n for n in (start, t, end) if n]
            made = sketch.op("Split", x.name, sketch.ints(*sizes), axis=axis, outputs=len(sizes))
            made = made[1 if start else 0] if len(sizes) > 1 else made
        return sketch.keep(x.renumbered(made, start, stride, max(0, end - (x.t - x.whole)), t=t, T=T))


@dataclass(frozen=True)
class Space:
    """Padding or cropping pictures."""

    top: int
    bottom: int
    value: float
    mode: str

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Space:
        return Space(
            draw(st.integers(-2, 2)),
            draw(st.integers(0, 2)),
            draw(st.sampled_from([0.0, 1.0])),
            draw(st.sampled_from(["constant", "constant", "reflect"])),
        )

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        h = x.h + self.top + self.bottom
        if "H" not in x.layout or h < 1 or x.h < 3:
            raise DoesNotFit
        axis, rank = x.axis("H"), len(x.layout)
        if self.top < 0 and not self.bottom:
            made = sketch.slice(x.name, [axis], [-self.top], [END], [1])
        else:
            pads = [max(0, self.top) * (i == axis) for i in range(rank)] + [self.bottom * (i == axis) for i in range(rank)]
            h = x.h + max(0, self.top) + self.bottom
            value = [sketch.const(self.value)] if self.mode == "constant" else []
            made = sketch.op("Pad", x.name, sketch.ints(*pads), *value, mode=self.mode)
        return sketch.keep(x.computed(made, h=h, zeros=True))


@dataclass(frozen=True)
class Shuffle:
    """Channel shuffle: (g, C/g) -> (C/g, g)."""

    groups: int

    @staticmethod
    def draw(draw, x: Wire, **_: Any) -> Shuffle:
        return Shuffle(2)

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        g, shape = self.groups, list(x.shape())
        if x.c % g or x.c == g or x.layout not in ("NCTHW", "TCHW", "NCTW"):
            raise DoesNotFit
        apart = [shape[0], g, x.c // g, *shape[2:]]
        made = sketch.op("Reshape", x.name, sketch.ints(*apart))
        made = sketch.op("Transpose", made, perm=[0, 2, 1, *range(3, len(apart))])
        return sketch.keep(x.computed(sketch.op("Reshape", made, sketch.ints(*shape))))


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
class Linear:
    """A linear layer on channels last."""

    out: int
    bias: bool

    @staticmethod
    def draw(draw, x: Wire, *, keep_channels: bool = False, **_: Any) -> Linear:
        return Linear(x.c if keep_channels else draw(st.integers(1, 4)), draw(st.booleans()))

    def write(self, sketch: Sketch, x: Wire) -> Wire:
        layout = x.layout.replace("C", "") + "C"
        made = sketch.op("Transpose", x.name, perm=[x.axis(a) for a in layout])
        made = sketch.op("MatMul", made, sketch.random(x.c, self.out, scale=1 / np.sqrt(x.c)))
        if self.bias:
            made = sketch.op("Add", made, sketch.random(self.out, stem="bias"))
        made = sketch.op("Transpose", made, perm=[layout.index(a) for a in x.layout])
        return sketch.keep(x.computed(made, c=self.out))


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
