"""What an operator costs."""

from __future__ import annotations

from math import prod

import onnx

_AUXILIARY = (".band", ".share", ".scales", "mask.from", "scalar.")  # constants of the step graph that are no weights


def is_auxiliary(name: str) -> bool:
    return any(part in name for part in _AUXILIARY)


def macs_of(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], dims: dict[str, tuple[int, ...]]) -> int:
    """Multiply-adds. shapes: of what is computed; dims: of weights."""
    out = shapes.get(node.output[0], ())
    if node.op_type == "Conv":
        return prod(out) * prod(dims.get(node.input[1], (0, 0))[1:])
    if node.op_type == "ConvTranspose":
        return prod(shapes.get(node.input[0], (0,))) * prod(dims.get(node.input[1], (0, 0))[1:])
    if node.op_type in ("Gemm", "MatMul") and not is_auxiliary(node.input[0]):
        a = shapes.get(node.input[0], dims.get(node.input[0], ()))
        transposed = any(attr.name == "transA" and attr.i for attr in node.attribute)
        return prod(out) * (a[0] if transposed else a[-1]) if a else 0
    return 0
