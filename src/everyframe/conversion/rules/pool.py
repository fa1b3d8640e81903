"""MaxPool, AveragePool: pooled in space first, then over a window of the (smaller) pooled frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts, Window
from everyframe.conversion.memory import LOWEST
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import reduce, register
from everyframe.conversion.rules.conv import made_by_kernel
from everyframe.conversion.rules.spatial import Spatial
from everyframe.modelfile.graph import Node


def _axes(node: Node, facts: Facts, fact: Fact) -> ax.Axes:
    shape = facts.graph.shapes[node.outputs[0]]
    kept = (*fact.axes[:2], *made_by_kernel(fact.axes, shape)[2:])
    time = ax.time_axis(fact.axes)
    return ax.with_frames(kept, shape[time] if time else fact.frames)


def _fact(node: Node, facts: Facts, space: Spatial, fill: float) -> Fact:
    fact = facts[node.inputs[0]]
    axes = _axes(node, facts, fact)
    if space.time is None:
        return fact.plain(axes=axes)
    if node.op == "AveragePool" and any(space.pads) and not fact.bears(fill):
        fact = fact.plain()  # the frames of a Pad do not stay of one value when zeros come round them
    frames = facts.graph.shapes[node.outputs[0]][space.time]
    return fact.through(space.window, facts.dense, fill, axes=axes, frames=frames)


def _lowest(fact: Fact) -> float:
    """What a max pool is padded with; where nothing is negative, 0 does as well, and then all states begin with zeros."""
    return 0.0 if fact.nonneg else LOWEST


def needs_ceil(node: Node, facts: Facts, time: int | None = None) -> bool:
    """Does ceil_mode make a picture larger (axis `time` left out)? Elsewhere it is better left away: shape inference is one
    off for it where the last window would start beyond the input."""
    before, after = (facts.graph.shapes[name] for name in (node.inputs[0], node.outputs[0]))
    dims = len(before) - 2
    kernel, pads = node.attr("kernel_shape"), node.attr("pads") or [0] * 2 * dims
    strides, dilations = node.attr("strides") or [1] * dims, node.attr("dilations") or [1] * dims
    return any(
        (after[i + 2] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 > before[i + 2] + pads[i] + pads[i + dims]
        for i in range(dims)
        if i + 2 != time
    )


def _spatial_pool(node: Node, step: Builder, space: Spatial, x: str, op: str) -> str:
    """The pool without its time axis; x itself if nothing is left to do."""
    identity = all(k == 1 for k in space.kernel) and all(s == 1 for s in space.strides) and not any(space.pads)
    if identity:
        return x
    attrs: dict[str, Any] = space.step_attrs()
    if op == "MaxPool" and step.made_by(x) == "Pad":  # onnxruntime would take it for the pool's own padding: see execute.py
        x = step.emit("Max", [x, step.scalar(LOWEST)], f"{node.label}::apart")
    if op == "AveragePool":
        attrs["count_include_pad"] = node.attr("count_include_pad", 0)
        if all(d == 1 for d in space.dilations):
            del attrs["dilations"]  # opset 19 added it to AveragePool
    before = step.facts[node.inputs[0]].axes
    x = space.enter(step, x, before) if space.folded else x
    x = step.emit(op, [x], node.label, ceil_mode=int(needs_ceil(node, step.facts, space.time)), **attrs)
    return space.leave(step, x, _axes(node, step.facts, step.facts[node.inputs[0]])) if space.folded else x


@register("MaxPool")
class MaxPool:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        if len(node.outputs) > 1 and node.outputs[1]:
            raise unsupported(node, "MaxPool with indices cannot be streamed.", hint="export without return_indices")
        if reduce.collapses_time(node, facts):
            return reduce.fact(node, facts, _axes(node, facts, facts[node.inputs[0]]))
        return _fact(node, facts, Spatial.of(node, facts), _lowest(facts[node.inputs[0]]))

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        space, fact = Spatial.of(node, step.facts), step.facts[node.inputs[0]]
        pooled = step.derive(
            node.inputs[0],
            lambda x: _spatial_pool(node, step, space, x, "MaxPool"),
            node,
            axes=_axes(node, step.facts, fact),
        )
        if reduce.collapses_time(node, step.facts):
            reduce.finish(node, step, pooled)
            return
        frames = step.taps(node, pooled, space.window, fill=_lowest(fact))
        step.put(node.outputs[0], step.emit("Max", frames, f"{node.label}::max") if len(frames) > 1 else frames[0])


@register("AveragePool")
class AveragePool:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        space = Spatial.of(node, facts)
        if reduce.collapses_time(node, facts):
            return reduce.fact(node, facts, _axes(node, facts, facts[node.inputs[0]]))
        return _fact(node, facts, space, 0.0)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        space, wire = Spatial.of(node, step.facts), node.inputs[0]
        x = step.derive(
            step.bearing(node, wire, 0.0) if any(space.pads) else wire,
            lambda x: _spatial_pool(node, step, space, x, "AveragePool"),
            node,
            axes=_axes(node, step.facts, step.facts[node.inputs[0]]),
        )
        if reduce.collapses_time(node, step.facts):
            reduce.finish(node, step, x)
            return
        if space.window.trivial:
            step.put(node.outputs[0], step.wire(x))
            return
        frames = step.taps(node, x, space.window, fill=0.0)
        total = step.emit("Sum", frames, f"{node.label}::sum") if len(frames) > 1 else frames[0]
        if space.window.pad > 0 and not node.attr("count_include_pad", 0):
            share = _counted(node, step, space.window)
        else:
            share = step.const(np.float32(1 / space.window.taps), f"{node.label}.share")
        step.put(node.outputs[0], step.emit("Mul", [total, share], f"{node.label}::mean"))


def _counted(node: Node, step: Builder, window: Window) -> str:
    """One by the number of frames that the window meets, without those before the beginning."""

    def met(j: int) -> int:
        return sum(j * window.stride - window.pad + i * window.dilation >= 0 for i in range(window.taps))

    full = -(-window.pad // window.stride)  # the first output whose window is whole
    rank = len(step.frame_shape(node.outputs[0])) + 1
    return step.by_index(node, step.facts[node.outputs[0]], [1 / max(1, met(j)) for j in range(full + 1)], rank)
