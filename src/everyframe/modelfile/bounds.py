"""Is a file a network at all, of a size that can be worked with? Asked when it is read, before anything leans on its numbers.

A number of a hostile or damaged file costs nothing to write and everything to follow: a dilation of 10^9 frames, a picture of
100,000 x 100,000. Looked at are numbers alone, so this takes milliseconds and no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from math import prod

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from everyframe.errors import ModelError, first_line
from everyframe.modelfile.without_weights import without_weights

LARGEST = 2**30  # values of one tensor: 4 GiB of floats
FARTHEST = 2**16  # frames or positions that one attribute may span
NEWEST = 1000  # no opset is as new as that
MOST_NODES = 2**17  # of a network, its functions written out
#: attribute -> what its values have to be
_RULES: dict[str, tuple[str, Callable[[int], bool]]] = {
    "strides": (f"1 to {FARTHEST}", lambda v: 1 <= v <= FARTHEST),
    "dilations": (f"1 to {FARTHEST}", lambda v: 1 <= v <= FARTHEST),
    "kernel_shape": (f"1 to {FARTHEST}", lambda v: 1 <= v <= FARTHEST),
    "pads": (f"up to {FARTHEST}", lambda v: abs(v) <= FARTHEST),
    "output_padding": (f"0 to {FARTHEST}", lambda v: 0 <= v <= FARTHEST),
    "group": ("1 or more", lambda v: v >= 1),
    "blocksize": ("1 or more", lambda v: v >= 1),
    "num_scan_inputs": ("1 to 256", lambda v: 1 <= v <= 256),
    "hidden_size": (f"1 to {LARGEST}", lambda v: 1 <= v <= LARGEST),
}
_CONTRADICTION = "dimension have values but they differ"  # what else inference cannot do, onnxruntime may
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}


def check_count(model: onnx.ModelProto, where: object) -> None:
    """Before anything goes through all nodes, as what reads weights beside the file does. Raises ModelError."""
    if (count := len(model.graph.node)) > MOST_NODES:
        raise _bad(where, "The network has too many nodes.", f"up to {MOST_NODES:,}", f"{count:,}")


def check_bounds(model: onnx.ModelProto, where: object) -> None:
    """Raises ModelError naming the first tensor or node that no network could have."""
    graph = model.graph
    check_count(model, where)
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not opsets or not 1 <= opsets[0] <= NEWEST:
        raise _bad(
            where, "The file does not say which operators it uses.", f"an opset of ONNX's own, 1 to {NEWEST}", opsets or "none"
        )
    for value in graph.input:
        _check_dims(value.name, value, f"{where}, input {value.name!r}", least=1)
    for tensor in graph.initializer:
        _check_weight(tensor, f"{where}, tensor {tensor.name!r}")
    for i, node in enumerate(graph.node):
        _check_attributes(node, _at(where, graph, i))
    if wrong := function_fault(model):
        raise _bad(where, "The network's functions cannot be written out.", f"up to {MOST_NODES:,} nodes, no circle", wrong)
    _check_order(graph, where)
    _check_shapes(model, where)
    check_finite(model, where)


def _bad(where: object, what: str, expected: object, got: object) -> ModelError:
    hint = "the file is damaged, or was not made by an exporter: export the network again"
    return ModelError(what, where=where, expected=expected, got=got, hint=hint)


def _at(where: object, graph: onnx.GraphProto, i: int) -> str:
    node = graph.node[i]
    return f"{where}, node {node.name or node.op_type!r} ({node.op_type}, {i + 1} of {len(graph.node)})"


def _check_dims(name: str, value: onnx.ValueInfoProto, where: str, least: int) -> None:
    if value.type.tensor_type.elem_type not in onnx.TensorProto.DataType.values():
        raise _bad(where, "A tensor has a type that is not known.", "a type of ONNX", value.type.tensor_type.elem_type)
    dims = [d.dim_value if d.HasField("dim_value") else 1 for d in value.type.tensor_type.shape.dim]
    if any(d < least for d in dims):
        raise _bad(where, "A tensor has an impossible shape.", f"{least} or more along every axis", f"{name!r} of {tuple(dims)}")
    if prod(dims) > LARGEST:
        raise _bad(where, "A tensor is too large to work with.", f"up to {LARGEST:,} values", f"{name!r} of {tuple(dims)}")


def _check_weight(tensor: onnx.TensorProto, where: str) -> None:
    if any(d < 0 for d in tensor.dims) or prod(tensor.dims) > LARGEST:
        raise _bad(where, "A weight tensor has an impossible shape.", f"up to {LARGEST:,} values", tuple(tensor.dims))
    try:
        numpy_helper.to_array(tensor)
    except Exception as error:  # numpy's and onnx's own, by what is wrong
        raise _bad(where, "A weight tensor cannot be read.", f"the values of {tuple(tensor.dims)}", first_line(error)) from None


def check_finite(model: onnx.ModelProto, where: object) -> None:
    """Raises ModelError for NaN in any weight, or an infinity in one with more than one value (a lone one may be a mask)."""
    constants = ((node.output[0], a.t) for node in model.graph.node if node.op_type == "Constant" for a in node.attribute)
    for name, tensor in (*((t.name, t) for t in model.graph.initializer), *constants):
        if tensor.data_type not in _FLOATS:
            continue
        values = numpy_helper.to_array(tensor)
        finite = np.isfinite(values)
        if finite.all() or (values.size == 1 and not np.isnan(values).any()):
            continue
        raise ModelError(
            "The model's weights are not finite.",
            where=f"{where}, tensor {name}",
            got=f"{int((~finite).sum())} of {values.size} values are NaN or infinite",
            hint="the training diverged or the file is damaged: use an earlier checkpoint",
        )


def function_fault(model: onnx.ModelProto) -> str | None:
    """Why the model's functions come to no end, or to too many nodes; None if they do not."""
    used = {(f.domain, f.name): list(_operators(f.node)) for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    try:
        for key in TopologicalSorter(used).static_order():
            sizes[key] = sum(sizes[op] for op in used[key]) if key in used else 1
    except CycleError as error:
        return f"{error.args[1][0][1]!r} uses itself"
    whole = sum(sizes.get(op, 1) for op in _operators(model.graph.node))
    return f"{whole:,} nodes" if whole > MOST_NODES else None


def _operators(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, str]]:
    """(domain, operator) of nodes and of those in their graphs."""
    for node in nodes:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            yield from _operators(attribute.g.node)


