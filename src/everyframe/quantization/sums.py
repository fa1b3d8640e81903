"""Sums of convolutions over frames as one convolution, which adds integers.

Where a step network keeps past frames, a depthwise kernel over time is one convolution a frame, and their results are added.
Quantized like that, each result and each sum is rounded to a byte. One convolution over the frames, side by side on an axis of
time, adds in 32 bits and is rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import helper, numpy_helper

from everyframe.quantization.structure import CUTS, Structure, arrays, prepared

T = TypeVar("T")

_VOLUME = "::volume"  # of a tensor with an axis of time that has one frame
_KNOWN = {"kernel_shape", "group", "pads", "strides", "dilations"}

# N batch, C channels, k frames (taps), H W


@dataclass(frozen=True)
class _Sum:
    """convs: in the order of their frames. nodes: these and the additions, the last addition included. cuts: ReLU and Clip behind
    it, in order. shape: of a frame, (N, C, H, W).
    """

    convs: list[onnx.NodeProto]
    nodes: list[onnx.NodeProto]
    cuts: list[onnx.NodeProto]
    shape: tuple[int, ...]


def as_one(parts: Structure, where: object) -> onnx.ModelProto:
    """The model with one convolution in place of each sum of convolutions alike that compute in integers on frames of one scale.
    parts: of a model from `structure.prepared`. Equal to it up to the order in which floats are added.
    """
    model = onnx.ModelProto()
    model.CopyFrom(parts.model)
    weights, found = arrays(model), list(_sums(model.graph, parts))
    if not found:
        return model
    made = {each.nodes[-1].output[0]: _written(each, weights) for each in found}
    gone = {name for each in found for node in (*each.nodes, *each.cuts) for name in node.output}
    nodes = []
    for node in model.graph.node:
        nodes += made.get(node.output[0], ([], []))[0]
        if node.output[0] not in gone:
            nodes.append(node)
    kept = [_copy(node) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    read = {name for node in kept for name in node.input}
    tensors = [t for t in model.graph.initializer if t.name in read]
    tensors += [numpy_helper.from_array(array, name) for _, new in made.values() for name, array in new]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    del model.graph.value_info[:]
    return prepared(model, where)


def carried(parts: Structure, share: Mapping[str, str], of: Mapping[str, T]) -> dict[str, T]:
    """What was known of the groups of tensors before, for those of `parts`, of the model with sums as one. share: as it was."""
    return {
        group: of[share[known]] for x, group in parts.share.items()
        if (known := x.removesuffix(_VOLUME)) in share and share[known] in of
    }  # fmt: skip


def _sums(graph: onnx.GraphProto, parts: Structure) -> Iterator[_Sum]:
    """The largest first: an addition that is part of another one is not found by itself."""
    made = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto | None]] = {value.name: [None] for value in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    shapes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    weights, chosen, seen = arrays(parts.model), set(parts.nodes), set[str]()

    def addends(name: str) -> list[onnx.NodeProto] | None:
        """The nodes that make a tensor which nobody else reads, as sums of convolutions; the last one makes it."""
        node = made.get(name)
        if node is None or node.name not in chosen or node.op_type not in ("Conv", "Add") or len(readers[name]) != 1:
            return None
        return [node] if node.op_type == "Conv" else inside(node)

    def inside(add: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        left, right = (addends(name) for name in add.input)
        return [*left, *right, add] if left and right else None

    for node in reversed(graph.node):
        nodes = inside(node) if node.op_type == "Add" and node.name in chosen and node.name not in seen else None
        convs = [each for each in nodes or [] if each.op_type == "Conv"]
        if not nodes or not _alike(convs, weights, shapes, parts.share):
            continue
        seen |= {each.name for each in nodes}
        cuts: list[onnx.NodeProto] = []
        while cut := _cut(readers[(cuts or [node])[-1].output[0]], chosen):
            cuts.append(cut)
        yield _Sum(convs, nodes, cuts, shapes[convs[0].input[0]])


def _alike(
    convs: list[onnx.NodeProto],
    weights: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    share: Mapping[str, str],
) -> bool:
    """One kernel over several pictures, all of one known size and one scale."""
    frames = {conv.input[0] for conv in convs}
    kinds = {(str(_attributes(conv)), weights[conv.input[1]].shape) for conv in convs if conv.input[1] in weights}
    sizes, scales = {shapes.get(name, ()) for name in frames}, {share.get(name) for name in frames}
    known = all(name in weights for conv in convs for name in conv.input[1:]) and all(
        _attributes(conv).keys() <= _KNOWN for conv in convs
    )
    return (
        known
        and len(kinds) == len(sizes) == len(scales) == 1
        and len(frames) == len(convs)
        and all(len(s) == 4 and 0 not in s for s in sizes)
    )


def _cut(readers: list[onnx.NodeProto | None], chosen: set[str]) -> onnx.NodeProto | None:
    """The ReLU or Clip that alone reads a tensor."""
    node = readers[0] if len(readers) == 1 else None
    return node if node is not None and node.op_type in CUTS and node.name in chosen else None


def _attributes(conv: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in sorted(conv.attribute, key=lambda a: a.name)}


def _written(found: _Sum, weights: Mapping[str, np.ndarray]) -> tuple[list[onnx.NodeProto], list[tuple[str, np.ndarray]]]:
    """The nodes that take the sum's place, in order, and their constants.

    Frames are put side by side on the axis of height, then that axis is taken apart: an axis of time that each frame gets
    first would be one copy more for each of them (X3D-S on onnxruntime: 12.4 ms a step instead of 11.1).
    """
    convs, (n, c, h, w), last = found.convs, found.shape, found.nodes[-1]
    name, k = last.name, len(convs)
    kernel = np.stack([weights[conv.input[1]] for conv in convs], 2)  # (Cout, C/groups, k, kh, kw)
    biases = [weights[conv.input[2]] for conv in convs if len(conv.input) > 2 and conv.input[2]]
    frames, weight, bias, sides, time = (f"{name}::{part}" for part in ("frames", "weight", "bias", "sides", "time"))
    constants = [(weight, kernel), (sides, np.array([n, c, k, h, w], np.int64)), (time, np.array([2], np.int64))]
    constants += [(bias, np.stack(biases).sum(0))] if biases else []
    given = _attributes(convs[0])
    pads = list(given.get("pads", [0, 0, 0, 0]))
    attributes: dict[str, Any] = {
        "kernel_shape": kernel.shape[2:], "group": given.get("group", 1), "pads": [0, *pads[:2], 0, *pads[2:]],
        "strides": [1, *given.get("strides", [1, 1])], "dilations": [1, *given.get("dilations", [1, 1])],
    }  # fmt: skip
    ends = [last, *found.cuts]
    made = [
        helper.make_node("Concat", [conv.input[0] for conv in convs], [f"{frames}:tall"], f"{frames}:tall", axis=2),
        helper.make_node("Reshape", [f"{frames}:tall", sides], [frames], frames),
        helper.make_node("Conv", [frames, weight, *[bias] * bool(biases)], [f"{last.output[0]}{_VOLUME}"], name, **attributes),
    ]
    for before, node in zip(ends, found.cuts, strict=False):
        cut = _copy(node)
        cut.input[0], cut.output[0] = f"{before.output[0]}{_VOLUME}", f"{node.output[0]}{_VOLUME}"
        made.append(cut)
    made.append(helper.make_node("Squeeze", [f"{ends[-1].output[0]}{_VOLUME}", time], [ends[-1].output[0]], f"{name}::frame"))
    return made, constants


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    return made
