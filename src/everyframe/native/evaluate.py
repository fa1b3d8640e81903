"""Nodes, one after another, on references: by the table of lowerings, by what an operator is made of, or now, for constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from everyframe.modelfile.graph import Node
from everyframe.native import (
    control,
    functions,
    lower_compute,
    lower_elementwise,
    lower_linear,
    lower_places,
    lower_reduce,
    lower_sampling,
    lower_structure,
    lower_transposed,
)
from everyframe.native.cells import cells_of, gathered
from everyframe.native.constants import computed
from everyframe.native.ir import Planes, Value
from everyframe.native.lower_quantized import levels
from everyframe.native.tracer import LOWER, Row, Tracer, following, unsupported

#: the modules that fill the table
LOWERINGS = (
    control, lower_compute, lower_elementwise, lower_linear, lower_places, lower_reduce, lower_sampling, lower_structure,
    lower_transposed,
)  # fmt: skip
#: operators that take pictures whose height and width are one axis
_TAKE_MERGED = ("Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Flatten", "Shape", "Size")


def operators() -> tuple[str, ...]:
    """ONNX operators that can be compiled."""
    opset = onnx.defs.onnx_opset_version()
    schemas: Any = onnx.defs.get_all_schemas()
    defined = {s.name for s in schemas if not s.domain and s.name not in LOWER and functions.known(s.name, opset)}
    return (*LOWER, *control.COURSES, *sorted(defined))


def check(nodes: Sequence[Node], constants: set[str], opset: int) -> None:
    """All operators are known before the first is traced, so that one message names them all."""
    fixed, missing = set(constants), []
    for node in nodes:
        if node.op in ("Shape", "Size") or fixed.issuperset(filter(None, node.inputs)):
            fixed.update(node.outputs)
        elif node.op not in LOWER and node.op not in control.COURSES and not functions.known(node.op, opset):
            missing.append(node)
    if missing:
        others = sorted({node.op for node in missing} - {missing[0].op})
        raise unsupported(
            missing[0], f"The operator {missing[0].op} cannot be compiled.", got=f"also {', '.join(others)}" if others else None
        )


def run(tracer: Tracer, nodes: Sequence[Node], values: dict[str, Value], opset: int) -> None:
    """Adds to `values` what the nodes give. Raises UnsupportedOperator."""
    for order, node in enumerate(nodes):
        tracer.node, tracer.order = node, order
        with following(node):
            step(tracer, node, values, opset)


def step(tracer: Tracer, node: Node, values: dict[str, Value], opset: int) -> None:
    if node.op in control.COURSES:
        made = control.COURSES[node.op](tracer, node, values, opset, step)
        values.update((name, value) for name, value in zip(node.outputs, made, strict=False) if name)
        return
    given = [_found(node, values, name) if name else None for name in node.inputs]
    if all(value is None or isinstance(value, np.ndarray) for value in given):
        results: Sequence[Value | None] = computed(node, given, opset)
        _remember(tracer, node, given, results)
    else:
        results = _lowered(tracer, node, given, opset)
    values.update((name, value) for name, value in zip(node.outputs, results, strict=False) if name and value is not None)


def _found(node: Node, values: dict[str, Value], name: str) -> Value:
    if name not in values:
        raise unsupported(node, "It reads what is not computed here: another output than the first of an operator.", got=name)
    return values[name]


def _lowered(tracer: Tracer, node: Node, given: list, opset: int) -> Sequence[Value | None]:
    row = LOWER.get(node.op)
    if row is None:
        return _by_body(tracer, node, given, opset)
    check_read(node, row, given, opset)
    planes = [value for value in given if isinstance(value, Planes)]
    other = {value.kind for value in planes} - {"float", *row.kinds}
    if other & {"uint8", "int8"}:
        raise unsupported(node, "It computes with quantized integers.", hint="quantize the model in the QDQ format")
    if other:
        raise unsupported(node, "It computes with whole numbers or conditions that are known only at run time.", got=other.pop())
    moves = [given[i] for i in lower_structure.DATA.get(node.op, range(len(given))) if i < len(given)] if row.keeps else []
    moved = [value for value in moves if isinstance(value, Planes)]
    if len({value.kind for value in moved}) > 1:
        raise unsupported(node, "Values of different types meet.")
    if node.op not in _TAKE_MERGED:
        given = [gathered(tracer, cells_of(node, v)) if isinstance(v, Planes) and v.merged else v for v in given]
    tracer.opset = opset
    result = row.lower(tracer, node, given)
    results = [np.asarray(v) if isinstance(v, np.generic) else v for v in (result if isinstance(result, list) else [result])]
    results = [np.zeros(v.shape, np.float32) if isinstance(v, Planes) and not v.array.size else v for v in results]
    if moved and moved[0].kind != "float":
        results = [replace(value, kind=moved[0].kind) if isinstance(value, Planes) else value for value in results]
    return results


def check_read(node: Node, row: Row, given: list, opset: int) -> None:
    """What a lowering does not read must not be there, unless it is the default."""
    try:
        schema = onnx.defs.get_schema(node.op, opset)
    except onnx.defs.SchemaError:
        raise unsupported(node, f"Opset {opset} has no such operator.", hint="export the network with a newer opset") from None
    for name, value in node.attrs.items():
        if name in row.reads:
            continue
        declared = schema.attributes.get(name)
        default = onnx.helper.get_attribute_value(declared.default_value) if declared and declared.default_value.name else None
        if value != default:
            raise unsupported(node, f"Its attribute {name} cannot be compiled.", expected=default, got=value)
    for number, value in enumerate(given):
        if value is not None and row.takes is not None and number >= row.takes:
            raise unsupported(node, f"Its input {schema.inputs[number].name} cannot be compiled.", got=node.inputs[number])


def _by_body(tracer: Tracer, node: Node, given: list, opset: int) -> list[Value | None]:
    body = functions.body(node, opset, given)
    if body is None:
        raise unsupported(node, f"The operator {node.op} cannot be compiled.")
    local = {name: value for name, value in zip(body.inputs, given, strict=False) if value is not None}
    for part in body.nodes:
        step(tracer, part, local, body.opset)
    return [local.get(name) for name in body.outputs]


def _remember(tracer: Tracer, node: Node, given: list, results: Sequence[Any]) -> None:
    """The integers behind a dequantized constant."""
    if node.op != "DequantizeLinear":
        return
    if found := levels(node, given):
        tracer.levels[node.outputs[0]] = found
    elif results[0].ndim <= 1:
        tracer.exact[node.outputs[0]] = _wide(*given)


def _wide(integers: Any, scale: Any, zero: Any = None) -> np.ndarray:
    """A dequantized vector: products of integers and float32 scales are exact in float64, or nearly so."""
    centered = np.asarray(integers, np.float64) - (0.0 if zero is None else np.asarray(zero, np.float64))
    return centered * np.asarray(scale, np.float64)
