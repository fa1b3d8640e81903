"""Layers that read several frames side by side on one axis: a clip flattened into a linear layer, frames stacked as channels.

With as many frames as the clip has, such a layer is a window over them: the share of each frame's weights is a tap. Its one value
a clip becomes one a frame, whose time lies in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts, Window
from everyframe.conversion.refusals import unsupported
from everyframe.modelfile.graph import Node


@dataclass(frozen=True)
class Stack:
    """An axis of before * frames * behind values."""

    before: int
    frames: int
    behind: int

    def taps(self, weight: np.ndarray) -> np.ndarray:
        """Weights (before * frames * behind, ...) -> (frames, before * behind, ...)."""
        apart = weight.reshape(self.before, self.frames, self.behind, *weight.shape[1:])
        return np.moveaxis(apart, 1, 0).reshape(self.frames, self.before * self.behind, *weight.shape[1:])


def stack(node: Node, facts: Facts) -> Stack | None:
    """How frames lie on the axis that a layer sums over; None if it holds no more than one."""
    if node.op not in ("Conv", "Gemm", "MatMul"):
        return None
    fact = facts.get(node.inputs[0])
    axis = fact.axes[1 if node.op == "Conv" else -1] if fact is not None and len(fact.axes) > 1 else ()
    if fact is None or fact.gate or not ax.time_is_mixed((axis,)) or node.attr("group", 1) != 1 or node.attr("transA", 0):
        return None
    place = next(i for i, atom in enumerate(axis) if atom.kind == "T")
    sizes = [atom.size for atom in axis]
    return Stack(prod(sizes[:place]), sizes[place], prod(sizes[place + 1 :]))


def fact(node: Node, facts: Facts, found: Stack) -> Fact:
    source, weight = facts[node.inputs[0]], facts.graph.constant(node.inputs[1])
    bias = facts.graph.constant(node.input(2)) if node.input(2) else None
    if weight is None or (node.op != "Conv" and weight.ndim != 2) or (bias is not None and bias.ndim > 1 and bias.shape[0] > 1):
        raise unsupported(
            node, f"{node.op} reads several frames at once, with weights that are not constant.",
            got=f"shape {source.clip_shape}, {source.frames} frames",
            hint="pool over time before it, or let joints and positions attend to each other inside each frame",
        )  # fmt: skip
    shape = facts.graph.shapes[node.outputs[0]]
    axes = ((*source.axes[0], ax.Atom(1, "T")), *((ax.Atom(size),) if size > 1 else () for size in shape[1:]))
    return source.through(Window(found.frames), facts.dense, axes=axes, frames=1, nonneg=False)


def weights(node: Node, facts: Facts, found: Stack) -> np.ndarray:
    """(frames, O, values of a frame, kernel...), for linear layers and convolutions alike."""
    weight = facts.graph.constants[node.inputs[1]]
    if node.op == "Conv":
        return np.moveaxis(found.taps(np.moveaxis(weight, 1, 0)), 2, 1)
    return np.moveaxis(found.taps(weight.T if node.attr("transB", 0) else weight), 2, 1)


def side_by_side(node: Node, step: Builder, found: Stack) -> str:
    """The frames of the window, in order, on the axis that the layer sums over: (m, ..., frames * values)."""
    frames = step.taps(node, node.inputs[0], Window(found.frames), fill=0.0)
    axis = 1 if node.op == "Conv" else len(step.frame_shape(node.inputs[0]))
    return step.emit("Concat", frames, f"{node.label}::window", axis=axis)
