"""everyframe: a clip network in, a prediction at every frame out.

    import everyframe

    everyframe.stream("clip.onnx", "step.onnx")          # convert (no torch needed)
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
    import sys as _sys

    from everyframe.errors import UnsupportedSystem as _UnsupportedSystem

    raise _UnsupportedSystem(
        "everyframe does not run on this operating system: its Python has no file locks of POSIX (fcntl).",
        where=_sys.platform, expected="Linux or macOS", hint="use Linux or macOS; on Windows, WSL is a Linux",
    ) from None  # fmt: skip

# At import, because these libraries look only while they are loaded, and any later line may load them.
privacy.keep()

# public name -> (module, attribute)
_PUBLIC: dict[str, tuple[str, str]] = {
    "open": ("everyframe.runtime", "open"),
    "Program": ("everyframe.runtime", "Program"),
    "Stream": ("everyframe.runtime", "Stream"),
    "Prediction": ("everyframe.runtime", "Prediction"),
    "stream": ("everyframe.conversion", "stream"),
    "info": ("everyframe.conversion", "info"),
    "export": ("everyframe.models", "export"),
    "teach": ("everyframe.teaching", "teach"),
    "models": ("everyframe.models", ""),
    "errors": ("everyframe.errors", ""),
    "EveryframeError": ("everyframe.errors", "EveryframeError"),
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'everyframe' has no attribute {name!r}")
    module_name, attribute = _PUBLIC[name]
    module = importlib.import_module(module_name)
    return getattr(module, attribute) if attribute else module


if TYPE_CHECKING:
    from everyframe import errors as errors
    from everyframe import models as models
    from everyframe.conversion import info as info
    from everyframe.conversion import stream as stream
    from everyframe.errors import EveryframeError as EveryframeError
    from everyframe.models import export as export
    from everyframe.runtime import Prediction as Prediction
    from everyframe.runtime import Program as Program
    from everyframe.runtime import Stream as Stream
    from everyframe.runtime import open as open
    from everyframe.teaching import teach as teach
