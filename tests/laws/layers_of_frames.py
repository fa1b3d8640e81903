"""Layers that move or leave out frames and pixels: padding, slices, pixels to channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from laws.sketch import END, DoesNotFit, Sketch, Wire


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
