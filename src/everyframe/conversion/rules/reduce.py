"""Means over axes. Over time, a mean is either the head (a window of frames) or a squeeze-and-excite gate.

A gate is a mean whose result meets frames again further down (x * gate(mean(x))); a head's result goes only to the classifier.
An average pool that happens to span the clip is neither where its result meets a wire that was strided just as much: it is
one branch of two, like the shortcut of 3D-ShuffleNet's last stage, and pools in the stream as it does in the clip.
"""

from __future__ import annotations

from math import prod

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.modelfile.graph import Graph, Node


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
        if graph.constant(name) is not None or prod(shape[2:]) == 1 or (name in facts.table and facts[name].pooled):
            continue
        # a wire that is computed further down has no fact yet: has it the frames that were averaged here?
        if name in facts.table or source.frames == 1 or (len(shape) == len(source.axes) and shape[time] == source.frames):
            return True
    return False


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
    if node.op == "ReduceMean":
        return time in _axes(node, facts)
    if node.op in ("GlobalAveragePool", "GlobalMaxPool"):
        return time >= 2
    shape = facts.graph.shapes[node.outputs[0]]  # AveragePool
    if time < 2 or shape[time] != 1:
        return False
    kernel = node.attr("kernel_shape")[time - 2]
    pads = node.attr("pads") or [0] * 2 * (len(shape) - 2)
    strides = node.attr("strides") or [1] * (len(shape) - 2)
    # a clip that has shrunk to one frame: a head only if space goes with it, otherwise an ordinary spatial pool
    whole = kernel == fact.frames and pads[time - 2] == 0 and (fact.frames > 1 or prod(shape[2:]) == 1)
    return whole and not _is_branch(node, facts, strides[time - 2])


def _axes(node: Node, facts: Facts) -> set[int]:
    rank = len(facts[node.inputs[0]].axes)
    given = facts.graph.constant(node.input(1)) if node.input(1) else node.attr("axes")
    return {int(a) % rank for a in (range(rank) if given is None else given)}


def fact(node: Node, facts: Facts, axes: ax.Axes) -> Fact:
    """The fact behind a mean over time: a gate keeps a value a frame, a head has one a step."""
    source = facts[node.inputs[0]]
    if is_gate(node, facts):
        untouched = ax.step_shape(axes) == ax.step_shape(source.axes) and prod(ax.step_shape(axes)[1:]) > 1
        if facts.options.se == "frame" and source.frames > 1 and untouched:
            raise unsupported(
                node,
                "A mean over time alone meets its frames again; of a single frame it would be the frame itself.",
                got=f"shape {source.clip_shape}",
                hint="--se window takes it over the last frames, as many as the clip has",
            )
        if facts.options.se == "frame":
            return source.plain(axes=axes, gate=True)
        return source.plain(axes=axes, gate=True, left=source.left + (source.frames - 1) * source.spacing)
    if node not in facts.heads:
        facts.heads.append(node)
    return facts.pool(node, axes=ax.with_frames(axes, 1))


def finish(node: Node, step: Builder, x: str) -> None:
    """Lowers the temporal part of a mean; wire x is already reduced in space."""
    facts: Facts = step.facts
    if not is_gate(node, facts):
        step.put(node.outputs[0], step.window_mean(node, x, facts.head(node)))
    elif facts.options.se == "window":
        step.put(node.outputs[0], step.window_means(node, x, facts[node.inputs[0]].frames))
    else:
        step.put(node.outputs[0], step.wire(x))


@register("ReduceMean", "GlobalAveragePool")
class Mean:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source = facts[node.inputs[0]]
        reduced = reduced_axes_of(node, facts)
        axes = _reduced_axes(source.axes, reduced, keep=_keeps(node))
        if ax.time_is_mixed(source.axes):
            raise unsupported(
                node,
                "Time is mixed with another axis here.",
                got=f"shape {source.clip_shape}",
                hint="reduce over time on an axis of its own",
            )
        if collapses_time(node, facts):
            return fact(node, facts, axes)
        return source.plain(axes=axes)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        source: Fact = step.facts[node.inputs[0]]
        reduced = reduced_axes_of(node, step.facts)
        space = [i for i in reduced if not ax.is_frame_axis(source.axes[i])]
        keep = _keeps(node)
        inside = [step.axis_of(node, source, i) for i in sorted(space)]

        def mean(x: str) -> str:
            if not inside:
                return x
            if keep and inside == [2, 3]:
                return step.emit("GlobalAveragePool", [x], node.label)
            return step.emit("ReduceMean", [x, step.ints(inside)], node.label, keepdims=int(keep))

        kept = _reduced_axes(source.axes, reduced, keep)
        x = step.derive(node.inputs[0], mean, node, axes=kept)
        if collapses_time(node, step.facts):
            finish(node, step, x)
        else:
            step.put(node.outputs[0], step.wire(x))


def _keeps(node: Node) -> bool:
    return node.op != "ReduceMean" or bool(node.attr("keepdims", 1))


def reduced_axes_of(node: Node, facts: Facts) -> set[int]:
    """Clip axes that a mean runs over."""
    return _axes(node, facts) if node.op == "ReduceMean" else set(range(2, len(facts[node.inputs[0]].axes)))


def _reduced_axes(axes: ax.Axes, reduced: set[int], keep: bool) -> ax.Axes:
    """Axes after the reduction. A kept time axis still says where time is, so that a gate meets its frames again."""
    made = []
    for i, axis in enumerate(axes):
        if i not in reduced:
            made.append(axis)
        elif keep:
            made.append(tuple(atom for atom in axis if atom.kind))
    return tuple(made)
