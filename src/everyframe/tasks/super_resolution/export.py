"""The trained network as a file: a step model with no memory for pictures; for video a clip model, which becomes a step model."""

from __future__ import annotations

from pathlib import Path

import onnx

from everyframe import modelfile
from everyframe.conversion import stream
from everyframe.files import check_writable
from everyframe.modelfile.fold import fold
from everyframe.models.trace import compare, graph_of
from everyframe.tasks.super_resolution.network import Network
from everyframe.version import __version__

#: frames of the clip that a network for video is written for
CLIP = 4


def export(net: Network, folder: Path) -> Path:
    """step.onnx in the folder, and of a network for video clip.onnx beside it; compared with torch, and as streams with each
    other, before they are written. Raises ModelError, ConversionMismatch, OutputError.
    """
    step, clip = folder / "step.onnx", folder / "clip.onnx"
    check_writable(step)
    plain, moving = net.collapsed(), bool(net.shifted)
    shape = (1, 1, *((CLIP,) if moving else ()), *net.settings.size)
    graph = graph_of(plain, shape, 0)
    compare(plain, graph, shape, 0)
    # whoever takes videos without enlarging them, as a calibration does, makes their frames fit
    preprocess = modelfile.Preprocess(color="gray", resize=net.settings.size)
    metadata = modelfile.Metadata(
        kind="clip" if moving else "step", task="enhance", preprocess=preprocess,
        frames=CLIP if moving else 1,
        provenance=modelfile.Provenance(model=net.name, tool=f"everyframe {__version__}", passes=("export",)),
    )  # fmt: skip
    if moving:
        modelfile.save(modelfile.attach(graph, metadata), clip)
        stream(clip, step)
        return step
    made = fold(graph)
    rename(made, graph.graph.input[0].name, "frames")
    modelfile.save(modelfile.attach(made, metadata), step)
    return step


def rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """An input or output, as others call it."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
    for value in (*model.graph.input, *model.graph.output):
        if value.name == old:
            value.name = new
