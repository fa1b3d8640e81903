"""The Python face: one function a verb, each of them also `everyframe.NAME`. Nothing heavy is imported before it is used.

given      what may be given as a model: a path, bytes, a model in memory
models     open, convert, info, list_models, export, import_model
fitting    check, fix, quantize, split, compile, bundle
watching   predict, evaluate, evaluate_events
pictures   enlarge, evaluate_pictures
scans      detect, evaluate_scans
probing    evaluate_features
cameras    watch
served     serve
learning   record, render, teach, train, prune
searching  search
measuring  benchmark, compare_benchmarks
results, fitted, bundled, outcomes, probed, benchmarked   what they give
"""

from __future__ import annotations

from everyframe.api.cameras import watch
from everyframe.api.fitting import bundle, check, compile, fix, quantize, split
from everyframe.api.learning import prune, record, render, teach, train
from everyframe.api.measuring import benchmark, compare_benchmarks
from everyframe.api.models import convert, export, import_model, info, list_models, open, stream
from everyframe.api.pictures import enlarge, evaluate_pictures
from everyframe.api.probing import evaluate_features
from everyframe.api.scans import detect, evaluate_scans
from everyframe.api.searching import search
from everyframe.api.served import serve
from everyframe.api.watching import evaluate, evaluate_events, predict

__all__ = [
    "benchmark",
    "bundle",
    "check",
    "compare_benchmarks",
    "compile",
    "convert",
    "detect",
    "enlarge",
    "evaluate",
    "evaluate_events",
    "evaluate_features",
    "evaluate_pictures",
    "evaluate_scans",
    "export",
    "fix",
    "import_model",
    "info",
    "list_models",
    "open",
    "predict",
    "prune",
    "quantize",
    "record",
    "render",
    "search",
    "serve",
    "split",
    "stream",
    "teach",
    "train",
    "watch",
]  # fmt: skip
