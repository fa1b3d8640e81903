"""How a node is named, and how a use of an operator that cannot be streamed is refused."""

from __future__ import annotations

from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.graph import Node


def where(node: Node) -> str:
    return f"node {node.name!r} ({node.op}, {node.place})"


def unsupported(node: Node, what: str, *, hint: str, got: object = None, expected: object = None) -> UnsupportedOperator:
    """An error for a use of a known operator that cannot be streamed."""
    return UnsupportedOperator(what, where=where(node), expected=expected, got=got, hint=hint)
