"""The clip network on a longer video: the reference that a step network is compared with.

Weights and operators stay; only what bakes the clip length in is rewritten (reshapes, slice ends, means over time used as
gates). The network is cut where time ends (heads, flattens): those wires are the outputs, and `tail` is what follows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from everyframe.conversion import axes as ax
from everyframe.conversion.any_length import END, Writer
from everyframe.conversion.counting import numbers
from everyframe.conversion.facts import Facts
from everyframe.conversion.rules import concat, pointwise, pool, reduce, slicing, stacked
from everyframe.modelfile.graph import Node

_SIZED = {"Expand": 1, "Tile": 1, "Resize": 3}  # operators with sizes or repeats, and which of their inputs says them


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
    for value in body.graph.input:
        fact = facts[value.name]
        if not fact.static:
            time = ax.time_axis(fact.axes)
            value.type.tensor_type.shape.dim[time].dim_value = frames // int(fact.spacing)
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
    if (
        not timed
        or facts[timed[0]].pooled
        or (node.op in reduce.KINDS and node.op not in reduce.POOLS and reduce.is_gate(node, facts))
    ):
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
    read += [name for name in facts.graph.inputs if name in wanted and name not in read]  # those without frames
    del tail.graph.node[:], tail.graph.input[:], tail.graph.output[:], tail.graph.value_info[:]
    tail.graph.node.extend(kept[::-1])
    tail.graph.input.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, facts.graph.shapes[n]) for n in read)
    tail.graph.output.extend(value for value in clip.graph.output if value.name == output)
    return tail


def _framed(node: Node, facts: Facts) -> str:
    """The first input of a node that has frames."""
    timed = facts.timed(node)
    return next((name for name in timed if not facts[name].static), timed[0])


class _Rewriter(Writer):
    """Rewrites single nodes for another clip length. A wire whose time lost its axis in a gate is kept as (T, ...)."""

    def rewrite(self, proto: onnx.NodeProto, node: Node) -> list[onnx.NodeProto]:
        facts = self.facts
        if facts[node.outputs[0]].static:
            return self._without_frames(proto, node)
        if node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            return self._reshape(node)
        if node.op in reduce.KINDS and reduce.collapses_time(node, facts) and reduce.is_gate(node, facts):
            return self._gate(node)
        if node.op in ("Slice", "Split", "Gather"):
            return self._slice(proto, node)
        if node.op == "Resize" and node.input(3):
            return self._resize(proto, node)
        if node.op in _SIZED:
            return self._sized(proto, node)
        if node.op in ("Conv", "Gemm", "MatMul") and (found := stacked.stack(node, facts)) is not None:
            return self._windowed(node, found)
        if node.op == "Concat" and node.attr("axis") % len(facts[node.outputs[0]].axes) == ax.time_axis(
            facts[node.outputs[0]].axes
        ):
            return self._joined(proto, node)
        copy, before = onnx.NodeProto(), []
        copy.CopyFrom(proto)
        axes = facts[node.outputs[0]].axes
        if node.attr("ceil_mode") and not pool.needs_ceil(node, facts):
            next(a for a in copy.attribute if a.name == "ceil_mode").i = 0
        for i, name in enumerate(node.inputs):  # a constant repeated for every frame of the clip
            array = facts.graph.constant(name)
            time = ax.time_axis(axes)
            if time is not None and (counted := numbers(node.op, array, axes)) is not None:
                made, nodes = self.counted(counted, _framed(node, facts), time, len(axes))
                copy.input[i] = made
                before += nodes
            elif (
                array is not None
                and time is not None
                and array.ndim == len(axes)
                and array.shape[time] > 1
                and node.op in pointwise.NONNEGATIVE
            ):
                copy.input[i] = self.const(array.take([0], axis=time), array.dtype.type)
            elif array is not None and time is not None and node.op == "Concat" and node.attr("axis") % len(axes) != time:
                made, nodes = self.as_long(array.take([0], axis=time), _framed(node, facts), time)
                copy.input[i] = made
                before += nodes
            elif name in facts.table and facts[name].static and time is not None and node.op == "Concat" and len(axes) > 1:
                made, nodes = self.as_long(name, _framed(node, facts), time)
                copy.input[i] = made
                before += nodes
        return [*before, copy]

    def _without_frames(self, proto: onnx.NodeProto, node: Node) -> list[onnx.NodeProto]:
        """What is not computed from frames is not repeated for them."""
        if node.op in ("Expand", "Tile", "Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            axes, repeats = self.facts[node.outputs[0]].axes, node.op in ("Expand", "Tile")
            once = [int(np.prod([atom.size for atom in axis if atom.kind != "="])) for axis in axes]
            if not repeats or once != list(self.facts.graph.shapes[node.outputs[0]]):
                return [helper.make_node("Reshape", [node.inputs[0], self.const(once)], [node.outputs[0]])]
        return [proto]

    def _joined(self, proto: onnx.NodeProto, node: Node) -> list[onnx.NodeProto]:
        """A Concat over time: as many frames before and behind the wire that goes on as in the clip."""
        found, out, nodes = concat.pieces(node, self.facts), node.outputs[0], []
        copy = onnx.NodeProto()
        copy.CopyFrom(proto)
        time = node.attr("axis") % len(self.facts[out].axes)
        behind = len(node.inputs) - len(found.behind)
        for i, piece in enumerate((*found.before, found.main, *found.behind)):
            if piece.name not in self.facts.table or piece == found.main:
                continue
            copy.input[i] = f"{out}.piece{i}"
            start, end = (0, piece.frames) if i < behind else (-piece.frames, END)
            nodes.append(self.sliced(piece.name, f"{copy.input[i]}.cut", [start], [end], [time], [1]))
            zeros = [f"{copy.input[i]}.cut"] * 2
            kept = helper.make_node("Identity", zeros[:1], [copy.input[i]])
            nodes.append(kept if piece.value is None else helper.make_node("Sub", zeros, [copy.input[i]]))
        return [*nodes, copy]

    def _windowed(self, node: Node, found: stacked.Stack) -> list[onnx.NodeProto]:
        """A layer over all frames of the clip: a convolution over time, whose frames lie in front, (1, ...) -> (T, ...)."""
        self.count += 1
        source, out = self.facts[node.inputs[0]], node.outputs[0]
        name, shape, conv = f"{out}.windowed{self.count}", list(source.clip_shape), node.op == "Conv"
        inner = shape[2:] if conv else []  # (1, C * T, H, W), or (1, ..., C * T): what stands between is a batch
        rows = [1] if conv else [int(np.prod(shape[:-1]))]
        taps = np.moveaxis(stacked.weights(node, self.facts, found), 0, 2)  # (O, C, T, kernel...)
        attrs = {key: value for key, value in node.attrs.items() if conv and key in ("strides", "pads", "dilations")}
        dims = len(inner)
        pads = attrs.get("pads", [0] * 2 * dims)
        full: dict[str, Any] = {key: [1, *attrs.get(key, [1] * dims)] for key in ("strides", "dilations")}
        full["pads"] = [0, *pads[:dims], 0, *pads[dims:]]
        weight = self.const(taps * np.float32(node.attr("alpha", 1.0)), np.float32)
        bias = self.facts.graph.constant(node.input(2)) if node.input(2) else None
        made = self.facts.graph.shapes[out]
        after = [-1, *made[1:]]
        nodes = [
            helper.make_node(
                "Reshape", [node.inputs[0], self.const([*rows, found.before, -1, found.behind, *inner])], [f"{name}.apart"]
            ),
            helper.make_node("Transpose", [f"{name}.apart"], [f"{name}.last"], perm=[0, 1, 3, 2, *range(4, 4 + dims)]),
            helper.make_node(
                "Reshape", [f"{name}.last", self.const([*rows, found.before * found.behind, -1, *inner])], [f"{name}.clip"]
            ),
            helper.make_node("Conv", [f"{name}.clip", weight], [f"{name}.conv"], **full),
            helper.make_node("Transpose", [f"{name}.conv"], [f"{name}.front"], perm=[2, 0, 1, *range(3, 3 + dims)]),
        ]
        if bias is None:
            return [*nodes, helper.make_node("Reshape", [f"{name}.front", self.const(after)], [out])]
        shaped = (bias * np.float32(node.attr("beta", 1.0))).reshape((-1, *[1] * dims) if conv else (-1,))
        nodes.append(helper.make_node("Reshape", [f"{name}.front", self.const(after)], [f"{name}.bare"]))
        return [*nodes, helper.make_node("Add", [f"{name}.bare", self.const(shaped, np.float32)], [out])]

    def _sized(self, proto: onnx.NodeProto, node: Node) -> list[onnx.NodeProto]:
        """Operators whose sizes or repeats are constants: along time they leave the frames as they are."""
        copy, i = onnx.NodeProto(), _SIZED[node.op]
        copy.CopyFrom(proto)
        given, time = self.facts.graph.constant(node.input(i)), ax.time_axis(self.facts[node.outputs[0]].axes)
        if given is None or time is None or node.attr("axes"):
            return [copy]
        sizes = np.array(given)
        if node.op != "Resize":  # 1 leaves it alone
            sizes[time - len(self.facts[node.outputs[0]].axes)] = 1
            copy.input[i] = self.const(sizes, sizes.dtype.type)
            return [copy]
        self.count += 1
        name = f"{node.outputs[0]}.sizes{self.count}"
        copy.input[i] = f"{name}.full"
        return [
            helper.make_node("Shape", [node.inputs[0]], [f"{name}.shape"]),
            self.sliced(f"{name}.shape", f"{name}.frames", [time], [time + 1], [0], [1]),
            helper.make_node(
                "Concat", [self.const(sizes[:time]), f"{name}.frames", self.const(sizes[time + 1 :])], [f"{name}.full"], axis=0
            ),
            copy,
        ]

    def _reshape(self, node: Node) -> list[onnx.NodeProto]:
        before, after = self.facts[node.inputs[0]].axes, self.facts[node.outputs[0]].axes
        old, new = ax.time_axis(before), ax.time_axis(after)
        shape = list(ax.shape_of(after))
        if new is None and old is not None:  # a gate: its time goes to the front, (1, ..., T, ...) -> (T, rest)
            self.count += 1
            front = f"{node.outputs[0]}.front{self.count}"
            order = [old, *(i for i in range(len(before)) if i != old)]
            shape[0] = -1
            return [
                helper.make_node("Transpose", [node.inputs[0]], [front], perm=order),
                helper.make_node("Reshape", [front, self.const(shape)], [node.outputs[0]]),
            ]
        if new is None:
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
        kind = reduce.KINDS[node.op]
        if not space:
            nodes = [helper.make_node("Identity", [x], [f"{out}.space"])]
        elif self.facts.graph.opset < (13 if kind.space == "ReduceSum" else 18):  # axes became an input then
            nodes = [helper.make_node(kind.space, [x], [f"{out}.space"], axes=space, keepdims=1)]
        else:
            nodes = [helper.make_node(kind.space, [x, self.const(space)], [f"{out}.space"], keepdims=1)]
        mean = f"{out}.space"
        again = reduce.is_collapsed(node, self.facts)
        if self.facts.options.se == "window" and not again:
            nodes += self.causal(kind, mean, f"{out}.window", source.frames, time, len(source.axes))
            mean = f"{out}.window"
        if kind.time == "sum" and not again:
            nodes.append(helper.make_node("Mul", [mean, self.const(source.frames, np.float32)], [f"{out}.times"]))
            mean = f"{out}.times"
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

    def _resize(self, proto: onnx.NodeProto, node: Node) -> list[onnx.NodeProto]:
        """Sizes that follow the number of frames, in the same proportion."""
        source, name = self.facts[node.inputs[0]], f"{node.outputs[0]}.sizes"
        time = ax.time_axis(source.axes)
        axes = [int(a) % len(source.axes) for a in node.attr("axes") or range(len(source.axes))]
        if time not in axes:
            return [proto]
        sizes, i = list(self.facts.graph.constants[node.input(3)]), axes.index(time)
        grown = self.const([int(sizes[i]) // source.frames])
        copy = onnx.NodeProto()
        copy.CopyFrom(proto)
        copy.input[3] = name
        return [
            helper.make_node("Shape", [node.inputs[0]], [f"{name}.shape"]),
            helper.make_node("Slice", [f"{name}.shape", self.const([time]), self.const([time + 1])], [f"{name}.frames"]),
            helper.make_node("Mul", [f"{name}.frames", grown], [f"{name}.grown"]),
            helper.make_node("Concat", [self.const(sizes[:i]), f"{name}.grown", self.const(sizes[i + 1 :])], [name], axis=0),
            copy,
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
        ends = [(END if end >= frames else end - frames) if axis == time else end for axis, _, end, _ in ranges]
        starts, axes, steps = [a for _, a, _, _ in ranges], [a for a, _, _, _ in ranges], [s for _, _, _, s in ranges]
        return self.sliced(x, out, starts, ends, axes, steps)
