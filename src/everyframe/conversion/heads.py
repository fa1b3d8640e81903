"""A clip network's outputs: which of them are converted, the main one first, and which have a value for each frame."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper

from everyframe.conversion import axes as ax
from everyframe.conversion.facts import Facts
from everyframe.errors import UsageError, meant


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
