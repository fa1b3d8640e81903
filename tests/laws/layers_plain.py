"""Layers that compute with one wire: convolutions, pools, activations, normalizations, constants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from laws.sketch import DoesNotFit, Kernel, Sketch, Wire, dead_taps, frames_out, trimmed


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
