"""Is it a model that anything can run? What no runtime takes fits no device, whatever the device's profile says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from everyframe.devices.check import Finding
from everyframe.modelfile.bounds import attribute_fault, function_fault
from everyframe.modelfile.without_weights import without_weights

#: values of a tensor, above which nothing has memory for it
_MOST = 1 << 32
_STANDARD = "the ONNX standard"
#: attributes, and the least value that makes sense
_LEAST = (("strides", 1), ("dilations", 1), ("kernel_shape", 1), ("group", 1))
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def faults(model: onnx.ModelProto) -> tuple[Finding, ...]:
    """Why nothing runs the model, the first of each kind; () if nothing was found."""
    found: dict[str, Finding] = {}
    if wrong := function_fault(model):  # nothing that follows functions comes to an end
        return (_finding("", "", f"its functions cannot be written out: {wrong}"),)
    for finding in (*_order(model), *_attributes(model), *_weights(model), *_sizes(model)):
        found.setdefault(finding.why, finding)
    return tuple(found.values())


def _finding(node: str, op: str, why: str, place: str = "", origin: str = _STANDARD) -> Finding:
    return Finding("model", op, node, place, why, origin)


def _order(model: onnx.ModelProto) -> Iterator[Finding]:
    """Nodes that read what is made later, or nowhere."""
    graph = model.graph
    known = {"", *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    later = {name for node in graph.node for name in node.output}
    for name, count in Counter(tensor.name for tensor in graph.initializer).items():
        if count > 1:
            yield _finding(name, "", f"{count} weights have this name")
    for number, node in enumerate(graph.node, 1):
        for name in set(node.input) - known:
            why = f"it reads {name!r}, which is made behind it" if name in later else f"it reads {name!r}, which nothing makes"
            yield _finding(node.name or node.output[0], node.op_type, why, f"{number} of {len(graph.node)}")
        known.update(node.output)
    for value in graph.output:
        if value.name not in known:
            yield _finding(value.name, "", "nothing makes this output")


def _attributes(model: onnx.ModelProto) -> Iterator[Finding]:
    for number, node in enumerate(model.graph.node, 1):
        if wrong := attribute_fault(node):
            yield _finding(node.name or node.output[0], node.op_type, wrong, f"{number} of {len(model.graph.node)}")
        for attribute in node.attribute:
            given = np.atleast_1d(np.asarray(attribute.ints or attribute.i))
            for name, least in _LEAST:
                if attribute.name == name and (given < least).any():
                    why = f"{node.op_type} with {name} {'x'.join(map(str, given))}"
                    yield _finding(node.name or node.output[0], node.op_type, why, f"{number} of {len(model.graph.node)}")


def _weights(model: onnx.ModelProto) -> Iterator[Finding]:
    """A lone infinity may be a mask."""
    for tensor in model.graph.initializer:
        if tensor.data_type in _FLOATS and not tensor.external_data:
            values = numpy_helper.to_array(tensor)
            bad = int((~np.isfinite(values)).sum())
            if bad and (values.size > 1 or np.isnan(values).any()):
                why = f"{bad} of {values.size} weights are NaN or infinite"
                yield _finding(tensor.name, "", why, origin="the model's own weights")


def _sizes(model: onnx.ModelProto) -> Iterator[Finding]:
    """Tensors of impossible sizes, as far as shape inference gets."""
    bare = without_weights(model)
    try:
        inferred = shape_inference.infer_shapes(bare, data_prop=True)
    except Exception as error:  # onnx raises its own private types
        yield _finding("", "", str(error).splitlines()[0])
        return
    ops = {name: node.op_type for node in model.graph.node for name in node.output}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        if min(sizes, default=0) < 0 or prod(sizes) > _MOST:
            shown = "x".join(map(str, sizes))
            what = "a negative size" if min(sizes) < 0 else f"{prod(sizes):.1e} values, more than any runtime takes"
            yield _finding(value.name, ops.get(value.name, ""), f"{shown}: {what}")
