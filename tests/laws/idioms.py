"""Networks that have to stream, by name: how each is written, its input, and how it is to be streamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
from onnx import TensorProto

from laws.drafts import C, Draft, S, T

STREAMS: dict[str, tuple[Callable[[Draft], Any], dict[str, Any], dict[str, Any]]] = {}


def idiom(shape: tuple[int | str, ...] = (1, C, T, S, S), kind: int = TensorProto.FLOAT, opset: int = 18, **options: Any) -> Any:
    """A network that has to stream. It gets its mean over time where it does not end it itself (by returning a name)."""

    def add(row: Callable[[Draft], Any]) -> Callable[[Draft], Any]:
        STREAMS[row.__name__] = (row, {"shape": shape, "kind": kind, "opset": opset}, options)
        return row

    return add


def written(row: Callable[[Draft], Any], draft: dict[str, Any]) -> onnx.ModelProto:
    made = Draft(**draft)
    if made.opset < 18:  # axes of a reduction became an input
        made.mean = lambda x, *axes, keep=True: made.op("ReduceMean", x, axes=list(axes), keepdims=int(keep))
    made.last = row(made) or made.last
    return made.model()


def headed(d: Draft, *axes: int) -> str:
    """A classifier behind a mean."""
    return d.op("Gemm", d.op("Flatten", d.mean(d.last, *axes)), d.random(C, 3))
