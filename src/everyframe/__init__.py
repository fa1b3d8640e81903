"""everyframe: a clip network in, a prediction at every frame out.

    import everyframe

    everyframe.convert("clip.onnx", "step.onnx")         # no torch needed
    program = everyframe.open("step.onnx")               # weights, shared
    for prediction in program.predict("video.mp4"):      # one per frame
        print(prediction.frame, prediction.top[0])

Everything is imported when first used, so that `import everyframe` costs nothing. It does one thing: libraries that would
report what they are used for are told not to (privacy.py).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from everyframe import privacy
from everyframe.version import __version__

try:
    # What keeps two processes from compiling the same, and sizes the pipe from the decoder. Windows has none: said here once,
    # and not where it is first missed, after minutes of work or in another process.
    import fcntl as _fcntl  # noqa: F401
except ModuleNotFoundError:
    import re as _re
    import sys as _sys

    from everyframe.errors import UnsupportedSystem as _UnsupportedSystem

    _refusal = _UnsupportedSystem(
        "everyframe does not run on this operating system: its Python has no file locks of POSIX (fcntl).",
        where=_sys.platform, expected="Linux or macOS", hint="use Linux or macOS; on Windows, WSL is a Linux",
    )  # fmt: skip
    # The command has nobody who could catch it: the sentence alone, as for any other error. A launcher imports us before it runs.
    if _re.search(r"(^|[\\/])everyframe(-script\.pyw?|\.exe)?$", _sys.argv[0]) or (
        _sys.argv[0] == "-m" and _re.search(r"\0-m\0everyframe(\0|$)", "\0".join(_sys.orig_argv))
    ):
        print(f"error: {_refusal}", file=_sys.stderr)
        raise SystemExit(2) from None
    raise _refusal from None

# At import, because these libraries look only while they are loaded, and any later line may load them.
privacy.keep()

#: one function a verb
_VERBS = (
    "open", "convert", "info", "list_models", "check", "fix", "quantize", "split", "compile", "bundle", "predict", "watch",
    "serve", "enlarge", "evaluate", "evaluate_events", "evaluate_features", "evaluate_pictures", "detect", "evaluate_scans",
    "record", "render", "teach", "train", "prune", "search", "export", "import_model", "benchmark", "compare_benchmarks",
)  # fmt: skip
# public name -> (module, attribute)
_PUBLIC: dict[str, tuple[str, str]] = {
    **{name: ("everyframe.api", name) for name in _VERBS},
    "Program": ("everyframe.runtime", "Program"),
    "Stream": ("everyframe.runtime", "Stream"),
    "Prediction": ("everyframe.runtime", "Prediction"),
    "AlertRule": ("everyframe.runtime.alerts", "AlertRule"),
    "AlertDetector": ("everyframe.runtime.alerts", "AlertDetector"),
    "models": ("everyframe.models", ""),
    "errors": ("everyframe.errors", ""),
    "EveryframeError": ("everyframe.errors", "EveryframeError"),
}
#: former names: they work, and warn when they are used
_FORMER = {"stream": ("everyframe.api", "stream")}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC and name not in _FORMER:
        raise AttributeError(f"module 'everyframe' has no attribute {name!r}")
    module_name, attribute = _PUBLIC.get(name) or _FORMER[name]
    module = importlib.import_module(module_name)
    return getattr(module, attribute) if attribute else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from everyframe import errors as errors
    from everyframe import models as models
    from everyframe.api import benchmark as benchmark
    from everyframe.api import bundle as bundle
    from everyframe.api import check as check
    from everyframe.api import compare_benchmarks as compare_benchmarks
    from everyframe.api import compile as compile
    from everyframe.api import convert as convert
    from everyframe.api import detect as detect
    from everyframe.api import enlarge as enlarge
    from everyframe.api import evaluate as evaluate
    from everyframe.api import evaluate_events as evaluate_events
    from everyframe.api import evaluate_features as evaluate_features
    from everyframe.api import evaluate_pictures as evaluate_pictures
    from everyframe.api import evaluate_scans as evaluate_scans
    from everyframe.api import export as export
    from everyframe.api import fix as fix
    from everyframe.api import import_model as import_model
    from everyframe.api import info as info
    from everyframe.api import list_models as list_models
    from everyframe.api import open as open
    from everyframe.api import predict as predict
    from everyframe.api import prune as prune
    from everyframe.api import quantize as quantize
    from everyframe.api import record as record
    from everyframe.api import search as search
    from everyframe.api import serve as serve
    from everyframe.api import split as split
    from everyframe.api import stream as stream
    from everyframe.api import teach as teach
    from everyframe.api import train as train
    from everyframe.api import watch as watch
    from everyframe.errors import EveryframeError as EveryframeError
    from everyframe.runtime import Prediction as Prediction
    from everyframe.runtime import Program as Program
    from everyframe.runtime import Stream as Stream
    from everyframe.runtime.alerts import AlertDetector as AlertDetector
    from everyframe.runtime.alerts import AlertRule as AlertRule
