"""Facts on wires: when each frame of each tensor can be computed.

All temporal arithmetic of the project is in this file; rules/<op>.py only say which window an operator reads.

    u        frames of a wire between two clip neighbors: 1 at the native rate; at rate "dense" the product of the strides so
             far (strides become dilations, and every wire has a frame per stream frame)
    window   output frame j reads input frames j*stride - pad + i*dilation, i = 0 .. taps-1

Frame j of a wire can be computed once stream frame j*every + delay has arrived. A step brings hop = lcm(every) stream frames;
step t then holds m = hop/every frames of a wire: t*m - lag ... t*m - lag + m-1, with lag = floor(delay/every).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from typing import Any

from everyframe.conversion import axes as ax
from everyframe.conversion.refusals import where
from everyframe.errors import ModelError
from everyframe.modelfile.graph import Graph, Node

Time = int | Fraction  #: in stream frames; a fraction only where a network makes more frames than come in


def whole(value: Time) -> Time:
    """An int wherever it is one."""
    return value.numerator if value.denominator == 1 else value


def common(values: Iterable[Time]) -> int:
    """The least whole number of stream frames that all of them divide."""
    return lcm(*(value.numerator for value in values))


@dataclass(frozen=True)
class Window:
    """What a temporal operator reads, in frames of its input at the clip's own rate."""

    taps: int = 1
    dilation: int = 1
    stride: int = 1
    pad: int = 0  # on the left; the right edge does not exist in a stream

    @property
    def reach(self) -> int:
        """Frames after frame j*stride that output frame j needs (negative: it needs none of them)."""
        return (self.taps - 1) * self.dilation - self.pad

    @property
    def trivial(self) -> bool:
        return self == Window()


@dataclass(frozen=True)
class Fact:
    """The temporal fact of one tensor.

    every, delay: see above; every is below 1 where more frames go out than come in, delay is negative only directly after a
    time Pad, whose frames are known early.
    spacing: stream frames between clip neighbors. left, right: frame j depends on stream frames
    j*spacing - left .. j*spacing + right (right is not clamped at 0). frames: its length in the clip.
    fill: the value of the frames in front of it, set by a time Pad. nonneg: known to hold no negative values.
    gate: made of a mean over time that meets its frames again; in the clip it is one value for all frames.
    home: the axis that time had before a mean or squeeze took it away.
    pooled: the temporal window was taken; there is one value a step (every = hop). feature_delay: delay before it was.
    early: stream frames in front of frame 0 of which the wire has true values too: a Slice numbered them away.
    unbounded: depends on everything since the reset, whatever left and right say of the clip: a state is carried for ever.
    static: made of inputs without frames alone: one value a step, which meets the frames of any wire as a gate does.
    """

    axes: ax.Axes
    frames: int
    every: Time = 1
    delay: Time = 0
    spacing: Time = 1
    left: Time = 0
    right: Time = 0
    fill: float | None = None
    nonneg: bool = False
    gate: bool = False
    home: int | None = None
    pooled: bool = False
    feature_delay: Time = 0
    early: Time = 0
    static: bool = False
    unbounded: bool = False

    @property
    def lag(self) -> int:
        return self.delay // self.every

    @property
    def since(self) -> Time:
        """The stream frame with which its first true value comes: a network that picks the clip's last frame has an answer
        from the first frame on."""
        return max(0, self.delay - self.early)

    @property
    def unit(self) -> int:
        return self.spacing // self.every

    @property
    def clip_shape(self) -> tuple[int, ...]:
        return ax.shape_of(self.axes)

    def plain(self, **changes: object) -> Fact:
        """This fact for the output of an operator that does not look across time: a Pad's early frames end here."""
        return replace(self, delay=max(0, self.delay), fill=None, **changes)  # type: ignore[arg-type]

    def bears(self, fill: float) -> bool:
        """True if frames in front of this wire can be `fill`: only a Pad's frames that never arrive are bound to its value."""
        return self.lag >= 0 or self.fill in (None, fill)

    def relabeled(self, window: Window, dense: bool, **changes: object) -> Fact:
        """The fact behind a time Pad or Slice (one tap): not clamped, because nothing was computed yet."""
        step = self.spacing
        return replace(
            self,
            every=self.every if dense else whole(self.every * window.stride),
            spacing=whole(step * window.stride),
            delay=whole(self.delay + step * window.reach),
            left=whole(self.left + step * window.pad),
            right=whole(self.right + step * window.reach),
            early=self.early if window.trivial else 0,
            **changes,  # type: ignore[arg-type]
        )

    def through(self, window: Window, dense: bool, fill: float = 0.0, **changes: object) -> Fact:
        """The fact behind an operator that computes with this window and pads with `fill`."""
        source = self if window.pad <= 0 or self.bears(fill) else self.plain()
        return source.relabeled(window, dense, **changes).plain()


