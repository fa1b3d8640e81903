"""How a node is named, and how a use of an operator that cannot be streamed is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from everyframe.errors import EveryframeError, ModelError, UnsupportedOperator
from everyframe.modelfile.graph import Node


def where(node: Node) -> str:
    return f"node {node.name!r} ({node.op}, {node.place})"


def unsupported(node: Node, what: str, *, hint: str, got: object = None, expected: object = None) -> UnsupportedOperator:
    """An error for a use of a known operator that cannot be streamed."""
    return UnsupportedOperator(what, where=where(node), expected=expected, got=got, hint=hint)


@contextmanager
def following(node: Node | None = None) -> Iterator[None]:
    """What onnx, numpy or onnxruntime raise about a network that is not what its operators say becomes an error of ours."""
    try:
        yield
    except EveryframeError:
        raise
    except Exception as error:
        got = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
        hint = "check that the file runs in onnxruntime and export it again; if it does, please report it with the model"
        if node is None:
            raise ModelError("The network cannot be followed.", got=got, hint=hint) from error
        raise unsupported(node, f"This use of {node.op} cannot be followed.", got=got, hint=hint) from error
