"""The Python face: one function a verb, each of them also `everyframe.NAME`. Nothing heavy is imported before it is used.

given      what may be given as a model: a path, bytes, a model in memory
models     open, convert, info, list_models
fitting    check, fix, quantize, split, compile
watching   predict, evaluate
results, outcomes   what they give
"""

from __future__ import annotations

from everyframe.api.fitting import check, compile, fix, quantize, split
from everyframe.api.models import convert, info, list_models, open, stream
from everyframe.api.watching import evaluate, predict

__all__ = [
    "check", "compile", "convert", "evaluate", "fix", "info", "list_models", "open", "predict", "quantize", "split", "stream",
]  # fmt: skip