@dataclass(frozen=True)
class Options:
    """How to stream. se: how squeeze-and-excite sees time. window: frames averaged by the head (None: the clip's own). tail: what
    becomes of layers that look at all frames of the clip, "window": see `windows`.

    layout: axes of the clip network's inputs, as `inputs` reads them (None: NCTHW). frames, size: T and (H, W) of an input that
    leaves them open.
    """

    rate: str = "native"
    window: int | None = None
    se: str = "frame"
    taps: str = "trained"
    layout: str | None = None
    frames: int | None = None
    size: tuple[int, int] | None = None
    tail: str = "refuse"


@dataclass
class Place:
    """Where the work stands: what is known so far, and the node that is looked at."""

    facts: Facts | None = None
    node: Node | None = None


class MeetsPicks(ModelError):
    """An average over time meets single frames that were picked. wires: those; as heads of one frame they can be joined."""

    def __init__(self, facts: Facts, wires: list[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.facts, self.wires = facts, wires


@dataclass(frozen=True)
class HeadWindow:
    """What a head averages: the newest `frames` of its wire, after holding them back for `wait` of its own frames."""

    frames: int
    wait: int = 0


@dataclass(frozen=True)
class Heads:
    """The windows of all heads, by node name. delay: stream frames until each of them has a frame to average."""

    windows: dict[str, HeadWindow]
    delay: Time = 0


class Facts:
    """Facts of all timed tensors of a graph; a tensor without one does not depend on the clip."""

    def __init__(self, graph: Graph, options: Options, hop: int, aligned: Heads) -> None:
        self.graph, self.options, self.hop, self.aligned = graph, options, hop, aligned
        self.table: dict[str, Fact] = {}
        self.notes: list[str] = []  # what a stream does otherwise than the clip, for the user to know
        self.heads: list[Node] = []  # nodes that take the temporal window
        self.gates: dict[str, bool] = {}  # node that averages over time -> is it a squeeze-and-excite gate?
        self.verbatim: set[str] = set()  # nodes behind the heads that are copied as they stand, and windows (`windows`)
        self.branches: dict[str, bool] = {}  # average pool over the whole clip -> is it one of two strided branches?

    @property
    def clock(self) -> str:
        """The input whose frames the stream counts: the first of those that have most of them."""
        return next(name for name in self.graph.inputs if not self.table[name].static and self.table[name].spacing == 1)

    @property
    def length(self) -> int:
        """Frames of the clip."""
        return self.table[self.clock].frames

    @property
    def dense(self) -> bool:
        return self.options.rate == "dense"

    def __getitem__(self, name: str) -> Fact:
        return self.table[name]

    def get(self, name: str) -> Fact | None:
        return self.table.get(name)

    def is_whole(self, name: str) -> bool:
        """Is this tensor made of what a window has gathered?"""
        made = self.graph.made_by(name)
        return made is not None and made.name in self.verbatim

    def timed(self, node: Node) -> list[str]:
        """The node's inputs that depend on the clip, in order."""
        return [name for name in node.inputs if name in self.table]

    def m(self, fact: Fact) -> int:
        """Frames of a wire a step."""
        return int(self.hop // fact.every)

    def join(self, node: Node, names: list[str]) -> Fact:
        """The common fact of wires that meet in one operator: equal rates, and the latest delay. Axes are the first's."""
        facts = [self.table[name] for name in names]
        facts = [fact for fact in facts if not fact.static] or facts  # what has no frames meets those of any wire
        if len({f.pooled for f in facts}) == 1 and len({(f.every, f.spacing) for f in facts}) > 1:
            raise ModelError(
                f"Wires of different frame rates meet in {node.op}.",
                where=where(node),
                expected="equal temporal strides on all inputs",
                got=", ".join(f"{n!r}: a frame every {f.spacing} stream frames" for n, f in zip(names, facts, strict=True)),
                hint="pool the faster one over time, or give both branches the same temporal stride",
            )
        if len({f.pooled for f in facts}) > 1:
            framed = [name for name in names if not self.table[name].pooled and not self.table[name].static]
            picked = all(self.table[name].frames == 1 for name in framed)
            raise MeetsPicks(
                self,
                framed if picked else [],
                f"A value averaged over time meets frames again in {node.op}, but not as a gate.",
                where=where(node),
                hint="use the average only for the classifier, or as a squeeze-and-excite gate (--se frame|window)",
            )
        if len({f.frames for f in facts if not f.gate}) > 1:
            raise ModelError(
                f"Wires of different length meet in {node.op}, and one is repeated for all frames of the other.",
                where=where(node),
                expected="as many frames on all inputs",
                got=", ".join(f"{n!r}: {f.frames}" for n, f in zip(names, facts, strict=True)),
                hint="a stream has no whole clip to look at: compare neighbors (x[:, :, 1:] with x[:, :, :-1]), "
                "or use an average over time (--se frame|window)",
            )
        return replace(
            facts[0],
            delay=max(0, *(f.delay for f in facts)),
            left=max(f.left for f in facts),
            right=max(f.right for f in facts),
            frames=max(f.frames for f in facts),
            early=min(f.early for f in facts),
            fill=None,
            nonneg=False,
            gate=all(f.gate for f in facts),
            feature_delay=max(f.feature_delay for f in facts),
            unbounded=any(f.unbounded for f in facts),
        )

    def head(self, node: Node) -> HeadWindow:
        """The window of one of the heads; the clip's own until all heads are known."""
        return self.aligned.windows.get(node.name) or HeadWindow(self.options.window or self[node.inputs[0]].frames)

    def pool(self, node: Node, **changes: object) -> Fact:
        """The fact behind the head's window mean: one value a step. left and right are those of the window's first frame."""
        window = self.head(node)
        fact = _ending(self[node.inputs[0]], window.frames)
        delay = max(fact.since, self.aligned.delay)
        return replace(
            fact,
            every=self.hop,
            spacing=self.hop,
            delay=delay // self.hop * self.hop,
            feature_delay=delay,
            left=fact.left + fact.early,
            right=fact.right - fact.early + (window.frames - 1) * fact.spacing,
            frames=1,
            pooled=True,
            early=0,
            fill=None,
            **changes,  # type: ignore[arg-type]
        )

    def align(self) -> Heads:
        """Windows that begin at the same stream frame in all heads, as they do in the clip.

        Networks with several frame rates have several heads. Each averages its own number of frames, and has its own delay;
        those that are early wait. A window given by the user counts frames of the slowest head.
        """
        if not self.heads:
            return Heads({})
        wires = {node.name: self[node.inputs[0]].plain() for node in self.heads}
        picked = {n for n, f in wires.items() if f.early and f.frames == 1}
        fewest = min((f.frames for n, f in wires.items() if n not in picked), default=1)
        grown = (self.options.window or fewest) - fewest  # a picked frame stays one, at the end of the windows of the others
        frames = {n: 1 if n in picked else max(1, (fewest + grown) * f.frames // fewest) for n, f in wires.items()}
        more = {n: grown * f.spacing if n in picked else 0 for n, f in wires.items()}
        # stream frames from the beginning of a head's window to the end of the step
        reach = {n: f.every * (f.lag + 1 + (frames[n] - 1) * f.unit) + more[n] for n, f in wires.items()}
        grid = common(fact.every for fact in wires.values())
        longest = -(-max(reach.values()) // grid) * grid
        windows = {n: HeadWindow(frames[n], (longest - reach[n]) // wires[n].every) for n in wires}
        begin = (_ending(wires[n], w.frames).since + wires[n].every * w.wait for n, w in windows.items())
        return Heads(windows, max(begin))


def _ending(fact: Fact, frames: int) -> Fact:
    """A head's wire: a mean counts its frames from frame 0 on, a single frame is just the newest."""
    return fact if frames == 1 else replace(fact, early=0)
