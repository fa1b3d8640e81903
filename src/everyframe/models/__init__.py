"""The zoo: networks by name, and their way into ONNX files.

    everyframe.models.list()                                   names
    everyframe.models.describe("x3d_s")                        defaults, preprocessing, source
    everyframe.models.create("x3d_s", num_classes=27)          a torch module: (N, 3, T, H, W) -> (N, 27)
    everyframe.export("x3d_s", "clip.onnx", weights="x3d_s.safetensors")

Names and descriptions need no torch; networks do (`pip install 'everyframe[train]'`). One family of networks is one
file: x3d.py, resnet_video.py (Slow, I3D), r2plus1d.py (with R3D and MC3), c3d.py, tsm.py, mobilenet3d_v2.py; what they
share is in blocks.py. catalogue.py lists every variant with its defaults: that is where a new one is entered.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from everyframe.models.registry import Entry, describe, register
from everyframe.models.registry import names as list
from everyframe.models.to_onnx import Exported, export, published_preprocess

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Entry", "Exported", "create", "describe", "export", "list", "published_preprocess", "register"]


def create(
    name: str,
    num_classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
) -> nn.Module:
    """The network `name` in evaluation mode: (N, 3, T, H, W) -> logits (N, classes).

    weights: a .safetensors file or torch checkpoint; without it the weights are random. num_classes: default is that
    of the checkpoint, else of the published one; a classifier of another size is replaced, and a warning logged.
    frames (T) and size (height = width, or (height, width)) default to the published clip; TSM, C3D and the pooling
    heads depend on them.
    """
    from everyframe.models.checkpoints.load import assemble

    assembled = assemble(name, num_classes, weights, frames, size)
    for note in assembled.notes:
        logging.getLogger("everyframe").warning("%s: %s", name, note)
    return assembled.net
