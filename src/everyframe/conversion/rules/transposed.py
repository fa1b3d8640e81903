"""ConvTranspose in space: decoders of single frames. In time: `upsample`."""

from __future__ import annotations

from typing import Any

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules.conv import made_by_kernel
from everyframe.conversion.view import View
from everyframe.modelfile.graph import Node


class ConvTranspose:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source = facts.get(node.inputs[0])
        if source is None or facts.graph.constant(node.inputs[1]) is None or facts.get(node.input(2)):
            raise unsupported(node, "A convolution's weights depend on the clip.", hint="only constant weights can be streamed")
        shape, worked = facts.graph.shapes[node.outputs[0]], worked_on(node, facts)
        for axis in range(1, len(source.axes)):
            if (axis in worked and ax.is_time_axis(source.axes[axis])) or ax.time_is_mixed((source.axes[axis],)):
                raise unsupported(
                    node, "A transposed convolution works along time.", got=f"axis {axis} of {source.clip_shape}",
                    hint="give it a kernel of 1 in time, or repeat frames where the result is used",
                )  # fmt: skip
        return source.plain(axes=made_by_kernel(source.axes, shape), nonneg=False)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        facts = step.facts
        source, out = facts[node.inputs[0]], facts[node.outputs[0]]
        spatial = [i for i in range(2, len(source.axes)) if not ax.is_frame_axis(source.axes[i])]
        outer = tuple(i for i in range(2, len(source.axes)) if i not in spatial)
        lists: dict[str, Any] = {key: [values[i - 2] for i in spatial] for key, (values, _) in _lists(node, facts).items()}
        pads = lists.pop("begins") + lists.pop("ends")
        weight = step.weight(node.inputs[1]).squeeze(outer)
        view, after = View(source.axes), View(out.axes)
        x = step.enter(view, step.wire(node.inputs[0]), node.label)
        inputs = [x, step.const(weight, f"{node.label}.weight"), *([step.same(node.inputs[2])] if node.input(2) else [])]
        made = step.emit("ConvTranspose", inputs, node.label, pads=pads, group=node.attr("group", 1), **lists)
        step.put(node.outputs[0], step.leave(after, made, node.label))


def worked_on(node: Node, facts: Facts) -> set[int]:
    """The channels, and the axes along which its kernel does anything."""
    lists = _lists(node, facts).values()
    return {1, *(i + 2 for i in range(len(facts[node.inputs[0]].axes) - 2) if any(v[i] != neutral for v, neutral in lists))}


def _lists(node: Node, facts: Facts) -> dict[str, tuple[list[int], int]]:
    """What is said for each spatial axis, and the value with which nothing happens along it."""
    before, after = facts.graph.shapes[node.inputs[0]], facts.graph.shapes[node.outputs[0]]
    dims = len(before) - 2
    kernel = list(node.attr("kernel_shape") or facts.graph.shapes[node.inputs[1]][2:])
    strides, dilations = list(node.attr("strides") or [1] * dims), list(node.attr("dilations") or [1] * dims)
    more = list(node.attr("output_padding") or [0] * dims)
    auto = bytes(node.attr("auto_pad", b"NOTSET")).decode()
    pads = list(node.attr("pads") or [0] * 2 * dims)
    begins, ends = pads[:dims], pads[dims:]
    if auto.startswith("SAME") or node.attr("output_shape"):
        total = [
            strides[i] * (before[i + 2] - 1) + more[i] + (kernel[i] - 1) * dilations[i] + 1 - after[i + 2] for i in range(dims)
        ]
        less, rest = [n // 2 for n in total], [n - n // 2 for n in total]
        begins, ends = (rest, less) if auto != "SAME_UPPER" else (less, rest)
    return {
        "kernel_shape": (kernel, 1), "strides": (strides, 1), "dilations": (dilations, 1), "output_padding": (more, 0),
        "begins": (begins, 0), "ends": (ends, 0),
    }  # fmt: skip
