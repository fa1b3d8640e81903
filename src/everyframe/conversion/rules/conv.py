"""Conv: any kernel, stride, dilation and groups; its time kernel becomes a window over the wire's history."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts, Window
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register, stacked
from everyframe.conversion.rules.spatial import Spatial
from everyframe.modelfile.graph import Node


@register("Conv")
class Conv:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        weight = facts.graph.constant(node.inputs[1])
        if node.inputs[0] not in facts.table or weight is None or facts.get(node.input(2)):
            raise unsupported(node, "A convolution's weights depend on the clip.", hint="only constant weights can be streamed")
        if (found := stacked.stack(node, facts)) is not None:
            return stacked.fact(node, facts, found)
        fact, space = facts[node.inputs[0]], Spatial.of(node, facts)
        shape = facts.graph.shapes[node.outputs[0]]
        axes = made_by_kernel(fact.axes, shape)
        if space.time is None:
            return fact.plain(axes=axes, nonneg=False)
        return fact.through(
            space.window, facts.dense, axes=ax.with_frames(axes, shape[space.time]), frames=shape[space.time], nonneg=False
        )

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        wire = node.inputs[0]
        if (found := stacked.stack(node, step.facts)) is not None:
            kernel = np.concatenate(stacked.weights(node, step.facts, found), axis=1)  # (O, T * C, h, w)
            inputs = [stacked.side_by_side(node, step, found), step.const(kernel, f"{node.label}.weight")]
            inputs += [step.same(name) for name in node.inputs[2:] if name]
            step.put(node.outputs[0], step.emit("Conv", inputs, node.label, **node.attrs))
            return
        space = Spatial.of(node, step.facts)
        if (channels := _scaled_channels(node, step, space)) is not None:
            _scale(node, step, space, channels)
            return
        weight, bias = step.weight(node.inputs[1]), step.constant(node.input(2))
        groups = node.attr("group", 1)
        taps = np.moveaxis(weight, space.time, 0) if space.time is not None else weight[None]  # (k, O, I/g, h, w)
        attrs = space.step_attrs() | {"group": groups}

        def conv(x: str, kernel: np.ndarray, with_bias: bool, name: str) -> str:
            inputs = [x, step.const(kernel, f"{name}.weight")]
            if with_bias and bias is not None:
                inputs.append(step.const(bias, f"{node.label}.bias"))
            return step.emit("Conv", inputs, name, **attrs)

        def tap(i: int, x: str, with_bias: bool) -> str:
            return conv(x, space.widen(taps[i]), with_bias, node.label if len(taps) == 1 else f"{node.label}::tap{i}")

        before, after, window = step.facts[wire].axes, step.facts[node.outputs[0]].axes, space.window
        if space.time is None or window.trivial:
            made = tap(0, space.enter(step, step.wire(wire), before), True)
        elif not space.folded and step.partial_sums(node, wire, window):
            made = _partial_sums(node, step, wire, window, tap, space)
        else:
            frames = [space.enter(step, x, before) for x in step.taps(node, wire, window, fill=0.0)]
            if groups == 1 and len(frames) > 1 and step.m(step.facts[wire]) == 1:
                beside = step.emit("Concat", frames, f"{node.label}::stack", axis=1)
                kernel = np.concatenate([space.widen(tap) for tap in taps], axis=1)  # (O, k*I, h, w)
                made = conv(beside, kernel, True, node.label)
            else:
                made = ""
                for i, frame in enumerate(frames):
                    part = tap(i, frame, i == len(frames) - 1)
                    made = step.emit("Add", [part, made], f"{node.label}::add{i}") if made else part
        step.put(node.outputs[0], space.leave(step, made, after))


def _scaled_channels(node: Node, step: Builder, space: Spatial) -> int | None:
    """The step axis of the channels where a frame of a depthwise convolution is only scaled: it sees no neighbors in space.

    Engines are slow at such convolutions of one value a channel. With pictures they are not, and fuse them.
    """
    weight, axes = step.weight(node.inputs[1]), step.facts[node.inputs[0]].axes
    plain = all(k == 1 for k in (*space.kernel, *space.strides)) and not any(space.pads)
    depthwise = weight.shape[1] == 1 and weight.shape[0] == node.attr("group", 1)
    return ax.step_axis(axes, 1) if plain and depthwise and space.time and (space.folded or not space.kernel) else None


def _scale(node: Node, step: Builder, space: Spatial, channels: int) -> None:
    """A depthwise convolution over time alone as products and sums."""
    weight, bias = step.weight(node.inputs[1]), step.constant(node.input(2))
    shape = [1] * (len(step.frame_shape(node.inputs[0])) + 1)
    shape[channels] = len(weight)
    made = ""
    for i, (frame, tap) in enumerate(
        zip(step.taps(node, node.inputs[0], space.window, fill=0.0), weight.reshape(len(weight), -1).T, strict=True)
    ):
        name = node.label if space.window.taps == 1 else f"{node.label}::tap{i}"
        part = step.emit("Mul", [frame, step.const(tap.reshape(shape), f"{name}.weight")], name)
        made = step.emit("Add", [part, made], f"{node.label}::add{i}") if made else part
    if bias is not None:
        made = step.emit("Add", [made, step.const(bias.reshape(shape), f"{node.label}.bias")], f"{node.label}::biased")
    step.put(node.outputs[0], made)


_Tap = Callable[[int, str, bool], str]  # which tap, a frame, with the bias? -> the product


def _partial_sums(node: Node, step: Builder, wire: str, window: Window, tap: _Tap, space: Spatial) -> str:
    """The other exact form of a window: instead of past inputs, keep the outputs that still miss later frames.

    sums[j] is due in j+1 steps. Smaller than a ring where the convolution strides in space or narrows.
    """
    x = space.enter(step, step.masked(wire, 0.0), step.facts[wire].axes)
    length = (window.taps - 1) * window.dilation
    sums = step.sums(node, node.outputs[0], space.inside(step.frame_shape(node.outputs[0])))
    last = window.taps - 1
    made = step.emit("Add", [tap(last, x, True), sums.old(0)], f"{node.label}::add{last}")
    for j in range(length):
        i, apart = divmod(j + 1, window.dilation)
        due = "" if apart else tap(last - i, x, False)  # this frame's share of the output due in j+1 steps
        older = sums.old(j + 1) if j + 1 < length else ""
        if due and older:
            sums.put(j, step.emit("Add", [due, older], f"{node.label}::add{last - i}"))
        elif due:
            sums.put(j, due)
        else:
            sums.move(j, j + 1)
    return made


def made_by_kernel(axes: ax.Axes, shape: tuple[int, ...]) -> ax.Axes:
    """The axes a kernel leaves behind: batch and time stay what they are, everything else is new."""
    new = (axis if ax.is_frame_axis(axis) else (ax.Atom(size),) for axis, size in zip(axes[1:], shape[1:], strict=True))
    return (axes[0], *new)
