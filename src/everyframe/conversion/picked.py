"""A frame that was picked beside an average over time, `cat(y.mean(2), y[:, :, -1])`: it becomes a head of one frame.

So both are values of the same step, and `Facts.align` lets the window end where the frame is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from everyframe.conversion import axes as ax
from everyframe.conversion.facts import Facts


def average_picks(clip: onnx.ModelProto, facts: Facts, wires: list[str]) -> bool:
    """Puts an average of one frame behind each pick that these wires are made of, in place; False where there is none."""
    found = {name for wire in wires for name in _picks(wire, facts)}
    for name in found:
        time = ax.time_axis(facts[name].axes)
        made, axes = f"{name}.picked", f"{name}.picked.axes"
        for node in clip.graph.node:
            for i, read in enumerate(node.input):
                if read == name:
                    node.input[i] = made
        at = next(i for i, node in enumerate(clip.graph.node) if name in node.output)
        if facts.graph.opset < 18:
            mean = helper.make_node("ReduceMean", [name], [made], made, axes=[time], keepdims=1)
        else:
            clip.graph.initializer.append(numpy_helper.from_array(np.array([time], np.int64), axes))
            mean = helper.make_node("ReduceMean", [name, axes], [made], made, keepdims=1)
        clip.graph.node.insert(at + 1, mean)
    return bool(found)


def _picks(wire: str, facts: Facts) -> Iterator[str]:
    """The tensors of one frame, nearest to where it was picked, that a wire without others is made of."""
    node = facts.graph.made_by(wire)
    before = [] if node is None else [name for name in facts.timed(node) if not facts[name].static]
    if any(facts[name].frames == 1 for name in before):
        for name in before:
            yield from _picks(name, facts)
    elif before and (time := ax.time_axis(facts[wire].axes)) is not None and ax.is_frame_axis(facts[wire].axes[time]):
        yield wire
