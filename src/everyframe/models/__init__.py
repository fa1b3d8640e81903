"""The zoo: networks by name, and their way into ONNX files.

    everyframe.models.list()                                   names
    everyframe.models.describe("x3d_s")                        defaults, preprocessing, source
    everyframe.models.create("x3d_s", num_classes=27)          a torch module: (N, 3, T, H, W) -> (N, 27)
    everyframe.export("x3d_s", "clip.onnx", weights="x3d_s.safetensors")

Names and descriptions need no torch; networks do (`pip install 'everyframe[train]'`).

    families/      one family of networks a file
    catalog/     every variant with its defaults, as data: that is where a new one is entered
    checkpoints/   published weights: download, tell who wrote them, rename, load strictly
    cards/         what is known and measured about each network
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

__all__ = ["Entry", "Exported", "create", "describe", "export", "list", "published_preprocess", "register", "save"]


def create(
    name: str,
    num_classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    **options: str,
) -> nn.Module:
    """The network `name` in evaluation mode: (N, C, T, H, W) -> logits (N, classes).

    weights: a .safetensors file or a torch checkpoint of any project in checkpoints/formats.py, or a tag of published
    weights such as "kinetics400", which are downloaded; without it the weights are random. num_classes: default is that
    of the checkpoint, else of the published one; a classifier of another size is replaced, and a warning logged.
    frames (T) and size (height = width, or (height, width)) default to the published clip; TSM, C3D and the pooling
    heads depend on them. in_channels: C; default as published. options: those of `describe(name).choices`, such as shortcut="A".

    Raises UsageError (unknown name, option or tag, impossible shape), WeightsError (a checkpoint that cannot be fetched,
    read safely, or does not fit), EngineError (torch is missing).
    """
    from everyframe.models.checkpoints.load import assemble

    assembled = assemble(name, num_classes, weights, frames, size, in_channels, options)
    for note in assembled.notes:
        logging.getLogger("everyframe").warning("%s: %s", name, note)
    return assembled.net


def save(net: nn.Module, path: str | os.PathLike[str]) -> None:
    """Writes a network's weights as .safetensors; `create(weights=path)` reads them back. Raises OutputError."""
    from everyframe.models.checkpoints.load import save

    save(net, path)
