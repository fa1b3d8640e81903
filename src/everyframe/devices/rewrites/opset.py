"""An older opset: what a model's operators were called, and how they took their arguments, before.

An operator whose definition is the same in both opsets, or only takes more types in the newer one, stays. For the others a
table says what to write instead; what has no row there is refused by name. `onnx.version_converter` knows fewer of these ways
down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe.devices.nodes import Node, view
from everyframe.devices.rewrites import activations
from everyframe.devices.rewrites.edit import Build, Part, exchanged
from everyframe.errors import ModelError
from everyframe.modelfile.session import session


@dataclass(frozen=True)
class Down:
    """below: the opset from which on the operator is as newer models write it. make: what stands for it in older ones."""

    below: int
    make: Callable[[Node, Part, int], str | None]


def _again(node: Node, part: Part, inputs: list[str], drop: tuple[str, ...] = (), **attrs: Any) -> str:
    kept = {name: value for name, value in node.attrs.items() if name not in (*drop, *attrs)}
    if part.opset < 11:  # axes were counted from the front only
        rank = len(node.shapes[0] or ()) + (len(attrs.get("axes") or ()) if node.op == "Unsqueeze" else 0)
        for given in (kept, attrs):
            given |= {name: _from_front(given[name], rank) for name in ("axis", "axes") if given.get(name) is not None and rank}
    return part.emit(node.op, *inputs, **kept, **{name: value for name, value in attrs.items() if value is not None})


def _axes_as_attribute(node: Node, part: Part, target: int) -> str | None:
    """Axes were an attribute."""
    if len(node.proto.input) > 1 and node.proto.input[1] and 1 not in node.constants:
        return None
    drop = ("noop_with_empty_axes",)
    if node.op in ("Squeeze", "Unsqueeze"):
        axes = node.constants[1].tolist() if 1 in node.constants else None
    else:
        axes = list(node.axes or ())
        if node.axes == () and node.shapes[0] != ():  # of nothing, and not of all
            return part.emit("Identity", node.proto.input[0])
    return _again(node, part, [node.proto.input[0]], drop, axes=axes or None)


def _pad(node: Node, part: Part, target: int) -> str | None:
    """Pads of all axes, in front and behind; before opset 11 as attributes."""
    inputs = list(node.proto.input)
    if 1 not in node.constants or not node.shapes[0]:
        return None
    pads, rank = node.constants[1].tolist(), len(node.shapes[0])
    if len(inputs) > 3 and inputs[3]:
        axes = [int(axis) % rank for axis in node.constants[3]]
        full = [0] * (2 * rank)
        for k, axis in enumerate(axes):
            full[axis], full[rank + axis] = pads[k], pads[len(axes) + k]
        pads = full
    if target >= 11:
        return _again(node, part, [inputs[0], part.ints(pads), *(inputs[2:3] if len(inputs) > 2 else ())])
    value = float(node.constants[2].ravel()[0]) if len(inputs) > 2 and 2 in node.constants else 0.0
    return _again(node, part, inputs[:1], pads=pads, value=value)


def _split(node: Node, part: Part, target: int) -> str | None:
    """Sizes were an attribute, and equal ones could not be left to be counted."""
    axis, shape = node.attribute("axis"), node.shapes[0]
    if len(node.proto.input) > 1 and node.proto.input[1]:
        sizes = node.constants[1].tolist() if 1 in node.constants else None
    elif shape and shape[axis]:
        count = len(node.proto.output)
        each = -(-shape[axis] // count)
        sizes = [min(each, shape[axis] - k * each) for k in range(count)]
    else:
        sizes = None
    if sizes is None:
        return None
    inputs = [node.proto.input[0], *([part.ints(sizes)] if target >= 13 else [])]
    return _again(node, part, inputs, ("num_outputs",), split=None if target >= 13 else sizes)


def _softmax(node: Node, part: Part, target: int) -> str | None:
    """It flattened the axes behind its own, which is the same only over the last axis."""
    rank = len(node.shapes[0] or ())
    axis = node.attribute("axis") % rank if rank else -1
    return _again(node, part, list(node.proto.input), axis=axis) if axis == rank - 1 else None


def _extreme(node: Node, part: Part, target: int) -> str | None:
    """Min and Max of whole numbers, as a choice."""
    a, *rest = node.proto.input
    for b in rest:
        a = part.emit("Where", part.emit("Less", *((a, b) if node.op == "Min" else (b, a))), a, b)
    return a


def _compared(node: Node, part: Part, target: int) -> str | None:
    opposite = {"GreaterOrEqual": "Less", "LessOrEqual": "Greater"}[node.op]
    return part.emit("Not", part.emit(opposite, *node.proto.input))


def _activation(node: Node, part: Part, target: int) -> str | None:
    return activations.gated(node, part)


def _resize(node: Node, part: Part, target: int) -> str | None:
    """Regions and scales had to be given, if only as empty tensors; before opset 11 it is another operator."""
    inputs = [*node.proto.input, "", "", ""][:4]
    if target < 11 or node.attribute("keep_aspect_ratio_policy") != b"stretch" or node.attrs.get("axes"):
        return None
    inputs[1:3] = [name or part.constant([]) for name in inputs[1:3]]
    inputs = inputs if inputs[3] else inputs[:3]
    return _again(node, part, inputs, tuple(_unknown(node, target)))


def _as_it_is(node: Node, part: Part, target: int) -> str | None:
    """Without attributes that did not exist, where they say what was so anyway; some did not broadcast before opset 8."""
    if target < 8 and node.op in ("Max", "Min", "Sum", "Mean") and len({*node.shapes}) > 1:
        return None
    return _again(node, part, list(node.proto.input), tuple(_unknown(node, target)))


def _unknown(node: Node, target: int) -> list[str]:
    """Attributes at their defaults that the older definition lacks."""
    older = onnx.defs.get_schema(node.op, target).attributes
    newer = onnx.defs.get_schema(node.op).attributes
    none: dict[str, Any] = {"dilations": 1}
    return [
        name for name, value in node.attrs.items()
        if name not in older and (value == _default(newer, name) or (name in none and {*value} <= {none[name]}))
    ]  # fmt: skip


def _default(attributes: Any, name: str) -> Any:
    declared = attributes.get(name)
    return onnx.helper.get_attribute_value(declared.default_value) if declared and declared.default_value.name else None


def _clip(node: Node, part: Part, target: int) -> str | None:
    """Bounds were attributes before opset 11."""
    if target >= 11:
        return _again(node, part, list(node.proto.input))
    bounds: dict[str, Any] = {
        name: float(node.constants[k].ravel()[0]) for k, name in ((1, "min"), (2, "max")) if k in node.constants
    }
    return _again(node, part, list(node.proto.input[:1]), **bounds)


DOWN: dict[str, tuple[Down, ...]] = {
    **{op: (Down(18, _axes_as_attribute),) for op in (
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
        "ReduceSumSquare",
    )},
    **{op: (Down(13, _axes_as_attribute),) for op in ("ReduceSum", "Squeeze", "Unsqueeze")},
    **{op: (Down(13, _softmax),) for op in ("Softmax", "LogSoftmax", "Hardmax")},
    **{op: (Down(12, _extreme),) for op in ("Min", "Max")},
    **{op: (Down(12, _compared),) for op in ("GreaterOrEqual", "LessOrEqual")},
    "Pad": (Down(18, _pad),),
    "Split": (Down(18, _split),),
    "Clip": (Down(12, _clip),),
    "HardSwish": (Down(14, _activation),),
    "Swish": (Down(24, _activation),),
    "Resize": (Down(13, _resize),),
}  # fmt: skip


@dataclass
class Lowered:
    """changed: operators that had to be written otherwise, with their number. stuck: those that have no older form."""

    model: onnx.ModelProto
    changed: dict[str, int]
    stuck: dict[str, int]


def lower(model: onnx.ModelProto, opset: int, ir: int | None = None) -> Lowered:
    """A copy of `model` at an older opset and IR version, at most. Nothing is compared here."""
    before = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    changed, stuck = Counter[str](), Counter[str]()
    makers: dict[str, Build] = {}
    types = _types(model)
    whole = {name for name, kind in types.items() if kind.tensor_type.elem_type in (TensorProto.INT64, TensorProto.INT32)}
    seen = view(model).nodes if opset < before else []
    kept = {id(node.proto) for node in seen}
    for proto in model.graph.node if opset < before else ():  # those of constants alone stay as they are
        if id(proto) not in kept and not _same(proto.op_type, before, opset) and not _valid(proto, opset):
            stuck[proto.op_type] += 1
    for node in seen:
        if _same(node.op, before, opset):
            continue
        row = next((row for row in DOWN.get(node.op, ()) if opset < row.below <= before), None)
        if row is not None and row.make is _extreme and whole.isdisjoint(node.proto.input):
            row = None
        make = row.make if row is not None else _as_it_is
        probe = Part(node, opset)
        if (
            (not _exists(node.op, opset) and row is None)
            or (made := make(node, probe, opset)) is None
            or not all(_valid(new, opset) for new in probe.nodes)
            or not _fits(node, probe, made, types)
        ):
            stuck[node.op] += 1
        elif [_form(new) for new in probe.nodes] != [_form(node.proto)]:
            makers[node.name] = _at(opset, make)
            changed[node.op] += 1
    older, _ = exchanged(model, makers.get)
    for entry in older.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = min(entry.version, opset)
    older.ir_version = min(older.ir_version, ir or older.ir_version)
    return Lowered(older, dict(sorted((+changed).items())), dict(sorted((+stuck).items())))


def _at(opset: int, make: Callable[[Node, Part, int], str | None]) -> Build:
    def build(node: Node, part: Part) -> str | None:
        part.opset = opset
        return make(node, part, opset)

    return build


def _form(node: onnx.NodeProto) -> tuple[Any, ...]:
    return (
        node.op_type,
        [bool(name) for name in node.input],
        sorted(attribute.SerializeToString() for attribute in node.attribute),
    )


def _same(op: str, before: int, target: int) -> bool:
    try:
        return onnx.defs.get_schema(op, before).since_version == onnx.defs.get_schema(op, target).since_version
    except onnx.defs.SchemaError:
        return False


def _exists(op: str, opset: int) -> bool:
    try:
        return not onnx.defs.get_schema(op, opset).deprecated
    except onnx.defs.SchemaError:
        return False


def _valid(node: onnx.NodeProto, opset: int) -> bool:
    """Whether the definition of an opset has all the inputs and attributes that the node gives, and these all that it needs."""
    if not _exists(node.op_type, opset):
        return False
    schema = onnx.defs.get_schema(node.op_type, opset)
    needed = [i for i, given in enumerate(schema.inputs) if given.option == onnx.defs.OpSchema.FormalParameterOption.Single]
    attributes = {attribute.name for attribute in node.attribute}
    required = {name for name, declared in schema.attributes.items() if declared.required}
    return (
        schema.min_input <= len(node.input) <= schema.max_input
        and required <= attributes <= set(schema.attributes)
        and all(i < len(node.input) and node.input[i] for i in needed)
    )


def _from_front(axes: Any, rank: int) -> Any:
    return [int(axis) % rank for axis in axes] if isinstance(axes, list | tuple) else int(axes) % rank


def invalid(model: onnx.ModelProto) -> str | None:
    """What ONNX's checker or onnxruntime has against a model with its weights; None if nothing, or if it is too large to ask."""
    if model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        return None
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # onnx raises its own private types
        return str(error).strip().splitlines()[0]
    try:
        session(model, optimize=False)
    except ModelError as error:
        return f"onnxruntime: {error.got}"
    return None


