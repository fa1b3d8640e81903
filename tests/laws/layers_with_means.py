"""Layers that look at more than their own place: gates, contexts, attention over channels, instance normalization."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from laws.layers_plain import Conv
from laws.sketch import DoesNotFit, Kernel, Sketch, Wire


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
