"""Activations written out in simpler operators: HardSwish, Swish and HardSigmoid."""

from __future__ import annotations

from everyframe.devices.nodes import Node
from everyframe.devices.rewrites.edit import Part

OPS = ("HardSwish", "Swish", "HardSigmoid")


def _hard_sigmoid(part: Part, tensor: str, alpha: float, beta: float) -> str:
    """clip(alpha x + beta, 0, 1)"""
    line = part.emit("Add", part.emit("Mul", tensor, part.constant(alpha)), part.constant(beta))
    if part.opset < 11:
        return part.emit("Clip", line, min=0.0, max=1.0)
    return part.emit("Clip", line, part.constant(0.0), part.constant(1.0))


def gated(node: Node, part: Part) -> str | None:
    """x * gate(x), with the gate as one operator."""
    x = node.proto.input[0]
    if node.op == "HardSwish":
        return part.emit("Mul", x, part.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5))
    if node.op == "Swish":
        alpha = float(node.attrs.get("alpha", 1.0))
        scaled = x if alpha == 1 else part.emit("Mul", x, part.constant(alpha))
        return part.emit("Mul", x, part.emit("Sigmoid", scaled))
    return None


def clipped(node: Node, part: Part) -> str | None:
    """A hard gate as multiply, add and clip."""
    x = node.proto.input[0]
    if node.op == "HardSwish":
        return part.emit("Mul", x, _hard_sigmoid(part, x, 1 / 6, 0.5))
    if node.op == "HardSigmoid":
        return _hard_sigmoid(part, x, node.attribute("alpha"), node.attribute("beta"))
    return None


VARIANTS = (gated, clipped)
