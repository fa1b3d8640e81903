"""What a step network remembers: states (rings, slots, partial sums), masks and the step counter.

Rules say *what* they read (`taps`, `delayed`, `window_means`); how the past is kept is decided here, once for all of them:

    slots   one state a past frame, shifted by the host or by Identity: no frame is copied (hop 1, large frames)
    ring    one state of several frames, Concat before reading, Slice after (several frames a step, or tiny frames)
    sums    partial sums of a convolution's later outputs (`slots` on its output side), where that is smaller

All readers of one wire with one fill share one history. Frames before the beginning are replaced by `fill` with Where (a
product would keep NaN), under masks computed from the saturating counter `state.t`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, prod

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.emitter import Emitter
from everyframe.conversion.facts import Fact, Facts, Time, Window
from everyframe.conversion.inputs import step_inputs
from everyframe.modelfile.graph import Node
from everyframe.modelfile.schema import StateSpec

COUNTER = "state.t"
_SLOT_FLOATS = 512  # smaller frames are cheaper to copy than to bind one by one


@dataclass
class MemoryPlan:
    """What the layout passes decide: how many past frames each history holds, and which convolutions keep sums."""

    depths: dict[tuple[str, float | None], int]
    sums: dict[str, bool]


@dataclass(frozen=True)
class Extreme:
    """An operator over frames, and what may stand in place of frames that do not exist."""

    op: str
    fill: float


LOWEST = float(np.finfo(np.float32).min)  # not -inf, which quantizers and inf * 0 cannot bear
LARGEST, SMALLEST = Extreme("Max", LOWEST), Extreme("Min", -LOWEST)


class Slots:
    """States of one frame each; old(j) is slot j before the step, put/move say what it holds after it. Grows when read deeper."""

    def __init__(self, step: Memory, label: str, fact: Fact, shape: tuple[int, ...], fill: float, history: bool) -> None:
        self.step, self.label, self.fact, self.shape, self.fill, self.history = step, label, fact, shape, fill, history
        self.names: list[str] = []

    def old(self, j: int) -> str:
        while j >= len(self.names):
            new = len(self.names)
            self.names.append(self.step.state(f"{self.label}.slot{new}", self.fact, (1, *self.shape), 1, self.fill))
            if self.history and new:
                self.move(new, new - 1)
        return f"{self.names[j]}.in"

    def put(self, j: int, tensor: str) -> None:
        self.old(j)
        self.step.state_out[self.names[j]] = (tensor, None)

    def move(self, j: int, source: int) -> None:
        """Slot j takes what slot `source` held before the step."""
        self.old(j)
        self.step.state_out[self.names[j]] = (self.old(source), self.old(source))


class Memory(Emitter):
    """Wires of the clip network as tensors of the step network, with their past."""

    def __init__(self, facts: Facts, plan: MemoryPlan) -> None:
        #: input of the clip network -> input of the step network
        self.given = step_inputs(facts.graph.inputs)
        super().__init__(reserved=(*self.given.values(), "logits", f"{COUNTER}.in", f"{COUNTER}.out"))
        self.facts, self.plan, self.hop = facts, plan, facts.hop
        self.states: list[StateSpec] = []
        self.state_out: dict[str, tuple[str, str | None]] = {}  # state -> (tensor, input it merely copies)
        self.wanted: dict[tuple[str, float | None], int] = {}  # depths this pass asked for
        self.eligible: dict[str, tuple[str, int, int]] = {}  # conv -> (wire, past frames, floats of one partial sum)
        self.tensors: dict[str, str] = {}  # wire -> tensor of the step graph
        self.last_t = 0  # where the step counter may stay
        self._origin: dict[str, tuple[str, Callable[[str], str] | None]] = {}  # tensor -> (wire it is of, how it is cut from it)
        self._derived: dict[str, Fact] = {}
        self._counts: dict[tuple[Time, int, int, int], list[str]] = {}
        self._past_of: dict[tuple[str, float | None], Slots | tuple[str, int]] = {}

    # -- wires ---------------------------------------------------------------------------------------------------------

    def fact(self, wire: str) -> Fact:
        return self._derived.get(wire) or self.facts[wire]

    def m(self, fact: Fact) -> int:
        return int(self.hop // fact.every)

    def frame_shape(self, wire: str) -> tuple[int, ...]:
        return ax.step_shape(self.fact(wire).axes)

    def put(self, wire: str, tensor: str) -> None:
        """Says which tensor holds the frames of a wire; two wires may share one under different frame numbers."""
        self.tensors[wire] = tensor
        self._origin.setdefault(tensor, (wire, None))

    def put_part(self, wire: str, source: str, cut: Callable[[str], str]) -> None:
        """A wire that is a part of another's frames (some channels, say): its past is a part of the other's past."""
        self.put(wire, cut(self.wire(source)))
        if self.fact(source).lag >= 0:
            whole, inner = self._origin[self.raw(source)]
            self._origin[self.raw(wire)] = (whole, (lambda x: cut(inner(x))) if inner else cut)

    def raw(self, wire: str) -> str:
        """The tensor of a wire, frames numbered as its fact says (perhaps negative lag behind a Pad)."""
        return self.tensors[wire]

    def wire(self, wire: str) -> str:
        """The tensor of a wire for an operator that works frame by frame."""
        return self.delayed(None, wire, max(0, -self.fact(wire).lag))

    def derive(self, wire: str, make: Callable[[str], str], node: Node, axes: ax.Axes) -> str:
        """A wire with the same frames as `wire`, each changed by `make` (a spatial pool, say)."""
        source = self.raw(wire)
        made = make(source)
        if made == source and ax.step_shape(axes) == self.frame_shape(wire):
            return wire
        name = f"{node.name}::space"
        self._derived[name] = replace(self.fact(wire), axes=axes)
        self.tensors[name] = made
        return name

    def settled(self, node: Node | None, wire: str) -> str:
        """The wire, late enough that frames which a Pad put in front have come like all others."""
        fact = self.fact(wire)
        if fact.lag >= 0:
            return wire
        name = f"{wire}::settled"
        if name not in self._derived:
            self._derived[name] = fact.plain()
            self.tensors[name] = self.delayed(node, wire, -fact.lag)
        return name

    def bearing(self, node: Node, wire: str, fill: float) -> str:
        """The wire, settled where the frames in front of it cannot be `fill`."""
        return wire if self.fact(wire).bears(fill) else self.settled(node, wire)

    # -- states --------------------------------------------------------------------------------------------------------

    def state(self, label: str, fact: Fact, shape: tuple[int, ...], frames: int, fill: float | None) -> str:
        """Declares a float state; returns its name, to which '.in' and '.out' belong."""
        name = self._unique(f"state.{label}", ".in", ".out")
        self.states.append(
            StateSpec(
                input=f"{name}.in",
                output=f"{name}.out",
                shape=shape,
                every=ceil(fact.every),
                delay=ceil(fact.delay),
                lag=fact.lag,
                frames=frames,
                fill=fill or 0.0,
            )
        )
        return name

    def sums(self, node: Node, wire: str, shape: tuple[int, ...]) -> Slots:
        """Partial sums of an output wire; shape: that of one sum, as the convolution makes it."""
        return Slots(self, node.label, self.fact(wire), shape, 0.0, history=False)

    def t(self, last: int) -> str:
        """The step counter (1,), which counts at least up to `last` before it stays."""
        self.last_t = max(self.last_t, last)
        return f"{COUNTER}.in"

    def _row(self, last: int) -> str:
        """min(t, last), the row of a table that ends with the steady state."""
        counter = self.t(last)
        return self._once(("row", last), lambda: self.emit("Min", [counter, self.ints([last])], f"t.up_to_{last}"))

    def mask(self, fact: Fact, rank: int, index: int = 0) -> str:
        """Which of the m frames of a wire have at least this index in the clip: bool (m, 1, ...)."""
        m, lag = self.m(fact), fact.lag + index * fact.unit
        first = [max(0, -(-(lag - q) // m)) for q in range(m)]  # frame q exists from step ceil((lag - q) / m)
        shape = (m,) + (1,) * (rank - 1) if m > 1 else (1,)

        def make() -> str:
            counter = self.t(max(first))
            return self.emit(
                "GreaterOrEqual", [counter, self.const(np.array(first, np.int64).reshape(shape), "mask.from")], "mask"
            )

        return self._once(("mask", shape, tuple(first)), make)

    def by_index(self, node: Node, fact: Fact, values: list[float], rank: int) -> str:
        """A factor (m, 1, ...) for the frames of a step, by their index in the clip; the last value goes on for ever."""
        m, lag, unit = self.m(fact), fact.lag, fact.unit
        last = max(0, -(-((len(values) - 1) * unit + lag) // m))
        rows = [[values[min(max(0, t * m - lag + q) // unit, len(values) - 1)] for q in range(m)] for t in range(last + 1)]
        table = self.const(np.array(rows, np.float32), f"{node.label}.share")  # (t, m)
        share = self.emit("Gather", [table, self._row(last)], f"{node.label}::share", axis=0)  # (1, m)
        return self.emit("Reshape", [share, self.ints([m] + [1] * (rank - 1))], f"{node.label}::shares")

    def begun(self, fact: Fact, rank: int) -> str:
        """Which of the m frames of a wire have one before them."""
        return self.mask(replace(fact, delay=(fact.lag + 1) * fact.every), rank)

    def masked(self, wire: str, fill: float) -> str:
        """The wire's tensor with `fill` in place of frames before the beginning."""
        fact, tensor = self.fact(wire), self.raw(wire)
        if fact.lag <= 0:
            return tensor
        mask = self.mask(fact, len(self.frame_shape(wire)) + 1)
        return self._once(
            ("where", tensor, fact.lag, fill), lambda: self.emit("Where", [mask, tensor, self.scalar(fill)], "started")
        )

    def _history(self, node: Node | None, wire: str, fill: float | None, depth: int) -> tuple[float | None, int]:
        """Books `depth` past frames of a wire; returns (fill, depth) of the history that serves it."""
        if self.fact(wire).lag < 0:  # a Pad's frames that never arrive: the state holds them from the start
            fill = self.fact(wire).fill
        key = (wire, fill)
        self.wanted[key] = max(self.wanted.get(key, 0), depth)
        if fill is None:  # any history of the wire will do: nobody reads its frames before the beginning
            fill = next((f for (w, f), d in self.plan.depths.items() if w == wire and f is not None), None)
        return fill, max(depth, self.plan.depths.get((wire, fill), 0))

    def _past(self, node: Node | None, wire: str, fill: float | None, depth: int) -> Slots | tuple[str, int]:
        """The history of a wire: slots, or (a buffer of past and new frames, how many are past)."""
        fill, depth = self._history(node, wire, fill, depth)
        fact, shape = self.fact(wire), self.frame_shape(wire)
        label = node.label if node else wire
        key = (wire, fill)
        if key not in self._past_of:
            new = self.masked(wire, fill) if fill is not None else self.raw(wire)
            if self.m(fact) == 1 and prod(shape) >= _SLOT_FLOATS:
                self._past_of[key] = Slots(self, label, fact, shape, fill or 0.0, history=True)
                self._past_of[key].put(0, new)  # type: ignore[union-attr]
            else:
                state = self.state(label, fact, (depth, *shape), depth, fill)
                buffer = self.emit("Concat", [f"{state}.in", new], f"{label}::past", axis=0)
                tail = self._frames(buffer, self.m(fact), depth, 1, depth + self.m(fact), f"{label}::keep")
                self.state_out[state] = (tail, None)
                self._past_of[key] = (buffer, depth)
        return self._past_of[key]

    def _frames(self, tensor: str, start: int, count: int, stride: int, of: int, name: str) -> str:
        """Frames start, start + stride, ... of axis 0."""
        if (start, count, stride) == (0, of, 1):
            return tensor
        end = start + (count - 1) * stride + 1
        return self._once(
            ("frames", tensor, start, count, stride),
            lambda: self.emit("Slice", [tensor, self.ints([start]), self.ints([end]), self.ints([0]), self.ints([stride])], name),
        )

    def frame(self, tensor: str, q: int, of: int) -> str:
        """Frame q of the step, which has `of` frames of this tensor."""
        return self._frames(tensor, q, 1, 1, of, f"{tensor}::frame{q}")

    # -- reading across time -------------------------------------------------------------------------------------------

    def taps(self, node: Node, wire: str, window: Window, fill: float) -> list[str]:
        """One tensor a tap of the window, each holding the frames that the outputs of this step read there."""
        if window.pad > 0:
            wire = self.bearing(node, wire, fill)
        fact = self.fact(wire)
        out = fact.through(window, self.facts.dense, fill)
        stride = 1 if self.facts.dense else window.stride
        unit, m, m_out = fact.unit, self.m(fact), self.m(out)
        # how many frames before the first new one tap i starts (negative: after it)
        back = [out.lag * stride - fact.lag + (window.pad - i * window.dilation) * unit for i in range(window.taps)]
        needs_fill = window.pad > 0  # otherwise no valid output reads a frame before the beginning
        deepest = max(0, *back)
        if m == 1 and deepest == 0:
            return [self.masked(wire, fill) if needs_fill else self.raw(wire)] * window.taps
        if deepest == 0:
            tensor = self.masked(wire, fill) if needs_fill else self.raw(wire)
            return [self._frames(tensor, -b, m_out, stride, m, f"{node.label}::frames{i}") for i, b in enumerate(back)]
        past = self._past(node, wire, fill if needs_fill else None, deepest)
        if isinstance(past, Slots):
            now = self.masked(wire, fill) if needs_fill else self.raw(wire)
            return [past.old(b - 1) if b > 0 else now for b in back]
        buffer, depth = past
        return [self._frames(buffer, depth - b, m_out, stride, depth + m, f"{node.label}::frames{i}") for i, b in enumerate(back)]

    def _planned(self, wire: str) -> int:
        return max((depth for (w, _), depth in self.plan.depths.items() if w == wire), default=0)

    def delayed(self, node: Node | None, wire: str, frames: int) -> str:
        """The wire as it was `frames` of its own frames ago."""
        if frames <= 0 or self.fact(wire).static:
            return self.raw(wire)
        if (kind := self.facts.graph.types.get(wire)) is not None:  # states are floats
            past = self.delayed(node, self._as_float(wire), frames)
            return self._once(("as", past, kind), lambda: self.emit("Cast", [past], f"{wire}::again", to=kind))
        whole, cut = self._origin.get(self.raw(wire), (wire, None))
        if whole != wire and min(self.fact(wire).lag, self.fact(whole).lag) >= 0:
            if cut is None:  # the same tensor under another name
                return self.delayed(node, whole, frames)
            if self._planned(whole) >= frames:  # kept anyway: cutting a part again is cheaper than keeping it too
                past_of_whole = self.delayed(node, whole, frames)
                return self._once(("part", self.raw(wire), past_of_whole), lambda: cut(past_of_whole))
        kept = self._past(node, wire, None, frames)
        if isinstance(kept, Slots):
            return kept.old(frames - 1)
        buffer, depth = kept
        m = self.m(self.fact(wire))
        return self._frames(buffer, depth - frames, m, 1, depth + m, f"{wire}::delayed{frames}")

    def _as_float(self, wire: str) -> str:
        name = f"{wire}::float"
        if name not in self._derived:
            self._derived[name] = self.fact(wire)
            self.tensors[name] = self.emit("Cast", [self.raw(wire)], name, to=1)
        return name

    def renumbered(self, node: Node, wire: str, fact: Fact, out: Fact) -> str:
        """Frames of a wire in other numbers, as late as an output that is made of them."""
        name = self._unique(f"{node.name}::renumbered")
        self._derived[name], self.tensors[name] = fact, self.raw(wire)
        return self.delayed(node, name, out.lag - fact.lag)

    def partial_sums(self, node: Node, wire: str, window: Window) -> bool:
        """True if this convolution keeps partial sums: possible at one frame a step, chosen by the plan where smaller."""
        fact = self.fact(wire)
        stride = 1 if self.facts.dense else window.stride
        if self.m(fact) != 1 or stride != 1 or fact.unit != 1 or window.reach < 0 or fact.lag < 0 or window.pad < 0:
            return False
        self.eligible[node.name] = (wire, (window.taps - 1) * window.dilation, prod(self.frame_shape(node.outputs[0])))
        return self.plan.sums.get(node.name, True)