def _types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Types of tensors, with their shapes, as far as inference gets."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # onnx raises its own private types; what has no type is not asked for
        graph = model.graph
    found = {value.name: value.type for value in (*graph.value_info, *graph.input, *graph.output)}
    weights = {tensor.name: helper.make_tensor_type_proto(tensor.data_type, tensor.dims) for tensor in model.graph.initializer}
    return {**found, **weights}


def _fits(node: Node, part: Part, made: str, types: dict[str, onnx.TypeProto]) -> bool:
    """Whether what stands for a node is a valid model by itself, of the same types and shapes. True where these are not known."""
    proto, inner = node.proto, {name for new in part.nodes for name in new.output} | {t.name for t in part.constants}
    given = dict.fromkeys(name for new in part.nodes for name in new.input if name and name not in inner)
    known = {proto.input[k]: value for k, value in node.constants.items() if proto.input[k] in given}  # one may be read twice
    constants = [numpy_helper.from_array(value, name) for name, value in known.items()]
    outputs = [name for name in proto.output if name]
    if not all(name in types for name in (*outputs, *(name for name in given if name not in known))):
        return True
    nodes = []
    for new in part.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(new)
        if made in new.output:
            copy.output[:] = proto.output
        nodes.append(copy)
    graph = helper.make_graph(
        nodes, "alone", [helper.make_value_info(name, types[name]) for name in given if name not in known],
        [helper.make_value_info(name, types[name]) for name in outputs], [*constants, *part.constants],
    )  # fmt: skip
    return _valid_alone(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", part.opset)], ir_version=8).SerializeToString()
    )


@lru_cache(maxsize=4096)
def _valid_alone(model: bytes) -> bool:
    return invalid(onnx.ModelProto.FromString(model)) is None
