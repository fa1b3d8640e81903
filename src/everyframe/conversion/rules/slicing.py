"""Slice, Split, Gather: over channels or space per frame; over time a renumbering (temporal shift) or a stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts, Window, whole
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.conversion.view import View
from everyframe.modelfile.graph import Node

_BEFORE = -(2**31)  # where a slice that runs backwards to the first value ends


def _time_part(node: Node, facts: Facts, source: Fact, start: int, step: int, axis: int, count: int) -> Fact:
    axes = (*source.axes[:axis], *ax.with_frames((source.axes[axis],), count), *source.axes[axis + 1 :])
    if step > 1 and not facts.dense:  # as _lower_time does it
        return source.through(Window(stride=step, pad=-start), facts.dense, axes=axes, frames=count)
    early = whole(source.early + start * source.spacing)  # frames in front of those that are taken are there all the same
    return replace(source.relabeled(Window(stride=step, pad=-start), facts.dense, axes=axes, frames=count), early=early)


def _lower_time(node: Node, step: Builder, output: str, wire: str, start: int, stride: int) -> None:
    if stride == 1 or step.facts.dense:
        step.put(output, step.raw(wire))
    else:
        step.put(output, step.taps(node, wire, Window(stride=stride, pad=-start), fill=0.0)[0])


def _space_part(node: Node, source: Fact, axis: int, size: int) -> ax.Axes:
    if ax.time_is_mixed((source.axes[axis],)) or (ax.is_frame_axis(source.axes[axis]) and size > 1):
        raise unsupported(
            node,
            "Only a part of an axis that holds time and something else is taken.",
            got=f"axis {axis} of {source.clip_shape}",
            hint="slice time on its own axis",
        )
    return (*source.axes[:axis], ax.changed(source.axes[axis], size), *source.axes[axis + 1 :])


def _moves(source: Fact, axis: int) -> bool:
    return ax.is_time_axis(source.axes[axis])


@register("Slice")
class Slice:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        fact = source = facts[node.inputs[0]]
        for axis, start, _, step in ranges(node, facts, fact):
            size = facts.graph.shapes[node.outputs[0]][axis]
            if _moves(fact, axis) and step < 0:
                raise unsupported(node, "A slice runs backwards.", got=f"step {step}", hint="a stream cannot be reversed")
            if _moves(fact, axis):
                fact = _time_part(node, facts, fact, start, step, axis, size)
            elif size != fact.clip_shape[axis] or step < 0:
                fact = replace(fact, axes=_space_part(node, fact, axis, size))
        in_time = any(_moves(source, axis) for axis, *_ in ranges(node, facts, source))
        return fact if in_time or fact.axes == source.axes else fact.plain()

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        source: Fact = step.facts[node.inputs[0]]
        parts = ranges(node, step.facts, source)
        inside = [
            (a, b, e, s)
            for a, b, e, s in parts
            if not _moves(source, a) and (s < 0 or step.facts.graph.shapes[node.outputs[0]][a] != source.clip_shape[a])
        ]
        time = [(start, stride) for axis, start, _, stride in parts if _moves(source, axis)]

        out = step.facts[node.outputs[0]]
        apart = any(axis == 0 for axis, *_ in inside)
        before, after = View(source.axes, apart), View(out.axes, apart)

        def cut(x: str) -> str:
            if not inside:
                return x
            axes, starts, ends, steps = (list(column) for column in zip(*inside, strict=True))
            given = [starts, ends, [before.place(axis) for axis in axes], steps]
            x = step.emit("Slice", [step.enter(before, x, node.label), *map(step.ints, given)], node.label)
            return step.leave(after, x, node.label)

        if time:
            wire = step.derive(node.inputs[0], cut, node, axes=ax.with_frames(out.axes, source.frames))
            _lower_time(node, step, node.outputs[0], wire, *time[0])
        elif inside:
            step.put_part(node.outputs[0], node.inputs[0], cut)
        else:
            step.put(node.outputs[0], step.raw(node.inputs[0]))


def ranges(node: Node, facts: Facts, source: Fact) -> list[tuple[int, int, int, int]]:
    """(axis, start, end, step) of each sliced axis, in non-negative numbers."""
    if node.input(1):
        given: list[Any] = [facts.graph.constant(node.input(i)) if node.input(i) else None for i in range(1, 5)]
    else:
        given = [node.attr(key) for key in ("starts", "ends", "axes", "steps")]
    if given[0] is None or given[1] is None:
        raise unsupported(node, "Where a slice starts is computed at run time.", hint="export with static shapes")
    starts, ends, axes, steps = given
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    made = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = int(axis) % len(source.axes)
        start, end, _ = slice(int(start), int(end), int(step)).indices(source.clip_shape[axis])
        end = _BEFORE if end < 0 else end
        made.append((axis, int(start), int(end), int(step)))
    return made


@register("Split")
class Split:
    @staticmethod
    def fact(node: Node, facts: Facts) -> tuple[Fact, ...]:
        source, (axis, sizes) = facts[node.inputs[0]], split(node, facts)
        if _moves(source, axis):
            starts = np.cumsum([0, *sizes[:-1]])
            return tuple(_time_part(node, facts, source, int(b), 1, axis, n) for b, n in zip(starts, sizes, strict=True))
        return tuple(source.plain(axes=_space_part(node, source, axis, size)) for size in sizes)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        source, (axis, sizes) = step.facts[node.inputs[0]], split(node, step.facts)
        if _moves(source, axis):
            for output in node.outputs:
                step.put(output, step.raw(node.inputs[0]))
            return
        view = View(source.axes, apart=axis == 0)
        parts = step.emit(
            "Split",
            [step.enter(view, step.wire(node.inputs[0]), node.label), step.ints(sizes)],
            node.label,
            outputs=len(sizes),
            axis=view.place(axis),
        )
        for output, part in zip(node.outputs, [parts] if isinstance(parts, str) else parts, strict=True):
            step.put(output, step.leave(View(step.facts[output].axes, view.apart), part, node.label))


def split(node: Node, facts: Facts) -> tuple[int, list[int]]:
    axis = node.attr("axis", 0) % len(facts[node.inputs[0]].axes)
    return axis, [facts.graph.shapes[name][axis] for name in node.outputs]


@register("Gather")
class Gather:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source = facts[node.inputs[0]]
        axis, picked = indices(node, facts, source)
        scalar = picked.ndim == 0
        if _moves(source, axis):
            if scalar and source.frames > 1:
                raise unsupported(
                    node,
                    "One frame of the clip is picked.",
                    got=f"index {int(picked)} of {source.frames} frames",
                    hint="average over time instead; a stream has no last frame",
                )
            start, step = progression(node, picked.reshape(-1))
            fact = _time_part(node, facts, source, start, step, axis, picked.size)
        else:
            fact = source.plain(axes=_space_part(node, source, axis, picked.size))
        if not scalar:
            return fact
        axes = ax.without(fact.axes, {axis})
        return fact.plain(axes=axes)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        source: Fact = step.facts[node.inputs[0]]
        axis, picked = indices(node, step.facts, source)
        if _moves(source, axis):
            if picked.ndim == 0:
                step.put(node.outputs[0], step.wire(node.inputs[0]))
            else:
                start, stride = progression(node, picked)
                _lower_time(node, step, node.outputs[0], node.inputs[0], start, stride)
            return
        view = View(source.axes, apart=axis == 0)
        index = step.const(picked.astype(np.int64).reshape(-1), f"{node.label}.indices")
        x = step.enter(view, step.wire(node.inputs[0]), node.label)
        made = step.emit("Gather", [x, index], node.label, axis=view.place(axis))
        after = (*source.axes[:axis], ax.changed(source.axes[axis], picked.size), *source.axes[axis + 1 :])
        out = step.facts[node.outputs[0]].axes
        if ax.step_shape(after) != ax.step_shape(out):
            step.put(node.outputs[0], step.emit("Reshape", [made, step.ints([-1, *ax.step_shape(out)])], f"{node.label}::picked"))
        else:
            step.put(node.outputs[0], step.leave(View(after, view.apart), made, node.label))


def indices(node: Node, facts: Facts, source: Fact) -> tuple[int, np.ndarray]:
    axis = node.attr("axis", 0) % len(source.axes)
    given = facts.graph.constant(node.input(1))
    if given is None or facts.get(node.input(0)) is None or given.ndim > 1:
        raise unsupported(node, "Gather needs a constant list of indices.", hint="export with static shapes")
    size = source.clip_shape[axis]
    return axis, np.where(given < 0, given + size, given)


@dataclass(frozen=True)
class Cut:
    """Frames start .. end-1 of a wire."""

    source: str
    start: int
    end: int


def cut_from(name: str, facts: Facts) -> Cut | None:
    """What a tensor is cut from along time, if it is neighboring frames of another."""
    node = facts.graph.made_by(name)
    if node is None or node.inputs[0] not in facts.table or node.op not in ("Slice", "Split", "Gather"):
        return None
    source = facts[node.inputs[0]]
    time = ax.time_axis(source.axes)
    if node.op == "Split":
        axis, sizes = split(node, facts)
        i = node.outputs.index(name)
        return Cut(node.inputs[0], sum(sizes[:i]), sum(sizes[: i + 1])) if axis == time else None
    if node.op == "Slice":
        found = [(start, end) for axis, start, end, step in ranges(node, facts, source) if axis == time and step == 1]
        return Cut(node.inputs[0], *found[0]) if found else None
    axis, picked = indices(node, facts, source)
    follow = picked.ndim == 1 and bool((np.diff(picked) == 1).all())
    return Cut(node.inputs[0], int(picked[0]), int(picked[-1]) + 1) if axis == time and follow else None


def progression(node: Node, indices: Sequence[int] | np.ndarray) -> tuple[int, int]:
    """(start, step) of frame indices. Raises if they are not evenly spaced: no rule could go on for ever."""
    steps = set(np.diff(indices).tolist()) or {1}
    step = steps.pop()
    if steps or step < 1:
        raise unsupported(
            node,
            "Frames are picked at uneven distances.",
            got=f"{list(map(int, indices))}",
            hint=f"pick every n-th frame, e.g. x[:, :, ::{max(2, round(float(np.mean(np.diff(indices)))))}], or read neighbors "
            "with a convolution over time",
        )
    return int(indices[0]), int(step)
