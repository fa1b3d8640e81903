"""The clip network on a longer video: the reference that a step network is compared with.

Weights and operators stay; only what bakes the clip length in is rewritten (reshapes, slice ends, means over time used as
gates). The network is cut where time ends (heads, flattens): those wires are the outputs, and `tail` is what follows them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe.conversion import axes as ax
from everyframe.conversion.facts import Facts
from everyframe.conversion.rules import pointwise, pool, reduce, slicing
from everyframe.modelfile.graph import Node

_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Reference:
    """body: the clip network for `frames` frames, outputs = wires. tails: of each output behind the end of time, what follows
    the wires that it needs (clip shapes).
    """

    body: onnx.ModelProto
    tails: dict[str, onnx.ModelProto]
    wires: tuple[str, ...]


def lengthen(clip: onnx.ModelProto, facts: Facts, frames: int) -> Reference:
    ends = {name for node in facts.graph.nodes for name in _ends_time(node, facts)}
    behind = _behind_the_end(facts)
    wires = tuple(sorted(ends | {name for name in facts.graph.outputs if name not in behind}))
    body = onnx.ModelProto()
    body.CopyFrom(clip)
    rewriter = _Rewriter(facts, body)
    kept = []
    wanted = set(wires)
    for proto in reversed(clip.graph.node):  # only what the wires need
        if wanted & set(proto.output):
            kept.append(proto)
            wanted |= set(proto.input)
    del body.graph.node[:]
    by_output = {node.outputs[0]: node for node in facts.graph.nodes}
    for proto in kept[::-1]:
        node = by_output.get(proto.output[0])
        body.graph.node.extend(rewriter.rewrite(proto, node) if node and node.inputs and facts.timed(node) else [proto])
    del body.graph.output[:], body.graph.value_info[:]
    body.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wires)
    axis = ax.time_axis(facts[facts.graph.input].axes)
    body.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = frames
    return Reference(body, {name: _tail(clip, facts, wires, name) for name in facts.graph.outputs if name in behind}, wires)


def _behind_the_end(facts: Facts) -> set[str]:
    """Tensors that are computed from a value without frames."""
    behind: set[str] = set()
    for node in facts.graph.nodes:
        if _ends_time(node, facts) or behind & set(node.inputs):
            behind |= set(node.outputs)
    return behind


def _ends_time(node: Node, facts: Facts) -> list[str]:
    """The input of a node behind which there are no frames any more: a head, or a reshape that drops a single frame's axis."""
    if node in facts.heads:
        return [node.inputs[0]]
    timed = facts.timed(node)
    if not timed or facts[timed[0]].pooled or (node.op in ("ReduceMean", "GlobalAveragePool") and reduce.is_gate(node, facts)):
        return []
    before, after = facts[timed[0]], facts[node.outputs[0]]
    had = (i := ax.time_axis(before.axes)) is not None and ax.is_frame_axis(before.axes[i])
    has = (i := ax.time_axis(after.axes)) is not None and ax.is_frame_axis(after.axes[i])
    return timed if had and not has and before.frames == 1 else []


def _tail(clip: onnx.ModelProto, facts: Facts, wires: tuple[str, ...], output: str) -> onnx.ModelProto:
    tail = onnx.ModelProto()
    tail.CopyFrom(clip)
    wanted, kept = {output}, []
    for proto in reversed(clip.graph.node):
        if wanted & (set(proto.output) - set(wires)):
            kept.append(proto)
            wanted |= set(proto.input)
    read = [name for name in wires if name in wanted]
    del tail.graph.node[:], tail.graph.input[:], tail.graph.output[:], tail.graph.value_info[:]
    tail.graph.node.extend(kept[::-1])
    tail.graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, facts[name].clip_shape) for name in read)
    tail.graph.output.extend(value for value in clip.graph.output if value.name == output)
    return tail


