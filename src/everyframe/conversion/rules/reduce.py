"""Means, sums and extremes over axes. Over time, one is either the head (a window of frames) or a squeeze-and-excite gate.

A gate is a mean whose result meets frames again further down (x * gate(mean(x))); a head's result goes only to the classifier.
An average pool that happens to span the clip is neither where its result meets a wire that was strided just as much: it is
one branch of two, like the shortcut of 3D-ShuffleNet's last stage, and pools in the stream as it does in the clip.

A sum over the clip is its mean times the clip's number of frames, so that longer windows do not change its scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts, HeadWindow
from everyframe.conversion.memory import LARGEST, SMALLEST, Extreme
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.conversion.view import View
from everyframe.modelfile.graph import Graph, Node


@dataclass(frozen=True)
class Kind:
    """space: the operator inside a frame. time: what it is over frames, None if that cannot be streamed."""

    space: str
    time: Extreme | str | None = None

    def over_frames(self, frames: np.ndarray) -> np.ndarray:
        """One frame of several (n, ...), such that the clip's operator makes the same of a clip of that frame alone."""
        if isinstance(self.time, Extreme):
            return np.asarray(frames.max(axis=0) if self.time.op == "Max" else frames.min(axis=0))
        return np.asarray(frames.mean(axis=0, dtype=np.float64), np.float32)


KINDS = {
    "ReduceMean": Kind("ReduceMean", "mean"), "GlobalAveragePool": Kind("ReduceMean", "mean"),
    "AveragePool": Kind("ReduceMean", "mean"), "MaxPool": Kind("ReduceMax", LARGEST), "ReduceSum": Kind("ReduceSum", "sum"),
    "ReduceMax": Kind("ReduceMax", LARGEST), "GlobalMaxPool": Kind("ReduceMax", LARGEST),
    "ReduceMin": Kind("ReduceMin", SMALLEST),
    **{op: Kind(op) for op in ("ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")},
}  # fmt: skip
POOLS = ("AveragePool", "MaxPool")
REDUCTIONS = tuple(op for op in KINDS if op not in POOLS)
_GLOBAL = ("GlobalAveragePool", "GlobalMaxPool")


def is_gate(node: Node, facts: Facts) -> bool:
    """True if something computed from this mean is combined with a tensor that still has frames or positions."""
    if node.name not in facts.gates:
        facts.gates[node.name] = _meets_frames(node, facts)
    return facts.gates[node.name]


def _meets_frames(node: Node, facts: Facts) -> bool:
    graph: Graph = facts.graph
    source = facts[node.inputs[0]]
    time = ax.time_axis(source.axes) or 0
    for name in _met(node, graph):
        shape = graph.shapes[name]
        if graph.constant(name) is not None or (name in facts.table and (facts[name].pooled or facts[name].gate)):
            continue  # another gate meets the frames with this one
        if name in facts.table and facts[name].frames == 1 < source.frames and facts[name].early:
            continue  # a picked frame beside a mean
        if prod(shape[2:]) == 1:  # one position: a gate only if it goes back to where it came from
            if name in facts.table and (facts[name].frames, facts[name].spacing) == (source.frames, source.spacing):
                return len(shape) == len(source.axes)
            continue
        # a wire that is computed further down has no fact yet: has it the frames that were averaged here?
        if name in facts.table or source.frames == 1 or (len(shape) == len(source.axes) and shape[time] == source.frames):
            return True
    return False


def _joined_with_frames(node: Node, facts: Facts) -> Node | None:
    """The Concat along time behind a mean over time, if there is one."""
    means = {node.outputs[0]}
    for reader in facts.graph.downstream(node.outputs[0]):
        met = means.intersection(reader.inputs)
        if met and reader.op in _ARRANGE:
            means.update(reader.outputs)
        elif met and reader.op == "Concat":
            rank = len(facts.graph.shapes[reader.outputs[0]])
            others = [_known(name, facts) for name in reader.inputs if name not in means]
            if any(len(axes) == rank and ax.is_time_axis(axes[reader.attr("axis") % rank]) for axes in others):
                return reader
    return None


def _known(name: str, facts: Facts) -> ax.Axes:
    """The axes of a tensor, or of what it is a reduction of in place; none where neither has a fact yet."""
    made = facts.graph.made_by(name)
    if name not in facts.table and made is not None and made.op in REDUCTIONS and _keeps(made):
        name = made.inputs[0]
    return facts[name].axes if name in facts.table else ()


