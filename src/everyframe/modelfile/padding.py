"""Padding that a network does not say (`auto_pad`), written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper, shape_inference

from everyframe.modelfile.without_weights import without_weights

_SAME = (b"SAME_UPPER", b"SAME_LOWER")
_WINDOWS = frozenset(("Conv", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "LpPool"))
_WEIGHT = {"QLinearConv": 3}  # which input is the kernel; of others the second


Ints = Sequence[int]


def same(how: str | bytes, sizes: Ints, kernel: Ints, strides: Ints, dilations: Ints) -> list[int]:
    """ONNX pads (begins, then ends) over `sizes` for auto_pad SAME_UPPER or SAME_LOWER: a result at each place of the strides."""
    total = [
        max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n) for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return more + less if how in ("SAME_LOWER", b"SAME_LOWER") else less + more


def written_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model; a copy with explicit pads where one of its dilated windows has `auto_pad`, which onnxruntime refuses.

    Those with strides need static shapes in front of them, and stay as they are without.
    """
    if not any(_dilated(node) for node in model.graph.node):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    weights = {tensor.name: list(tensor.dims) for tensor in made.graph.initializer}
    shapes: dict[str, list[int]] | None = None
    for node in made.graph.node:
        if not _dilated(node):
            continue
        attrs = _attrs(node)
        kernel = attrs.get("kernel_shape") or weights.get(node.input[_WEIGHT.get(node.op_type, 1)], [])[2:]
        strides = attrs.get("strides") or [1] * len(kernel)
        sizes: Ints = [1] * len(kernel)  # what is padded does not depend on them
        if any(stride > 1 for stride in strides):
            shapes = _shapes(made) if shapes is None else shapes
            sizes = shapes.get(node.input[0], [])[2:]
        if kernel and len(sizes) == len(kernel) and min(sizes) > 0:
            pads = same(attrs["auto_pad"], sizes, kernel, strides, attrs["dilations"])
            kept = [attribute for attribute in node.attribute if attribute.name not in ("auto_pad", "pads")]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("pads", pads)])
    return made


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """What is known of them; 0 for an open dimension."""
    graph = shape_inference.infer_shapes(without_weights(model), data_prop=True).graph
    values = (*graph.input, *graph.value_info)
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}


def _attrs(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _dilated(node: onnx.NodeProto) -> bool:
    if node.op_type not in _WINDOWS or not any(attribute.name == "auto_pad" for attribute in node.attribute):
        return False
    attrs = _attrs(node)
    return attrs["auto_pad"] in _SAME and any(n > 1 for n in attrs.get("dilations") or ())
