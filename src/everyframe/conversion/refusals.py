"""How a node is named, and how a use of an operator that cannot be streamed is refused."""

from __future__ import annotations

from contextlib import AbstractContextManager

from everyframe import errors
from everyframe.errors import EveryframeError, ModelError, UnsupportedOperator
from everyframe.modelfile.graph import Node


def where(node: Node) -> str:
    return f"node {node.name!r} ({node.op}, {node.place})"


def unsupported(node: Node, what: str, *, hint: str, got: object = None, expected: object = None) -> UnsupportedOperator:
    """An error for a use of a known operator that cannot be streamed."""
    return UnsupportedOperator(what, where=where(node), expected=expected, got=got, hint=hint)


def following(node: Node | None = None) -> AbstractContextManager[None]:
    """What onnx, numpy or onnxruntime raise about a network that is not what its operators say becomes an error of ours."""
    hint = "check that the file runs in onnxruntime and export it again; if it does, please report it with the model"

    def refusal(got: str) -> EveryframeError:
        if node is None:
            return ModelError("The network cannot be followed.", got=got, hint=hint)
        return unsupported(node, f"This use of {node.op} cannot be followed.", got=got, hint=hint)

    return errors.following(refusal)
