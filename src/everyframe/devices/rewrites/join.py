"""Concatenation along the first axis, where a target keeps that axis for the batch: along a new second axis instead."""

from __future__ import annotations

from math import prod

from everyframe.devices.nodes import Node
from everyframe.devices.rewrites.edit import Part

OPS = ("Concat",)


def along_second(node: Node, part: Part) -> str | None:
    """(a, ...) and (b, ...) as (1, a, n) and (1, b, n), joined along axis 1, and back to (a + b, ...)."""
    shapes, result = node.shapes, node.output_shape
    if node.attribute("axis") != 0 or not result or any(not shape or 0 in shape for shape in (*shapes, result)):
        return None
    lifted = [
        part.emit("Reshape", name, part.ints((1, shape[0], prod(shape[1:]))))
        for name, shape in zip(node.proto.input, shapes, strict=True) if shape
    ]  # fmt: skip
    return part.emit("Reshape", part.emit("Concat", *lifted, axis=1), part.ints(result))


VARIANTS = (along_second,)
