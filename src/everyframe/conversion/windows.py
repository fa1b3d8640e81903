"""Layers that look at all frames of the clip at once: attention over time, a softmax or the best of its frames, a deviation.

A stream has no whole clip, but it can keep its newest frames, as many as the clip has, and ask such layers anew in each step.
That is exact, and worth it where what they read is little and most of the work lies before them: an `Identity` is put there,
whose rule (`rules/whole`) gathers the frames. Where a network looks at whole pictures like that, every step would be a clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import onnx
from onnx import helper

from everyframe.conversion import axes as ax
from everyframe.conversion.facts import Facts, Place
from everyframe.conversion.work import macs_of
from everyframe.modelfile.graph import Node

_NAME = "everyframe.window"
#: values of all frames that are gathered, and the share of a clip's work that may lie behind them
MOST, SHARE = 1 << 20, 0.5
#: how often a window may be put further up
TRIES = 8


def is_window(node: Node) -> bool:
    return node.op == "Identity" and node.name.startswith(_NAME)


def gather_before(clip: onnx.ModelProto, place: Place) -> bool:
    """Puts a window in front of what was refused, in place: behind the nearest tensor that all of it is computed through. False
    where there is none that is worth it.
    """
    facts, node, count = place.facts, place.node, sum(node.name.startswith(_NAME) for node in clip.graph.node)
    if facts is None or node is None or count >= TRIES:
        return False
    read = [name for name in facts.timed(node) if not facts[name].static]
    name = next((name for name in _passes(read, facts) if _worth(name, facts)), None)
    if name is None:
        return False
    made = f"{name}.window"
    for proto in clip.graph.node:
        for i, each in enumerate(proto.input):
            if each == name:
                proto.input[i] = made
    at = next((i + 1 for i, proto in enumerate(clip.graph.node) if name in proto.output), 0)
    clip.graph.node.insert(at, helper.make_node("Identity", [name], [made], f"{_NAME}.{count}"))
    return True


def told(facts: Facts) -> list[str]:
    """A line about the windows of a network, if it has any."""
    if not any(is_window(node) for node in facts.heads):
        return []
    return [f"layers that look at all frames: {offered(facts)}; until there are so many, the first stands for those before it"]


def offered(facts: Facts) -> str:
    """What windows do, and cost."""
    found = [node for node in facts.heads if is_window(node)]
    share = _work(facts, [node.outputs[0] for node in found]) / max(1, _work(facts))
    frames = max(facts.head(node).frames for node in found)
    return f"each step computes them anew, of the newest {frames} frames ({share:.1%} of a clip's work)"


def _passes(read: list[str], facts: Facts) -> Iterator[str]:
    """Tensors with a value for each frame through which all of these are computed, the nearest first."""
    for name in reversed(list(facts.table)):
        fact, time = facts[name], ax.time_axis(facts[name].axes)
        framed = time is not None and ax.is_time_axis(fact.axes[time]) and fact.frames > 1
        if (
            framed
            and not (fact.pooled or fact.gate or fact.static or name in facts.graph.outputs)
            and _dominates(name, read, facts)
        ):
            yield name


def _dominates(name: str, read: list[str], facts: Facts) -> bool:
    seen, queue, met = set[str](), list(read), False
    while queue:
        each = queue.pop()
        if each == name:
            met = True
            continue
        if each in seen:
            continue
        seen.add(each)
        maker = facts.graph.made_by(each)
        if maker is None:
            return False  # the clip itself, by another way
        queue += [x for x in facts.timed(maker) if not facts[x].static]
    return met


def _worth(name: str, facts: Facts) -> bool:
    few = facts[name].frames * prod(ax.step_shape(facts[name].axes)) <= MOST
    return few and _work(facts, [name]) < SHARE * _work(facts)


def _work(facts: Facts, behind: Sequence[str] | None = None) -> int:
    """Multiply-adds of a clip; behind: only those that are computed from these tensors."""
    graph = facts.graph
    inside = None if behind is None else {out for name in behind for node in graph.downstream(name) for out in node.outputs}
    dims = {tensor.name: tuple(tensor.dims) for tensor in graph.model.graph.initializer}
    return sum(macs_of(node, graph.shapes, dims) for node in graph.model.graph.node if inside is None or node.output[0] in inside)
