"""Removes temporal kernel taps that read nothing but padding in the clip.

Where time has shrunk (to 1, often), the outer taps of a kernel never met a frame: they were never trained, yet a stream would
make them live. Cutting them is exact with respect to the clip, saves work and state, and lowers the delay.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from everyframe.conversion.facts import Facts, Window
from everyframe.conversion.rules import stacked
from everyframe.conversion.rules.spatial import Spatial
from everyframe.modelfile.graph import Node


def live_taps(window: Window, frames_in: int, frames_out: int) -> list[int]:
    """Taps that read at least one real frame for some output frame of the clip."""
    return [
        i
        for i in range(window.taps)
        if any(0 <= j * window.stride - window.pad + i * window.dilation < frames_in for j in range(frames_out))
    ]


def cut_dead_taps(clip: onnx.ModelProto, facts: Facts) -> list[str]:
    """Changes kernels and pads of `clip` in place; returns one line for each operator that lost taps."""
    notes = []
    protos = {output: node for node in clip.graph.node for output in node.output[:1]}
    for node in facts.graph.nodes:
        if node.op not in ("Conv", "MaxPool") or node.inputs[0] not in facts.table or stacked.stack(node, facts) is not None:
            continue
        space = Spatial.of(node, facts)
        if space.time is None:
            continue
        taps = space.window.taps
        shapes = facts.graph.shapes[node.inputs[0]], facts.graph.shapes[node.outputs[0]]
        frames = shapes[0][space.time], shapes[1][space.time]
        live = live_taps(space.window, *frames)
        dims = len(shapes[0]) - 2
        first, last, pads = _trim(node, space.window, live, frames, space.time - 2, dims)
        removed, proto = taps - (last - first + 1), protos[node.outputs[0]]
        silenced = [i for i in range(first, last + 1) if i not in live] if node.op == "Conv" else []
        if removed or silenced:
            _apply(clip, proto, space, first, last, pads, silenced)
            length = facts.length
            notes.append(
                f"{node.label}: {taps - removed - len(silenced)} of {taps} temporal taps ever met a frame in the "
                f"{length}-frame clip; the others are {'removed' if removed else 'set to zero'}; --taps all keeps them"
            )
    return notes


def _trim(node: Node, window: Window, live: list[int], frames: tuple[int, int], t: int, dims: int) -> tuple[int, int, list[int]]:
    """(first tap, last tap, new pads). Pads cannot become negative: then a dead tap at the end is kept (and set to zero)."""
    pads = list(node.attr("pads") or [0] * 2 * dims)
    first, last = live[0] if live else 0, live[-1] if live else window.taps - 1
    while first and pads[t] - first * window.dilation < 0:
        first -= 1
    pads[t] -= first * window.dilation
    cut = window.taps - 1 - last
    while cut and pads[dims + t] - cut * window.dilation < 0:
        cut -= 1
    pads[dims + t] -= cut * window.dilation
    last = window.taps - 1 - cut
    # padding that no window reaches: a pool may not have more than its kernel is long
    needed = (frames[1] - 1) * window.stride + (last - first) * window.dilation + 1 - frames[0] - pads[t]
    pads[dims + t] = min(pads[dims + t], max(0, needed))
    return first, last, pads


def _apply(
    clip: onnx.ModelProto, proto: onnx.NodeProto, space: Spatial, first: int, last: int, pads: list[int], silenced: list[int]
) -> None:
    attrs = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    t = (space.time or 2) - 2
    kernel = list(attrs.get("kernel_shape") or [])
    if proto.op_type == "Conv":
        tensor = next(i for i in clip.graph.initializer if i.name == proto.input[1])
        weight = numpy_helper.to_array(tensor)
        # a new tensor: another node may share the old one
        name = f"{tensor.name}.taps{first}-{last}" + "".join(f"~{i}" for i in silenced)
        if all(i.name != name for i in clip.graph.initializer):
            weight = weight.copy()
            np.moveaxis(weight, t + 2, 0)[silenced] = 0
            cut = np.ascontiguousarray(weight.take(range(first, last + 1), axis=space.time))
            clip.graph.initializer.append(numpy_helper.from_array(cut, name))
        old = tensor.name
        proto.input[1] = name
        if all(old not in node.input for node in clip.graph.node):
            clip.graph.initializer.remove(tensor)
        kernel = kernel or list(weight.shape[2:])
    kernel[t] = last - first + 1
    for key in ("kernel_shape", "pads"):
        for attribute in [a for a in proto.attribute if a.name == key]:
            proto.attribute.remove(attribute)
    proto.attribute.append(onnx.helper.make_attribute("kernel_shape", kernel))
    proto.attribute.append(onnx.helper.make_attribute("pads", pads))
