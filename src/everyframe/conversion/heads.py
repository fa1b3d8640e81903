"""A clip network's outputs: which of them are converted, the main one first, and which have a value for each frame."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx
from onnx import helper

from everyframe.conversion import axes as ax
from everyframe.conversion.facts import Facts
from everyframe.errors import ModelError, UsageError, meant

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)
_CHOICES = ("TopK", "ArgMax", "ArgMin")
_SAME = ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten")


def with_heads(model: onnx.ModelProto, heads: Sequence[str]) -> onnx.ModelProto:
    """A copy with these outputs only, in this order; without names all of them, one called `logits` first. What only the others
    need is left to `fold`, which drops it. Raises UsageError for names that are no outputs.
    """
    there = {value.name: value for value in model.graph.output}
    for name in heads:
        if name not in there:
            raise UsageError(
                "The network has no such output.", where=f"--head {name}", expected=", ".join(there),
                hint=meant(name, list(there), "`everyframe info` names them"),
            )  # fmt: skip
    wanted = list(dict.fromkeys(heads)) or sorted(there, key=lambda name: name != "logits")
    if wanted == list(there):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.output[:]
    made.graph.output.extend(there[name] for name in wanted)
    return made


def check_scores(model: onnx.ModelProto, output: str) -> None:
    """Raises ModelError if the main output is what was made of scores: the numbers of the best classes, or yes and no."""
    kind = next((value.type.tensor_type.elem_type for value in model.graph.output if value.name == output), 0)
    made_by = {made: node for node in model.graph.node for made in node.output}
    node = made_by.get(output)
    while node is not None and node.op_type in _SAME:
        node = made_by.get(node.input[0])
    maker = node.op_type if node is not None else "nothing"
    if kind not in _FLOATS or maker in _CHOICES:
        raise ModelError(
            "The network's answer is not scores, but what was made of them.", where=f"output {output!r}",
            expected="a float for each class, or a quantity",
            got=f"{onnx.TensorProto.DataType.Name(kind).lower()} of {maker}",
            hint="export the network without its last steps, or name another of its outputs with --head",
        )  # fmt: skip


def single(facts: Facts, wire: str) -> bool:
    """True for an output of one value at each frame."""
    shape, axis = facts.graph.shapes[wire], ax.time_axis(facts[wire].axes)
    return axis is not None and prod(shape) == shape[axis]


def keeps_frames(facts: Facts, wire: str) -> bool:
    """True for an output that has a value for each frame of the clip, not one for all."""
    fact = facts[wire]
    axis = ax.time_axis(fact.axes)
    return not fact.pooled and axis is not None and ax.is_frame_axis(fact.axes[axis]) and fact.frames > 1


def stages(facts: Facts, wire: str) -> int:
    """How many answers for each frame an output has one behind the other, (stages, N, classes, T), of which each refines the one
    before it (MS-TCN, ASFormer); 1 for any other.
    """
    axes = facts[wire].axes
    stacked = len(axes) == 4 and ax.shape_of(axes)[1] == 1 and ax.time_axis(axes) in (2, 3) and keeps_frames(facts, wire)
    return ax.rest(axes[0]) if stacked else 1


def last_stage(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose first output is the last stage of what it was: (N, classes, T)."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    output = made.graph.output[0]
    name = f"{output.name}.stages"
    for node in made.graph.node:
        for names in (node.input, node.output):
            for place, each in enumerate(names):
                if each == output.name:
                    names[place] = name
    made.graph.initializer.append(helper.make_tensor(f"{name}.last", onnx.TensorProto.INT64, (), [-1]))
    made.graph.node.append(helper.make_node("Gather", [name, f"{name}.last"], [output.name], f"{name}.pick", axis=0))
    del output.type.tensor_type.shape.dim[0]
    return made
