"""A clip network's outputs: which of them are converted, the main one first, and which have a value for each frame."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

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