#: operators of which nothing is left where both sides are the same; and those that only arrange values
_COMPARE = ("Sub", "Div", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Max", "Min")
_ARRANGE = ("Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose", "Expand", "Tile", "Cast", "Gather", "Slice")


def _meets_itself(node: Node, graph: Graph) -> bool:
    """True if what is averaged is combined with its own mean, as in x - mean(x) or a standard deviation: in a frame, nothing."""
    origin, means = _origin(node.inputs[0], graph), {node.outputs[0]}
    for reader in graph.downstream(node.outputs[0]):
        met = means.intersection(reader.inputs)
        if not met:
            continue
        if reader.op in _ARRANGE:
            means.update(reader.outputs)
        elif reader.op in _COMPARE and any(n not in met and _origin(n, graph) == origin for n in reader.inputs):
            return True
    return False


def _origin(name: str, graph: Graph) -> str:
    """What a tensor is an arrangement of."""
    made = graph.made_by(name)
    return _origin(made.inputs[0], graph) if made is not None and made.op in _ARRANGE else name


def _met(node: Node, graph: Graph) -> dict[str, None]:
    """The tensors that something computed from this node is combined with, nearest first."""
    readers = list(graph.downstream(node.outputs[0]))
    below = {node.outputs[0], *(name for reader in readers for name in reader.outputs)}
    return dict.fromkeys(name for reader in readers for name in reader.inputs if name and name not in below)


def _is_branch(node: Node, facts: Facts, stride: int) -> bool:
    """True if the result of this pool meets a wire with the frame rate that the pool's stride makes; a gate's meets the pool's
    own input rate."""
    if node.name not in facts.branches:
        own = facts[node.inputs[0]].spacing
        met = (facts[name] for name in _met(node, facts.graph) if name in facts.table)
        spacings = [fact.spacing for fact in met if not fact.pooled and fact.spacing in (own, own * stride)]
        facts.branches[node.name] = stride > 1 and spacings[:1] == [own * stride]
    return facts.branches[node.name]


def collapses_time(node: Node, facts: Facts) -> bool:
    """True for an operator that leaves one value for all frames of the clip."""
    fact = facts[node.inputs[0]]
    if fact.pooled:
        return False
    time = ax.time_axis(fact.axes)
    if time is None:
        return False
    if node.op not in POOLS:
        return time in reduced_axes_of(node, facts)
    shape = facts.graph.shapes[node.outputs[0]]
    if time < 2 or shape[time] != 1:
        return False
    kernel = node.attr("kernel_shape")[time - 2]
    pads = node.attr("pads") or [0] * 2 * (len(shape) - 2)
    strides = node.attr("strides") or [1] * (len(shape) - 2)
    # a clip that has shrunk to one frame: a head only if space goes with it, otherwise an ordinary spatial pool
    whole = kernel == fact.frames and pads[time - 2] == 0 and (fact.frames > 1 or prod(shape[2:]) == 1)
    if node.op == "MaxPool":  # the last of several that halve, as in C3D, is one of those, however small the picture is
        others = [size for i, size in enumerate(node.attr("kernel_shape"), 2) if i != time]
        everything = list(node.attr("kernel_shape")) == list(facts.graph.shapes[node.inputs[0]][2:]) and not any(pads)
        whole = whole and (everything or kernel > max(others))
    if not whole or _is_branch(node, facts, strides[time - 2]):
        return False
    return is_gate(node, facts) or not _is_read_in_time(node, facts, time)


def is_collapsed(node: Node, facts: Facts) -> bool:
    """True for a gate of which the clip has one value for all frames: reduced over time once more it stays as it is."""
    fact = facts[node.inputs[0]]
    time = ax.time_axis(fact.axes)
    return fact.gate and (time is None or facts.graph.shapes[node.inputs[0]][time] == 1)


def _is_read_in_time(node: Node, facts: Facts, time: int) -> bool:
    """True if a kernel with several taps in time follows: then this is a pool like any other."""
    for reader in facts.graph.downstream(node.outputs[0]):
        kernel = reader.attr("kernel_shape") or facts.graph.shapes.get(reader.input(1), ())[2:]
        if reader.op in ("Conv", "MaxPool", "AveragePool") and len(kernel) > time - 2 and kernel[time - 2] > 1:
            return True
    return False


def _axes(node: Node, facts: Facts) -> set[int]:
    rank = len(facts[node.inputs[0]].axes)
    given = facts.graph.constant(node.input(1)) if node.input(1) else node.attr("axes")
    if node.input(1) and given is None:
        raise unsupported(node, "Which axes are reduced is computed at run time.", hint="export with static shapes")
    if given is None or len(given) == 0:
        return set() if node.attr("noop_with_empty_axes", 0) else set(range(rank))
    return {int(a) % rank for a in given}


def fact(node: Node, facts: Facts, axes: ax.Axes) -> Fact:
    """The fact behind a mean over time: a gate keeps a value a frame, a head has one a step."""
    source = facts[node.inputs[0]]
    if is_gate(node, facts):
        untouched = ax.step_shape(axes) == ax.step_shape(source.axes)
        alone = untouched and (prod(ax.step_shape(axes)[1:]) > 1 or _meets_itself(node, facts.graph))
        if (joined := _joined_with_frames(node, facts)) is not None:
            raise unsupported(
                joined, "A mean over time is joined with frames along their own axis.",
                got=f"the mean {node.name!r}, in {facts.graph.shapes[joined.outputs[0]]}",
                hint="let one layer attend to frames and another one to joints or positions, each with its own input",
            )  # fmt: skip
        if facts.options.se == "frame" and source.frames > 1 and alone:
            raise unsupported(
                node,
                "A mean over time alone meets its frames again; of a single frame it would be the frame itself.",
                got=f"shape {source.clip_shape}",
                hint="--se window takes it over the last frames, as many as the clip has",
            )
        if facts.options.se == "frame" or is_collapsed(node, facts):
            return source.plain(axes=axes, gate=True)
        return source.plain(axes=axes, gate=True, early=0, left=source.left + (source.frames - 1) * source.spacing)
    if node not in facts.heads:
        facts.heads.append(node)
    return facts.pool(node, axes=ax.with_frames(axes, 1))


def finish(node: Node, step: Builder, x: str) -> None:
    """Lowers the temporal part of a mean; wire x is already reduced in space."""
    facts: Facts = step.facts
    source, gate, kind = facts[node.inputs[0]], is_gate(node, facts), KINDS[node.op]
    window = HeadWindow(source.frames) if gate else facts.head(node)
    if is_collapsed(node, facts):
        step.put(node.outputs[0], step.wire(x))
        return
    if gate and facts.options.se == "frame":
        made = step.wire(x)
    elif isinstance(kind.time, Extreme):
        made = step.window_extremes(node, x, window, kind.time, newest_only=not gate)
    else:
        made = step.window_means(node, x, window, newest_only=not gate)
    if kind.time == "sum" and source.frames > 1:
        frames = step.const(np.float32(source.frames), f"{node.label}.share")
        made = step.emit("Mul", [made, frames], f"{node.label}::times")
    step.put(node.outputs[0], made)


@register(*REDUCTIONS)
class Reduce:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source, reduced = facts[node.inputs[0]], reduced_axes_of(node, facts)
        if ax.time_is_mixed(tuple(source.axes[i] for i in reduced)) and (KINDS[node.op].time is None or is_gate(node, facts)):
            raise unsupported(
                node,
                "Time is mixed with another axis here.",
                got=f"shape {source.clip_shape}",
                hint="reduce over time on an axis of its own",
            )
        axes = _reduced_axes(source.axes, reduced, keep=_keeps(node))
        if not collapses_time(node, facts):
            return source.plain(axes=axes, nonneg=source.nonneg and node.op != "ReduceLogSum")
        if KINDS[node.op].time is None:
            raise unsupported(
                node, f"{node.op} runs over all frames of the clip.", hint="use a mean over time, or a sum or maximum"
            )
        return fact(node, facts, axes)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        source, reduced = step.facts[node.inputs[0]], reduced_axes_of(node, step.facts)
        space = sorted(i for i in reduced if not ax.is_frame_axis(source.axes[i]))
        view = View(source.axes, apart=0 in space)
        inside, keep, op = [view.place(i) for i in space], _keeps(node), KINDS[node.op].space
        kept = _reduced_axes(source.axes, reduced, keep)

        def reduce(x: str) -> str:
            if not inside:
                return x
            x = step.enter(view, x, node.label)
            if keep and inside == [2, 3] and len(view.sizes) == 3 and op in _POOLS:
                x = step.emit(_POOLS[op], [x], node.label)
            else:
                x = step.emit(op, [x, step.ints(inside)], node.label, keepdims=int(keep))
            sizes = [1 if p in inside else n for p, n in enumerate(view.sizes, 1) if keep or p not in inside]
            shape = ax.step_shape(kept)
            plain = tuple(sizes) == shape and (view.apart or ax.rest(view.axes[0]) == 1)
            return x if plain else step.emit("Reshape", [x, step.ints([-1, *shape])], f"{node.label}::leave")

        x = step.derive(node.inputs[0], reduce, node, axes=kept)
        if collapses_time(node, step.facts):
            finish(node, step, x)
        else:
            step.put(node.outputs[0], step.wire(x))


_POOLS = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}


def _keeps(node: Node) -> bool:
    return node.op in _GLOBAL or bool(node.attr("keepdims", 1))


def reduced_axes_of(node: Node, facts: Facts) -> set[int]:
    """Clip axes that a reduction runs over."""
    if node.op in POOLS:
        shape = facts.graph.shapes[node.inputs[0]]
        return {i for i, size in enumerate(node.attr("kernel_shape"), 2) if size == shape[i]}
    return set(range(2, len(facts[node.inputs[0]].axes))) if node.op in _GLOBAL else _axes(node, facts)


def _reduced_axes(axes: ax.Axes, reduced: set[int], keep: bool) -> ax.Axes:
    """Axes after the reduction. A kept time axis still says where time is, so that a gate meets its frames again."""
    if not keep:
        return ax.without(axes, reduced)
    return tuple(tuple(atom for atom in axis if atom.kind) if i in reduced else axis for i, axis in enumerate(axes))
