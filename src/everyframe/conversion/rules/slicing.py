"""Slice, Split, Gather: over channels or space per frame; over time a renumbering (temporal shift) or a stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts, Window
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register
from everyframe.modelfile.graph import Node


def _time_part(node: Node, facts: Facts, source: Fact, start: int, step: int, axis: int, count: int) -> Fact:
    axes = (*source.axes[:axis], *ax.with_frames((source.axes[axis],), count), *source.axes[axis + 1 :])
    kind = source.relabeled if step == 1 or facts.dense else source.through  # as _lower_time does it
    return kind(Window(stride=step, pad=-start), facts.dense, axes=axes, frames=count)


def _lower_time(node: Node, step: Builder, output: str, wire: str, start: int, stride: int) -> None:
    if stride == 1 or step.facts.dense:
        step.put(output, step.raw(wire))
    else:
        step.put(output, step.taps(node, wire, Window(stride=stride, pad=-start), fill=0.0)[0])


def _space_part(node: Node, source: Fact, axis: int, size: int) -> ax.Axes:
    if ax.step_axis(source.axes, axis) is None:
        raise unsupported(
            node,
            "Only a part of an axis that holds time and something else is taken.",
            got=f"axis {axis} of {source.clip_shape}",
            hint="slice time on its own axis",
        )
    return (*source.axes[:axis], (ax.Atom(size),), *source.axes[axis + 1 :])


def _moves(source: Fact, axis: int) -> bool:
    return ax.is_time_axis(source.axes[axis])


@register("Slice")
class Slice:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        fact = source = facts[node.inputs[0]]
        for axis, start, _, step in ranges(node, facts, fact):
            size = facts.graph.shapes[node.outputs[0]][axis]
            if step < 0:
                raise unsupported(node, "A slice runs backwards.", got=f"step {step}", hint="a stream cannot be reversed")
            if _moves(fact, axis):
                fact = _time_part(node, facts, fact, start, step, axis, size)
            elif size != fact.clip_shape[axis]:
                fact = replace(fact, axes=_space_part(node, fact, axis, size))
        in_time = any(_moves(source, axis) for axis, *_ in ranges(node, facts, source))
        return fact if in_time or fact.axes == source.axes else fact.plain()

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        source: Fact = step.facts[node.inputs[0]]
        parts = ranges(node, step.facts, source)
        inside = [
            (ax.step_axis(source.axes, a), b, e, s)
            for a, b, e, s in parts
            if not _moves(source, a) and step.facts.graph.shapes[node.outputs[0]][a] != source.clip_shape[a]
        ]
        time = [(start, stride) for axis, start, _, stride in parts if _moves(source, axis)]

        def cut(x: str) -> str:
            if not inside:
                return x
            axes, starts, ends, steps = (list(column) for column in zip(*inside, strict=True))
            return step.emit("Slice", [x, step.ints(starts), step.ints(ends), step.ints(axes), step.ints(steps)], node.label)

        out = step.facts[node.outputs[0]]
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
        if step > 0:
            start, end, _ = slice(int(start), int(end), int(step)).indices(source.clip_shape[axis])
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
        parts = step.emit(
            "Split",
            [step.wire(node.inputs[0]), step.ints(sizes)],
            node.label,
            outputs=len(sizes),
            axis=ax.step_axis(source.axes, axis),
        )
        for output, part in zip(node.outputs, [parts] if isinstance(parts, str) else parts, strict=True):
            step.put(output, part)


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
        if _is_last(source, axis, picked):
            if node not in facts.heads:
                facts.heads.append(node)
            return facts.pool(node, axes=tuple(a for i, a in enumerate(source.axes) if i != axis))
        if _moves(source, axis):
            if scalar and source.frames > 1:
                raise unsupported(
                    node,
                    "One frame of the clip is picked.",
                    got=f"index {int(picked)} of {source.frames} frames",
                    hint="take the last one, or average over time; a loop has to pick each frame once and do the same with it",
                )
            start, step = progression(node, picked.reshape(-1))
            fact = _time_part(node, facts, source, start, step, axis, picked.size)
        else:
            fact = source.plain(axes=_space_part(node, source, axis, picked.size))
        if not scalar:
            return fact
        axes = tuple(a for i, a in enumerate(fact.axes) if i != axis)
        return fact.plain(axes=axes)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        source: Fact = step.facts[node.inputs[0]]
        axis, picked = indices(node, step.facts, source)
        if _is_last(source, axis, picked):
            step.put(node.outputs[0], step.window_mean(node, node.inputs[0], step.facts.head(node)))
            return
        if _moves(source, axis):
            if picked.ndim == 0:
                step.put(node.outputs[0], step.wire(node.inputs[0]))
            else:
                start, stride = progression(node, picked)
                _lower_time(node, step, node.outputs[0], node.inputs[0], start, stride)
            return
        index = step.const(picked.astype(np.int64), f"{node.label}.indices")
        step.put(
            node.outputs[0],
            step.emit("Gather", [step.wire(node.inputs[0]), index], node.label, axis=step.axis_of(node, source, axis)),
        )


def _is_last(source: Fact, axis: int, picked: np.ndarray) -> bool:
    """Is it the last of several frames of the clip, and nothing else?"""
    return picked.ndim == 0 and _moves(source, axis) and 1 < source.frames == int(picked) + 1


def indices(node: Node, facts: Facts, source: Fact) -> tuple[int, np.ndarray]:
    axis = node.attr("axis", 0) % len(source.axes)
    given = facts.graph.constant(node.input(1))
    if given is None or facts.get(node.input(0)) is None or given.ndim > 1:
        raise unsupported(node, "Gather needs a constant list of indices.", hint="export with static shapes")
    size = source.clip_shape[axis]
    return axis, np.where(given < 0, given + size, given)


def progression(node: Node, indices: Sequence[int] | np.ndarray) -> tuple[int, int]:
    """(start, step) of frame indices. Raises if they are not evenly spaced: no rule could go on for ever."""
    steps = set(np.diff(indices).tolist()) or {1}
    step = steps.pop()
    if steps or step < 1:
        raise unsupported(
            node,
            "Frames are picked at uneven distances.",
            got=f"{list(map(int, indices))}",
            hint=f"pick every n-th frame, e.g. x[:, :, ::{max(1, round(float(np.mean(np.diff(indices)))))}]",
        )
    return int(indices[0]), int(step)
