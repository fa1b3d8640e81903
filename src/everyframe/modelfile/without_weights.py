"""Models without the values of their weights: shapes and operators can be looked at and changed without copying them about."""

from __future__ import annotations

from math import prod

import onnx

#: constants of more values than this are weights; others may be shapes and axes, and are kept
SMALL = 256


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the values of its weights, which is quick to look at and to change; `with_weights` puts them back."""
    bare = onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions,
        producer_name=model.producer_name, producer_version=model.producer_version, metadata_props=model.metadata_props,
        graph=onnx.GraphProto(
            name=model.graph.name, node=model.graph.node, input=model.graph.input, output=model.graph.output,
            value_info=model.graph.value_info,
        ),
    )  # fmt: skip
    for tensor in model.graph.initializer:
        small = prod(tensor.dims) <= SMALL
        empty = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        bare.graph.initializer.append(tensor if small else empty)
    return bare


def with_weights(bare: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of what became of a `without_weights` model, with the weights of `source`."""
    whole, weights = onnx.ModelProto(), {tensor.name: tensor for tensor in source.graph.initializer}
    whole.CopyFrom(bare)
    for tensor in whole.graph.initializer:
        if prod(tensor.dims) > SMALL and tensor.name in weights:
            tensor.CopyFrom(weights[tensor.name])
    return whole
