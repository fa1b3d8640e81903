"""Concat: over channels (or a new axis) a join of wires; over time, frames of other wires in front of one that goes on.

What stands behind the longest piece is the clip's right edge, which a stream has not. What stands before it are the first
frames: constants (that is a Pad), or frames of other wires, chosen by their number. A roll (`x[-1:]` in front of `x[:-1]`) puts
the clip's end there; a stream has no end, so these frames are zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts, Window
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import pad, register, slicing
from everyframe.conversion.view import View
from everyframe.modelfile.graph import Node


@register("Concat")
class Concat:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        timed = facts.timed(node)
        first = _first(node, facts)
        axis = node.attr("axis") % len(first.axes)
        if ax.is_time_axis(first.axes[axis]):
            _check_only_frames(node, facts, axis)
            return _fact_in_time(node, facts, pieces(node, facts))
        joined = facts.join(node, timed)
        size = facts.graph.shapes[node.outputs[0]][axis]
        if ax.time_is_mixed(tuple(facts[name].axes[axis] for name in timed)):
            raise unsupported(
                node,
                "Concat along an axis that holds time and something else.",
                got=f"shape {first.clip_shape}",
                hint="concatenate over channels",
            )
        if len({ax.time_axis(facts[name].axes) for name in timed if not facts[name].static}) > 1:
            raise unsupported(
                node,
                "Time lies on different axes of the wires that are joined.",
                got=", ".join(f"{name!r}: axis {ax.time_axis(facts[name].axes)}" for name in timed),
                hint="keep the axes in one order, e.g. (N, C, T, H, W)",
            )
        axes = (*first.axes[:axis], ax.changed(first.axes[axis], size), *first.axes[axis + 1 :])
        nonneg = len(timed) == len(node.inputs) and all(facts[name].nonneg for name in timed)
        return replace(joined, axes=axes, nonneg=nonneg)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        facts: Facts = step.facts
        first, out = _first(node, facts), facts[node.outputs[0]]
        axis = node.attr("axis") % len(first.axes)
        if ax.is_time_axis(first.axes[axis]):
            _lower_in_time(node, step, pieces(node, facts))
            return
        apart, whole = axis == 0, ax.is_frame_axis(first.axes[axis]) and axis > 0
        inputs = []
        for name in node.inputs:
            if name in facts.table:
                axes, tensor = facts[name].axes, step.delayed(node, name, out.lag - facts[name].lag)
                if facts[name].static and not out.static:
                    tensor, axes = _repeated(node, step, name, axis, first.axes)
            else:
                shape = facts.graph.shapes[name]
                axes = (*first.axes[:axis], ax.changed(first.axes[axis], shape[axis]), *first.axes[axis + 1 :])
                tensor = step.constant_frame(node, name, first.axes)
            inputs.append(step.enter(View(axes, apart, whole), tensor, node.label))
        view = View(out.axes, apart, whole)
        made = step.emit("Concat", inputs, node.label, axis=view.place(axis))
        step.put(node.outputs[0], step.leave(view, made, node.label))


def _check_only_frames(node: Node, facts: Facts, axis: int) -> None:
    """Refuses frames beside joints or positions on one axis, as where one layer makes gates for both."""
    for name in facts.timed(node):
        if not ax.is_time_axis(facts[name].axes[axis]):
            raise unsupported(
                node, "Frames are joined with something else along one axis.", got=f"{name!r} of {facts.graph.shapes[name]}",
                hint="let one layer attend to frames and another one to joints or positions, each with its own input",
            )  # fmt: skip


def _first(node: Node, facts: Facts) -> Fact:
    """The first wire that has frames."""
    timed = [facts[name] for name in facts.timed(node)]
    return next((fact for fact in timed if not fact.static), timed[0])


def _repeated(node: Node, step: Builder, name: str, axis: int, like: ax.Axes) -> tuple[str, ax.Axes]:
    """What has no frames, as often as the frames that it is joined with, at each of their positions."""
    fact, out = step.facts[name], step.facts[node.outputs[0]]
    axes = (*like[:axis], ax.changed(like[axis], ax.rest(fact.axes[axis])), *like[axis + 1 :])
    groups = ax.step_groups(axes)
    sizes = [prod(ax.rest(fact.axes[i]) for i in group) for group in groups]
    tensor = step.emit("Reshape", [step.raw(name), step.ints([1, *sizes])], f"{node.label}::align")
    full = [step.m(out), *ax.step_shape(axes)]
    return (step.emit("Expand", [tensor, step.ints(full)], f"{node.label}::repeat") if full != [1, *sizes] else tensor), axes


@dataclass(frozen=True)
class Piece:
    """frames of a wire (or constant) from frame `start` of the result on. value: they are this constant."""

    name: str
    start: int
    frames: int
    value: float | None = None

    def numbered(self, facts: Facts) -> Fact:
        """The piece's fact in the result's numbers of frames."""
        return facts[self.name].relabeled(Window(pad=self.start), facts.dense)


@dataclass(frozen=True)
class Pieces:
    """before: the first frames. main: the wire that goes on. behind: names of what a stream never reaches."""

    before: tuple[Piece, ...]
    main: Piece
    behind: tuple[Piece, ...]


def pieces(node: Node, facts: Facts) -> Pieces:
    """The pieces of a Concat over time. Raises UnsupportedOperator where no wire goes on."""
    axis = node.attr("axis") % len(facts[facts.timed(node)[0]].axes)
    sizes = [facts.graph.shapes[name][axis] for name in node.inputs]
    starts = np.cumsum([0, *sizes]).tolist()
    timed = [i for i, name in enumerate(node.inputs) if name in facts.table]
    main = max(timed, key=lambda i: sizes[i])
    made = [
        Piece(name, start, size, _value(node, facts, name)) for name, start, size in zip(node.inputs, starts, sizes, strict=False)
    ]
    rest = [i for i in timed if i != main]
    if sum(sizes[i] for i in rest) >= sizes[main]:
        raise unsupported(
            node,
            "Wires are joined along time, and none of them goes on.",
            expected="one wire with most of the frames, and others or constants before or behind it",
            got=", ".join(f"{node.inputs[i]!r}: {sizes[i]} frames" for i in timed),
            hint="a temporal shift is a slice, constant padding and a concatenation over channels",
        )
    if len({(facts[node.inputs[i]].every, facts[node.inputs[i]].spacing, facts[node.inputs[i]].pooled) for i in timed}) > 1:
        raise unsupported(
            node, "Wires of different frame rates meet in a Concat over time.", hint="give both the same temporal stride"
        )
    before = tuple(replace(p, value=0.0) if _wraps(p, made[main], facts) else p for p in made[:main])
    for piece in before:
        if piece.value is None and _from_the_end(piece, made[main], facts):
            raise unsupported(
                node, "The frames in front are taken from the clip's end, as circular padding does.", got=repr(piece.name),
                hint="pad time with zeros: what comes later is not known in a stream",
            )  # fmt: skip
    return Pieces(before, made[main], tuple(made[main + 1 :]))


def _from_the_end(piece: Piece, main: Piece, facts: Facts) -> bool:
    """True where the frames in front come about a clip later than those that they stand before. Edges come as many frames
    later as are put in front, frames mirrored at them twice as many.
    """
    first, then = piece.numbered(facts), main.numbered(facts)
    later = (first.delay - then.delay) / then.spacing
    return later > main.start and later >= main.frames - main.start


def _value(node: Node, facts: Facts, name: str) -> float | None:
    """The one value of a constant piece; None for a wire."""
    if name in facts.table:
        return None
    array = facts.graph.constant(name)
    values = np.unique(array).tolist() if array is not None else []
    if len(values) != 1:
        raise unsupported(
            node, "Wires are joined along time with constant frames of several values.",
            expected="constant frames of one value before or behind the wire", got=f"{len(values)} values in {name!r}",
            hint="a temporal shift is a slice, constant padding and a concatenation over channels",
        )  # fmt: skip
    return float(values[0])


def _wraps(piece: Piece, main: Piece, facts: Facts) -> bool:
    """True for the end of the clip in front of the frames that come before it."""
    end, rest = slicing.cut_from(piece.name, facts), slicing.cut_from(main.name, facts)
    if end is None or rest is None or end.source != rest.source:
        return False
    return end.end == facts[end.source].frames and end.start == rest.end


def _constant(found: Pieces) -> float | None:
    """The value of all frames in front, where they are of one value; None if they are not."""
    values = {piece.value for piece in found.before}
    return (values.pop() if values else 0.0) if len(values) <= 1 else None


def _fact_in_time(node: Node, facts: Facts, found: Pieces) -> Fact:
    main, first = facts[found.main.name], facts.timed(node)[0]
    length = facts.graph.shapes[node.outputs[0]][node.attr("axis") % len(main.axes)]
    axes = ax.with_frames(facts[first].axes, length)
    if any(piece.value is not None and piece.name in facts.table for piece in found.before):
        facts.notes.append(f"{node.label}: frames that the clip takes from its end are zeros in a stream")
    value = _constant(found)
    if value is not None:
        return pad.padded(node, facts, main, found.main.start, value, axes)
    parts = [piece.numbered(facts) for piece in (*found.before, found.main) if piece.value is None]
    return replace(
        found.main.numbered(facts),
        axes=axes,
        frames=length,
        delay=max(0, *(part.delay for part in parts)),
        left=max(part.left for part in parts),
        right=max(part.right for part in parts),
        fill=None,
        nonneg=False,
    )


def _lower_in_time(node: Node, step: Builder, found: Pieces) -> None:
    out, value, name = step.facts[node.outputs[0]], _constant(found), found.main.name
    if value is not None:
        tensor = step.masked(step.bearing(node, name, value), value) if found.main.start > 0 else step.raw(name)
        step.put(node.outputs[0], tensor)
        return
    made = step.renumbered(node, name, found.main.numbered(step.facts), out)
    for piece in reversed(found.before):
        if piece.value is None:
            first = step.renumbered(node, piece.name, piece.numbered(step.facts), out)
        else:
            first = step.scalar(piece.value)
        mask = step.mask(out, len(step.frame_shape(node.outputs[0])) + 1, piece.start + piece.frames)
        made = step.emit("Where", [mask, made, first], f"{node.label}::from{piece.start}")
    step.put(node.outputs[0], made)
