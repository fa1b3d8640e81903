"""Behind a head there are no frames any more, but one value a step. What a window has gathered (`whole`) goes through the clip's
own operators from there on, and an operator that no rule takes is copied as it stands, too.
"""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import OPSET, Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.modelfile.graph import Graph, Node


class Verbatim:
    """The clip's own operator on tensors of the clip's own shapes."""

    @staticmethod
    def fits(node: Node, facts: Facts) -> bool:
        """Is nothing that it reads one of several frames, and are all shapes known? Bodies of loops may read anything by name."""
        known = all(name in facts.graph.shapes for name in (*node.inputs, *node.outputs) if name)
        known = known and not any(isinstance(value, onnx.GraphProto) for value in node.attrs.values())
        return known and all(facts[name].pooled or facts[name].static for name in facts.timed(node))

    @staticmethod
    def fact(node: Node, facts: Facts) -> tuple[Fact, ...]:
        joined = facts.join(node, facts.timed(node)).plain(nonneg=False)
        facts.verbatim.add(node.name)
        return tuple(replace(joined, axes=_axes(facts.graph.shapes[name])) for name in node.outputs if name)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        facts = step.facts
        lag = max(facts[name].lag for name in node.outputs if name)
        given = []
        for name in node.inputs:
            if name not in facts.table:
                given.append(step.same(name))
                continue
            tensor, shape = step.delayed(node, name, lag - facts[name].lag), facts.graph.shapes[name]
            plain = shape == (1, *ax.step_shape(facts[name].axes))
            given.append(tensor if plain else step.emit("Reshape", [tensor, step.ints(list(shape))], f"{node.label}::enter"))
        made = _copied(node, step, given)
        for name, tensor in made.items():
            inside = (1, *ax.step_shape(facts[name].axes))
            if facts.graph.shapes[name] != inside:
                tensor = step.emit("Reshape", [tensor, step.ints(list(inside))], f"{node.label}::leave")
            step.put(name, tensor)


def _copied(node: Node, step: Builder, given: list[str]) -> dict[str, str]:
    """The node's outputs as tensors of the step network. That may be of a newer opset: onnx knows the way."""
    graph = step.facts.graph
    tensors = dict(zip(node.inputs, given, strict=True))
    for proto in _newer(node, graph).graph.node:
        if proto.op_type == "Constant":
            tensors[proto.output[0]] = step.const(numpy_helper.to_array(proto.attribute[0].t), f"{node.label}.{proto.output[0]}")
            continue
        attrs = {attr.name: helper.get_attribute_value(attr) for attr in proto.attribute}
        inputs = [tensors[name] if name else "" for name in proto.input]
        made = step.emit(proto.op_type, inputs, node.label, outputs=len(proto.output), **attrs)
        tensors |= dict(zip(proto.output, [made] if isinstance(made, str) else made, strict=True))
    return {name: tensors[name] for name in node.outputs if name}


def _newer(node: Node, graph: Graph) -> onnx.ModelProto:
    """A model of this node alone, in the opset of step networks; its constants are what an upgrade may need to see."""
    proto = helper.make_node(node.op, node.inputs, node.outputs, **node.attrs)
    kinds = [
        (name, graph.types.get(name, TensorProto.FLOAT), graph.shapes[name]) for name in (*node.inputs, *node.outputs) if name
    ]
    values = {name: helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in kinds}
    constants = [
        numpy_helper.from_array(graph.constants[name], name) for name in dict.fromkeys(node.inputs) if name in graph.constants
    ]
    alone = helper.make_graph(
        [proto], "node", [values[name] for name in dict.fromkeys(node.inputs) if name],
        [values[name] for name in node.outputs if name], constants,
    )  # fmt: skip
    model = helper.make_model(alone, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=9)
    return model if graph.opset >= OPSET else version_converter.convert_version(model, OPSET)


def _axes(shape: tuple[int, ...]) -> ax.Axes:
    """Of a tensor without time; an axis of one value in front is the batch."""
    return tuple(
        (ax.Atom(1, "N"),) if i == 0 and size == 1 else (ax.Atom(size),) if size > 1 else () for i, size in enumerate(shape)
    )
