"""What needs all frames of the clip at once gets them: the newest of a stream, as many as the clip has (`windows`)."""

from __future__ import annotations

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.rules import Rule, pointwise, register
from everyframe.conversion.windows import is_window
from everyframe.errors import UsageError
from everyframe.modelfile.graph import Node


class Whole:
    """A head that averages nothing: behind it time is an axis like any other, and there is one value a step."""

    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source = facts[node.inputs[0]]
        if source.pooled or source.gate:  # of frames that a window before it has gathered
            return source.plain()
        facts.verbatim.add(node.name)
        if facts.options.window not in (None, source.frames):
            raise UsageError(
                "--window cannot be changed here: layers look at all frames of the window at once.", where=node.label,
                expected=source.frames, got=facts.options.window, hint="leave --window away, or export a longer clip",
            )  # fmt: skip
        if node not in facts.heads:
            facts.heads.append(node)
        return facts.pool(node, axes=ax.with_time_inside(source.axes), nonneg=source.nonneg)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        facts, wire = step.facts, node.inputs[0]
        source, out = facts[wire], facts[node.outputs[0]]
        if node not in facts.heads:
            step.put(node.outputs[0], step.wire(wire))
            return
        head = facts.head(node)
        frames = step.window_frames(node, wire, head)  # (T, ...)
        time = ax.time_axis(source.axes) or 0
        sizes = [ax.rest(axis) for axis in source.axes if not ax.is_frame_axis(axis)]
        place = sum(not ax.is_frame_axis(axis) for axis in source.axes[:time])
        if place:
            frames = step.emit("Reshape", [frames, step.ints([head.frames, *sizes])], f"{node.label}::apart")
            order = [*range(1, place + 1), 0, *range(place + 1, len(sizes) + 1)]
            frames = step.emit("Transpose", [frames], f"{node.label}::turned", perm=order)
        step.put(node.outputs[0], step.emit("Reshape", [frames, step.ints([1, *ax.step_shape(out.axes)])], node.label))


class Same:
    """An Identity, or what stands for all frames of a clip."""

    @staticmethod
    def of(node: Node) -> type[Rule]:
        return Whole if is_window(node) else pointwise.Pointwise

    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact | tuple[Fact, ...]:
        return Same.of(node).fact(node, facts)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        Same.of(node).lower(node, step)


register("Identity")(Same)