def attribute_fault(node: onnx.NodeProto) -> str | None:
    """An attribute that is given twice, or is of another type than ONNX says."""
    names = [attribute.name for attribute in node.attribute]
    if twice := [name for name in names if names.count(name) > 1]:
        return f"{twice[0]} is given twice"
    known = node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type)
    declared = onnx.defs.get_schema(node.op_type).attributes if known else {}
    for attribute in node.attribute:
        expected = declared.get(attribute.name)
        wanted = int(expected.type) if expected else 0  # type: ignore[call-overload]
        if wanted and attribute.type not in (0, wanted) and not attribute.ref_attr_name:
            kinds = [onnx.AttributeProto.AttributeType.Name(kind) for kind in (wanted, attribute.type)]
            return f"{attribute.name} is {kinds[1]} instead of {kinds[0]}"
    return None


def _check_attributes(node: onnx.NodeProto, where: str) -> None:
    if wrong := attribute_fault(node):
        raise _bad(where, "A node has an impossible attribute.", "one of ONNX's type", wrong)
    for attribute in node.attribute:
        expected, holds = _RULES.get(attribute.name, ("", None))
        values = list(attribute.ints) or ([attribute.i] if attribute.type == onnx.AttributeProto.INT else [])
        if holds is not None and not all(map(holds, values)):
            raise _bad(where, f"A node has impossible {attribute.name}.", expected, values)
        for inner in attribute.g.node:
            _check_attributes(inner, where)


def _check_order(graph: onnx.GraphProto, where: object) -> None:
    """Every tensor is made once, from what was made before: a circle never ends."""
    known = {value.name for value in graph.input} | {t.name for t in graph.initializer} | {""}
    known |= {t.values.name for t in graph.sparse_initializer}
    names = [t.name for t in graph.initializer]
    if len(names) > len({*names}):
        twice = next(name for name in names if names.count(name) > 1)
        raise _bad(f"{where}, tensor {twice!r}", "A weight tensor is there twice.", "one for each name", names.count(twice))
    makers: dict[str, int] = {}
    for i, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in makers or name in known:
                raise _bad(_at(where, graph, i), "A tensor is made twice.", "one node for each tensor", repr(name))
            makers[name] = i
    for i, node in enumerate(graph.node):
        if missing := [name for name in _read(node) if name not in known and name not in makers]:
            raise _bad(_at(where, graph, i), "A node reads a tensor that nothing makes.", "inputs, weights, outputs", missing[0])
    for value in graph.output:
        if value.name not in known and value.name not in makers:
            raise _bad(where, "Nothing makes an output of the network.", "a node that does", repr(value.name))
    left = {i: {makers[name] for name in _read(node) if name in makers} for i, node in enumerate(graph.node)}
    while left:
        waiting = len(left)
        for i in list(left):  # files are mostly in order, then once is enough
            if not left[i] & left.keys():
                del left[i]
        if len(left) == waiting:
            where = _at(where, graph, _in_circle(left))
            raise _bad(where, "Nodes read each other in a circle.", "an order of computation", f"{waiting} nodes that wait")


def _in_circle(needs: dict[int, set[int]]) -> int:
    """A node of a circle: from any node that waits, back to the first that comes again."""
    i, seen = min(needs), set()
    while i not in seen:
        seen.add(i)
        i = min(needs[i] & needs.keys())
    return i


def _read(node: onnx.NodeProto) -> Iterator[str]:
    return (name for name in node.input if name)


def _check_shapes(model: onnx.ModelProto, where: object) -> None:
    bare = without_weights(model)
    try:
        inferred = shape_inference.infer_shapes(bare, data_prop=True)
    except Exception as error:
        raise _bad(where, "The shapes in the network cannot be followed.", "shapes that fit", first_line(error)) from None
    _check_contradictions(bare, where)
    makers = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        i = makers.get(value.name)
        _check_dims(value.name, value, str(where) if i is None else _at(where, model.graph, i), least=0)


def _check_contradictions(bare: onnx.ModelProto, where: object) -> None:
    """Inputs and outputs that say another shape than the nodes between them. Inference is one off for pools with ceil_mode."""
    if any(a.name == "ceil_mode" and a.i for node in bare.graph.node for a in node.attribute):
        return
    del bare.graph.value_info[:]
    try:
        shape_inference.infer_shapes(bare, strict_mode=True)
    except Exception as error:
        if _CONTRADICTION in str(error):
            raise _bad(where, "The shapes in the network contradict each other.", "shapes that fit", first_line(error)) from None
