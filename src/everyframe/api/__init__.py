"""The Python face: one function a verb, each of them also `everyframe.NAME`. Nothing heavy is imported before it is used.

given      what may be given as a model: a path, bytes, a model in memory
models     open, convert, info
fitting    check, fix
results    what they give
"""

from __future__ import annotations

from everyframe.api.fitting import check, fix
from everyframe.api.models import convert, info, open, stream

__all__ = ["check", "convert", "fix", "info", "open", "stream"]
