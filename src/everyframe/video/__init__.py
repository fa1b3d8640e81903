"""Frames with timestamps, from files, folders, pictures and cameras. No torch.

In the order in which data passes through: `sources` (what a SOURCE argument means) -> `container` (opened, or why not; `boxes`:
what an MP4 and a pipe hold) -> `decode` (PyAV; runs in the child process of `worker`), `clock` (when each frame is shown) ->
`sampling` (which frames the model sees) -> `preprocess.prepare` (color, resize, crop; `tags`: orientation, fields, colors) ->
`reader` (the parent's end of the pipe; `coded`: of pictures without a container; `ending`: when it is over) ->
`preprocess.normalize` (uint8 to the network's float32).

Everything is imported when first used: the decode process starts with nothing but what it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Frame": "frame",
    "Reader": "reader",
    "Source": "sources",
    "as_fps": "sampling",
    "normalize": "preprocess",
    "output_size": "preprocess",
    "prepare": "preprocess",
    "resolve": "sources",
    "sample": "sampling",
}

__all__ = ["Frame", "Reader", "Source", "as_fps", "normalize", "output_size", "prepare", "resolve", "sample"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'everyframe.video' has no attribute {name!r}")
    return getattr(importlib.import_module(f"everyframe.video.{_PUBLIC[name]}"), name)


if TYPE_CHECKING:
    from everyframe.video.frame import Frame as Frame
    from everyframe.video.preprocess import normalize as normalize
    from everyframe.video.preprocess import output_size as output_size
    from everyframe.video.preprocess import prepare as prepare
    from everyframe.video.reader import Reader as Reader
    from everyframe.video.sampling import as_fps as as_fps
    from everyframe.video.sampling import sample as sample
    from everyframe.video.sources import Source as Source
    from everyframe.video.sources import resolve as resolve
