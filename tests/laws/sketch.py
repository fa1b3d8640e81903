"""A network on paper: wires with their place in time, the arithmetic of kernels, and the ONNX graph that is being written.

A network is written twice by the same code: once as the clip network that is converted (T frames, means over time, a head),
and once as the law reads it, for a video of any length (`long`: a gate looks at each frame, or at the last T that exist; no
head; dead taps gone). Nothing here uses everyframe.

T frames of a wire in the clip, t frames of it in the graph being written, N batch (1), C H W as usual.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import helper

END = np.iinfo(np.int64).max


class DoesNotFit(Exception):
    """This layer cannot follow that wire (too few frames, too small a picture, an odd number of channels ...)."""


@dataclass(frozen=True)
class Wire:
    """A tensor with frames. layout: one letter an axis. T: its frames in the clip, t: in this graph.

    Frame j can be computed once stream frame j*spacing + delay has come.
    clear: the first frame that sees nothing of the beginning. whole: how many frames see nothing of the end of the video.
    zeros: some values may be exactly 0.
    padded: how much later frames may come because a time Pad had a value that the next operator cannot go on with.
    """

    name: str
    layout: str
    c: int
    h: int
    w: int
    t: int
    T: int
    spacing: int = 1
    delay: int = 0
    clear: int = 0
    whole: int = 0
    zeros: bool = False
    padded: int = 0

    def size(self, letter: str, frames: int | None = None) -> int:
        return {"N": 1, "C": self.c, "T": self.t if frames is None else frames, "H": self.h, "W": self.w}[letter]

    def shape(self, frames: int | None = None) -> tuple[int, ...]:
        return tuple(self.size(letter, frames) for letter in self.layout)

    def axis(self, letter: str) -> int:
        return self.layout.index(letter)

    def computed(self, name: str, **changes: Any) -> Wire:
        """The wire behind an operator that computes: frames that a Pad made known early end here."""
        return replace(self, name=name, delay=max(0, self.delay), **changes)

    def renumbered(self, name: str, start: int, stride: int = 1, end: int = 0, **changes: Any) -> Wire:
        """Frame j is frame j*stride + start of this wire (start < 0: constant frames were put in front)."""
        delay, clear = self.delay + self.spacing * start, max(0, -(-(self.clear - start) // stride))
        whole = max(0, -(-(self.whole - end - start) // stride))
        return replace(self, name=name, delay=delay, clear=clear, spacing=self.spacing * stride, whole=whole, **changes)


@dataclass
class Sketch:
    """A graph being written. Tensors of both versions of a network get the same names, weights the same values."""

    frames: int  # of the video or clip
    T: int  # of the clip
    long: bool = False
    se: str = "frame"
    taps: str = "all"
    opset: int = 18
    naming: str = "plain"
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    wires: dict[str, Wire] = field(default_factory=dict)  # those that both versions have
    tensors: int = 0
    hidden: int = 0
    weights: int = 0

    def name(self, hidden: bool) -> str:
        if hidden:
            self.hidden += 1
            return f"hidden{self.hidden}"
        self.tensors += 1
        if self.naming == "hostile":  # the names that the step network itself uses
            taken = ("logits", "frames", "state.t", "mask", "started", "t.next", "scalar.0", "ints.0")
            return taken[self.tensors - 1] if self.tensors <= len(taken) else f"x{self.tensors}"
        return f"x{self.tensors}"

    def op(self, kind: str, *inputs: str, hidden: bool = False, outputs: int = 1, **attrs: Any) -> Any:
        """Adds a node; returns the name of its output (a list for several)."""
        if self.opset < 13 and kind in ("Split", "Squeeze", "Unsqueeze"):  # what is an input now was an attribute
            attrs = attrs | {"split" if kind == "Split" else "axes": self.arrays.pop(inputs[1]).tolist()}
            inputs = inputs[:1]
        made = [self.name(hidden) for _ in range(outputs)]
        node = "" if self.naming == "none" else made[0]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=node, **attrs))
        return made if outputs > 1 else made[0]

    def const(self, array: Any, dtype: type = np.float32) -> str:
        self.hidden += 1
        name = f"const{self.hidden}"
        self.arrays[name] = np.asarray(array, dtype)
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def random(self, *shape: int, scale: float = 1.0, shift: float = 0.0, stem: str = "") -> str:
        """Random numbers, the same in both versions because they are drawn in the same order."""
        self.weights += 1
        name = f"layer.{self.weights}.{stem or 'weight'}"
        self.arrays[name] = (shift + scale * np.random.default_rng(self.weights).standard_normal(shape)).astype(np.float32)
        return name

    def keep(self, wire: Wire) -> Wire:
        self.wires[wire.name] = wire
        return wire

    def reduce(self, kind: str, x: str, axes: list[int], keep: bool, hidden: bool = False) -> str:
        if self.opset >= 18:
            return self.op(kind, x, self.ints(*axes), keepdims=int(keep), hidden=hidden)
        return self.op(kind, x, axes=axes, keepdims=int(keep), hidden=hidden)

    def slice(self, x: str, axes: list[int], starts: list[int], ends: list[int], steps: list[int], hidden: bool = False) -> str:
        return self.op("Slice", x, self.ints(*starts), self.ints(*ends), self.ints(*axes), self.ints(*steps), hidden=hidden)

    def pad(self, x: str, begin: list[int], end: list[int], value: float, hidden: bool = False) -> str:
        return self.op("Pad", x, self.ints(*begin, *end), self.const(value), mode="constant", hidden=hidden)


def frames_out(t: int, k: int, s: int, d: int, pl: int, pr: int, ceil: bool = False) -> int:
    room = t + pl + pr - (k - 1) * d - 1
    if room < 0:
        return 0
    made = -(-room // s) + 1 if ceil else room // s + 1
    return made - 1 if ceil and (made - 1) * s >= t + pl else made


def dead_taps(k: int, s: int, d: int, pl: int, t_in: int, t_out: int) -> list[int]:
    """Taps that meet nothing but padding in the clip."""
    return [i for i in range(k) if not any(0 <= j * s - pl + i * d < t_in for j in range(t_out))]


def trimmed(k: int, d: int, pl: int, pr: int, dead: list[int]) -> tuple[int, int, int, int]:
    """(first, last, left pad, right pad) once dead taps at the ends are cut, as far as the pads go along."""
    if len(dead) == k:
        return 0, k - 1, pl, pr
    first, last = 0, k - 1
    while first in dead and pl >= d:
        first, pl = first + 1, pl - d
    while last in dead and pr >= d:
        last, pr = last - 1, pr - d
    return first, last, pl, pr


@dataclass(frozen=True)
class Kernel:
    """Time: taps k, stride s, dilation d, pads pl and pr. Space (both axes): ks, ss, ds, pads ps and pe."""

    k: int = 1
    s: int = 1
    d: int = 1
    pl: int = 0
    pr: int = 0
    ks: int = 1
    ss: int = 1
    ps: int = 0
    pe: int = 0
    ds: int = 1
    ceil: bool = False

    @staticmethod
    def draw(draw, x: Wire, *, same: bool = False, pool: bool = False, padless: bool = False) -> Kernel:
        """same: the output has as many frames and pixels as the input (before a stride)."""
        space = Kernel._draw_space(draw, same, pool)
        if "T" not in x.layout[2:]:
            return space
        ceil = False
        k, d = draw(st.integers(1, 5)), draw(st.sampled_from([1, 1, 2]))
        s = 1 if same else draw(st.sampled_from([1, 1, 1, 2, 2, 3]))
        if padless:
            pl = pr = 0
        elif same:
            pl = draw(st.integers(0, min((k - 1) * d, k - 1 if pool else 99)))
            pr = (k - 1) * d - pl
            if pool and pr >= k:
                k, d, pl, pr = 3, 1, 1, 1
        else:
            most = k - 1 if pool else k + 1
            pl = draw(st.integers(0, most))
            pr = draw(st.sampled_from([pl, pl, 0, most]))
        if pool:
            ceil = not same and draw(st.booleans())
        return replace(space, k=k, s=s, d=d, pl=pl, pr=pr, ceil=ceil)

    @staticmethod
    def _draw_space(draw, same: bool, pool: bool) -> Kernel:
        if same:
            ks = draw(st.sampled_from([1, 1, 3]))
            return Kernel(ks=ks, ps=ks // 2, pe=ks // 2)
        ks, most = draw(st.sampled_from([1, 1, 2, 3])), 0
        most = ks - 1 if pool else ks
        ps = draw(st.integers(0, most))
        ss, ds = draw(st.sampled_from([1, 1, 1, 2])), draw(st.sampled_from([1, 1, 1, 2]))
        return Kernel(ks=ks, ss=ss, ps=ps, pe=draw(st.sampled_from([ps, ps, 0, most])), ds=ds)

    def apply(self, x: Wire, first: int = 0, last: int | None = None) -> dict[str, Any]:
        """The changes that the kernel makes to wire x; first, last: the taps that are left once dead ones are cut."""
        timed = "T" in x.layout[2:]
        k, s, d, left, right = (self.k, self.s, self.d, self.pl, self.pr) if timed else (1, 1, 1, 0, 0)
        last = k - 1 if last is None else last
        h, w = (
            frames_out(n, self.ks, self.ss, self.ds, self.ps, self.pe, self.ceil) if a in x.layout else n
            for a, n in (("H", x.h), ("W", x.w))
        )
        changes = {
            "t": frames_out(x.t, k, s, d, left, right, self.ceil), "T": frames_out(x.T, k, s, d, left, right, self.ceil),
            "h": h, "w": w, "spacing": x.spacing * s, "whole": max(0, (x.whole - 1 + left - last * d) // s + 1),
            "delay": max(0, x.delay + x.spacing * (last * d - left)), "clear": max(0, -(-(x.clear + left - first * d) // s)),
        }  # fmt: skip
        if min(changes["t"], changes["T"], h, w) < 1:
            raise DoesNotFit
        return changes

    def balanced(self) -> Kernel:
        """With as much padding as the kernel needs to keep the number of frames."""
        return replace(self, pr=(self.k - 1) * self.d - self.pl)

    def attrs(self, x: Wire, first: int = 0, last: int | None = None, pl: int | None = None, pr: int | None = None) -> dict:
        """ONNX attributes in the order of the wire's axes; the arguments: once dead taps are cut."""
        last, pl, pr = self.k - 1 if last is None else last, self.pl if pl is None else pl, self.pr if pr is None else pr
        time, space = (last - first + 1, self.s, self.d, pl, pr), (self.ks, self.ss, self.ds, self.ps, self.pe)
        rows = [time if a == "T" else space for a in x.layout[2:]]
        k, s, d, begin, end = (list(column) for column in zip(*rows, strict=True))
        return {"kernel_shape": k, "strides": s, "dilations": d, "pads": begin + end}
