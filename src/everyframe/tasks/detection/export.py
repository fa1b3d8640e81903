"""The trained network as a file: a step model with no memory, from pillars to heat and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from everyframe import modelfile
from everyframe.errors import ConversionMismatch
from everyframe.files import check_writable
from everyframe.modelfile.fold import fold
from everyframe.modelfile.ort import create
from everyframe.models.trace import TOLERANCE, graph_of
from everyframe.pruning.kernel import settle
from everyframe.tasks.detection.detector import BOXES
from everyframe.tasks.detection.network import Network
from everyframe.tasks.detection.pillars import group, shape
from everyframe.version import __version__

FRAMES, HEAT = "frames", "logits"


def export(net: Network, classes: Sequence[str], folder: Path) -> Path:
    """step.onnx in the folder, compared with torch before it is written. Raises ModelError, ConversionMismatch, OutputError."""
    step = folder / "step.onnx"
    check_writable(step)
    grid = net.settings.grid
    graph = graph_from(net)
    _compare(net, graph)
    boxes = tuple(dim.dim_value for dim in graph.graph.output[1].type.tensor_type.shape.dim)
    metadata = modelfile.Metadata(
        kind="step", task="detect", labels=tuple(classes), frames=1, axes="CVM", grid=grid,
        outputs=(modelfile.OutputSpec(name=BOXES, shape=boxes, task="regress"),),
        provenance=modelfile.Provenance(model=net.name, tool=f"everyframe {__version__}", passes=("export",)),
    )  # fmt: skip
    modelfile.save(modelfile.attach(graph, metadata), step)
    return step


def graph_from(net: Network, given: str = FRAMES) -> onnx.ModelProto:
    """given: what its input is called. What is pruned becomes zero, also in the network."""
    settle(net)
    graph = fold(graph_of(net.eval(), (1, *shape(net.settings.grid)), 0))
    _rename(graph, {graph.graph.input[0].name: given, graph.graph.output[0].name: HEAT, graph.graph.output[1].name: BOXES})
    return graph


def _compare(net: Network, graph: onnx.ModelProto) -> None:
    """On points anywhere, which the exporter has not seen."""
    rng, grid = np.random.default_rng(1), net.settings.grid
    points = np.column_stack([rng.uniform(grid.low, grid.high, (4 * grid.slots, 3)), rng.random(4 * grid.slots)])
    frames = group(points.astype(np.float32), grid)[None]
    with torch.no_grad():
        wanted = [each.numpy() for each in net(torch.from_numpy(frames))]
    found = create(graph).run([HEAT, BOXES], {FRAMES: frames})
    for one, other in zip(wanted, found, strict=True):
        difference = float(np.linalg.norm(one - other) / max(float(np.linalg.norm(one)), 1e-12))
        if not difference <= TOLERANCE:
            raise ConversionMismatch(
                "The exported network does not compute what torch computes, so nothing was written.",
                expected=f"a relative difference of at most {TOLERANCE:.0e}", got=f"{difference:.1e}",
            )  # fmt: skip


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    """Tensors, as files call them."""
    for node in model.graph.node:
        for places in (node.input, node.output):
            for place, name in enumerate(places):
                places[place] = names.get(name, name)
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