class _Rewriter:
    """Rewrites single nodes for another clip length. A wire whose time lost its axis in a gate is kept as (T, ...)."""

    def __init__(self, facts: Facts, body: onnx.ModelProto) -> None:
        self.facts, self.body, self.count = facts, body, 0

    def const(self, values: object, dtype: type = np.int64) -> str:
        self.count += 1
        name = f"lengthened.{self.count}"
        self.body.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def rewrite(self, proto: onnx.NodeProto, node: Node) -> list[onnx.NodeProto]:
        facts = self.facts
        if node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            return self._reshape(node)
        if (
            reduce.is_gate(node, facts)
            if node.op in ("ReduceMean", "GlobalAveragePool", "AveragePool") and reduce.collapses_time(node, facts)
            else False
        ):
            return self._gate(node)
        if node.op in ("Slice", "Split", "Gather"):
            return self._slice(proto, node)
        copy, before = onnx.NodeProto(), []
        copy.CopyFrom(proto)
        axes = facts[node.outputs[0]].axes
        if node.attr("ceil_mode") and not pool.needs_ceil(node, facts):
            next(a for a in copy.attribute if a.name == "ceil_mode").i = 0
        for i, name in enumerate(node.inputs):  # a constant repeated for every frame of the clip
            array = facts.graph.constant(name)
            time = ax.time_axis(axes)
            if (
                array is not None
                and time is not None
                and array.ndim == len(axes)
                and array.shape[time] > 1
                and node.op in pointwise.NONNEGATIVE
            ):
                copy.input[i] = self.const(array.take([0], axis=time), array.dtype.type)
            elif array is not None and time is not None and node.op == "Concat" and node.attr("axis") % len(axes) != time:
                made, nodes = self._as_long(array.take([0], axis=time), facts.timed(node)[0], time)
                copy.input[i] = made
                before += nodes
        return [*before, copy]

    def _as_long(self, array: np.ndarray, like: str, time: int) -> tuple[str, list[onnx.NodeProto]]:
        """A constant frame, repeated as often as tensor `like` has frames."""
        self.count += 1
        name = f"{like}.like{self.count}"
        shape = [self.const(array.shape[:time]), f"{name}.frames", self.const(array.shape[time + 1 :])]
        return name, [
            helper.make_node("Shape", [like], [f"{name}.shape"]),
            helper.make_node("Slice", [f"{name}.shape", self.const([time]), self.const([time + 1])], [f"{name}.frames"]),
            helper.make_node("Concat", shape, [f"{name}.full"], axis=0),
            helper.make_node("Expand", [self.const(array, array.dtype.type), f"{name}.full"], [name]),
        ]

    def _reshape(self, node: Node) -> list[onnx.NodeProto]:
        before, after = self.facts[node.inputs[0]].axes, self.facts[node.outputs[0]].axes
        old, new = ax.time_axis(before), ax.time_axis(after)
        shape = list(ax.shape_of(after))
        if new is None:
            if old is None:
                shape[0] = -1  # (T, ...) instead of (1, ...)
            return [helper.make_node("Reshape", [node.inputs[0], self.const(shape)], [node.outputs[0]])]
        if old is not None:
            shape[new] = -1
            return [helper.make_node("Reshape", [node.inputs[0], self.const(shape)], [node.outputs[0]])]
        # time comes back from the front, where a gate had put it: (T, rest) -> (1, ..., T, ...)
        self.count += 1
        front = f"{node.outputs[0]}.front{self.count}"
        rest = [size for i, size in enumerate(shape) if i != new]
        order = [*range(1, new + 1), 0, *range(new + 1, len(shape))]
        return [
            helper.make_node("Reshape", [node.inputs[0], self.const([-1, *rest])], [front]),
            helper.make_node("Transpose", [front], [node.outputs[0]], perm=order),
        ]

    def _gate(self, node: Node) -> list[onnx.NodeProto]:
        """A squeeze: the mean of each frame, or of the last n frames that exist (causal)."""
        source, x, out = self.facts[node.inputs[0]], node.inputs[0], node.outputs[0]
        time = ax.time_axis(source.axes) or 0
        reduced = sorted(reduce.reduced_axes_of(node, self.facts))
        space = [i for i in reduced if i != time]
        if not space:
            nodes = [helper.make_node("Identity", [x], [f"{out}.space"])]
        elif self.facts.graph.opset < 18:  # axes became an input in opset 18
            nodes = [helper.make_node("ReduceMean", [x], [f"{out}.space"], axes=space, keepdims=1)]
        else:
            nodes = [helper.make_node("ReduceMean", [x, self.const(space)], [f"{out}.space"], keepdims=1)]
        mean = f"{out}.space"
        if self.facts.options.se == "window":
            nodes += self._causal_mean(mean, f"{out}.window", source.frames, time, len(source.axes))
            mean = f"{out}.window"
        if ax.time_axis(self.facts[out].axes) is not None:
            nodes.append(helper.make_node("Identity", [mean], [out]))
        else:
            rest = [size for i, size in enumerate(source.clip_shape) if i not in reduced and i != 0]
            order = [time, *(i for i in range(len(source.axes)) if i != time)]
            nodes += [
                helper.make_node("Transpose", [mean], [f"{out}.front"], perm=order),
                helper.make_node("Reshape", [f"{out}.front", self.const([-1, *rest])], [out]),
            ]
        return nodes

    def _causal_mean(self, x: str, out: str, n: int, time: int, rank: int) -> list[onnx.NodeProto]:
        """The mean of the last n frames that exist: an average pool on (1, everything else, T) that counts no padding."""
        last = [i for i in range(rank) if i != time] + [time]
        return [
            helper.make_node("Transpose", [x], [f"{out}.last"], perm=last),
            helper.make_node("Shape", [f"{out}.last"], [f"{out}.shape"]),
            helper.make_node("Slice", [f"{out}.shape", self.const([-1]), self.const([_END])], [f"{out}.frames"]),
            helper.make_node("Concat", [self.const([1, -1]), f"{out}.frames"], [f"{out}.flat_shape"], axis=0),
            helper.make_node("Reshape", [f"{out}.last", f"{out}.flat_shape"], [f"{out}.flat"]),
            helper.make_node(
                "AveragePool", [f"{out}.flat"], [f"{out}.mean"], kernel_shape=[n], pads=[n - 1, 0], count_include_pad=0
            ),
            helper.make_node("Reshape", [f"{out}.mean", f"{out}.shape"], [f"{out}.apart"]),
            helper.make_node("Transpose", [f"{out}.apart"], [out], perm=[last.index(i) for i in range(rank)]),
        ]

    def _slice(self, proto: onnx.NodeProto, node: Node) -> list[onnx.NodeProto]:
        """Slices of time keep their distance to the end; other axes stay as they are."""
        source = self.facts[node.inputs[0]]
        time = ax.time_axis(source.axes)
        if node.op == "Slice":
            ranges = slicing.ranges(node, self.facts, source)
        elif node.op == "Split":
            axis, sizes = slicing.split(node, self.facts)
            starts = np.cumsum([0, *sizes]).tolist()
            if axis != time:
                return [proto]
            return [
                self._cut(node.inputs[0], out, [(axis, a, b, 1)], source.frames, time)
                for out, a, b in zip(node.outputs, starts, starts[1:], strict=False)
            ]
        else:
            axis, indices = slicing.indices(node, self.facts, source)
            if axis != time or indices.ndim == 0:
                return [proto]
            start, step = slicing.progression(node, indices)
            # evenly spaced up to the clip's end: go on to the video's end
            open_end = start + step * indices.size >= source.frames
            ranges = [(axis, start, source.frames if open_end else start + step * (indices.size - 1) + 1, step)]
        return [self._cut(node.inputs[0], node.outputs[0], ranges, source.frames, time)]

    def _cut(self, x: str, out: str, ranges: list[tuple[int, int, int, int]], frames: int, time: int | None) -> onnx.NodeProto:
        ends = [(_END if end >= frames else end - frames) if axis == time else end for axis, _, end, _ in ranges]
        columns = ([a for _, a, _, _ in ranges], ends, [a for a, _, _, _ in ranges], [s for _, _, _, s in ranges])
        return helper.make_node("Slice", [x, *map(self.const, columns)], [out])
