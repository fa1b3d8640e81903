"""Readable names in exported graphs: nodes are called after the modules they came from.

torch's exporter leaves numbered names, and with every node a Python stack trace with the paths of the exporting
machine. Afterwards a convolution is called `blocks.1.res_blocks.0.branch2.conv_a`, another node after its module and
operator, and its output like itself, so that a report, a state tensor or Netron says where in the network it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import onnx

SCOPES = "pkg.torch.onnx.name_scopes"  # ['', 'outer', 'outer.inner', value], as Python source


def tidy(model: onnx.ModelProto) -> None:
    """Renames nodes and their outputs in place and removes the exporter's traces; graph inputs, graph outputs and
    weights keep their names.
    """
    graph = model.graph
    fixed = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    weights = {value.name for value in graph.initializer}
    taken, renamed = set(fixed), dict[str, str]()
    for node in graph.node:
        node.name = _unique(_wanted(node, weights), taken)
        for i, output in enumerate(node.output):
            if output and output not in fixed:
                renamed[output] = node.name if i == 0 else f"{node.name}:{i}"
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = renamed.get(name, name)
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)
    for thing in _everything(model):
        del thing.metadata_props[:]
        thing.doc_string = ""
    model.producer_name, model.producer_version = "everyframe", ""


def _wanted(node: onnx.NodeProto, weights: set[str]) -> str:
    if len(node.input) > 1 and node.input[1] in weights and node.input[1].endswith(".weight"):
        return node.input[1].removesuffix(".weight")
    scopes = next((prop.value for prop in node.metadata_props if prop.key == SCOPES), None)
    path = ast.literal_eval(scopes)[:-1] if scopes else []
    operator = node.op_type.lower()
    return f"{path[-1]}.{operator}" if path and path[-1] else operator


def _unique(name: str, taken: set[str]) -> str:
    chosen, n = name, 1
    while chosen in taken:
        n += 1
        chosen = f"{name}_{n}"
    taken.add(chosen)
    return chosen


def _everything(model: onnx.ModelProto) -> Iterator:
    graph = model.graph
    yield from (model, graph)
    yield from (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
