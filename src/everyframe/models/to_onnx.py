"""A torch network into a clip model: one ONNX file, checked against torch before it is written."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from everyframe import modelfile
from everyframe.errors import UsageError
from everyframe.files import check_writable
from everyframe.limits import MAX_SEED
from everyframe.modelfile.labels import read_labels
from everyframe.models.checkpoints.load import assemble
from everyframe.models.registry import Entry, check_shape, describe, require
from everyframe.models.trace import compare, trace
from everyframe.version import __version__

if TYPE_CHECKING:
    import onnx
    from torch import nn


@dataclass(frozen=True)
class Exported:
    """A clip model, and what was written (path: None where nothing was).

    difference: the worst relative L2 between torch and onnxruntime. nodes: operators and how many of each.
    """

    path: Path | None
    input_shape: tuple[int, ...]
    classes: int
    difference: float
    nodes: dict[str, int]
    metadata: modelfile.Metadata
    notes: tuple[str, ...]
    model: onnx.ModelProto


def export(
    model: str | nn.Module,
    path: str | os.PathLike[str] | None,
    *,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    preprocess: modelfile.Preprocess | None = None,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    options: Mapping[str, str] | None = None,
    pruned: modelfile.Pruned | None = None,
    seed: int = 0,
) -> Exported:
    """Writes a clip model: `clip` (1, C, T, H, W) float32 in, `logits` (1, classes) out, T fixed. No path: nothing is written.

    model: a name from the zoo, or a network of yours from (1, C, T, H, W) to (1, classes). Yours needs frames and size,
        and brings its own weights and classes. C is 1 where `preprocess` asks for gray frames, else 3.
    labels: names of the classes, or a text file with one a line. weights: a file, or a tag of published weights, which
        bring their own labels and preprocessing.
    options: what `models.describe(name).choices` offers, such as {"shortcut": "A"}.
    pruned: what of the weights is zero, for the metadata.
    seed: of random weights, and of the clips the file is checked with.

    Raises UsageError, WeightsError, OutputError, EngineError (torch missing), ModelError where torch cannot export the
    network, ConversionMismatch where the file would not compute what torch computes. Then nothing is written.
    """
    if not 0 <= seed <= MAX_SEED:
        raise UsageError("This seed cannot be used.", where="seed", expected=f"0 to {MAX_SEED}", got=seed)
    path = None if path is None else Path(path)
    names = read_labels(labels) if labels is not None else None
    if not isinstance(model, str) and not callable(getattr(model, "state_dict", None)):
        raise UsageError("Only a network can be exported.", expected="a name or a torch module", got=type(model).__name__)
    if not isinstance(model, str):
        own_shape = _own_shape(frames, size, weights, num_classes)
        _check_preprocess(preprocess or modelfile.Preprocess(), own_shape[1])
    elif preprocess is not None:
        _check_preprocess(preprocess, check_shape(describe(model), frames, size)[1])
    require("torch", "onnxscript")
    if path is not None:
        check_writable(path)
    if isinstance(model, str):
        if num_classes is None and weights is None and names:
            num_classes = len(names)
        channels = preprocess.channels if preprocess else None
        with _seeded(seed):
            made = assemble(model, num_classes, weights, frames, size, channels, options)
        names = names or made.labels
        _check_labels(names, made.num_classes)
        given = preprocess or published_preprocess(made.entry, made.size, made.preprocess)
        net, notes, sha256, shape = made.net, made.notes, made.sha256, (1, given.channels, made.frames, *made.size)
        if weights is None:
            notes = (f"random weights (seed {seed}): it runs at full speed, but its predictions mean nothing",)
    else:
        given = preprocess or modelfile.Preprocess()
        net, notes, sha256, shape = model, (), None, (1, given.channels, own_shape[0], *own_shape[1])
    graph, classes = trace(net, shape, seed)
    _check_labels(names, classes)
    difference = compare(net, graph, shape, seed)
    metadata = modelfile.Metadata(
        kind="clip",
        labels=names,
        preprocess=given,
        frames=shape[2],
        provenance=modelfile.Provenance(
            model=model if isinstance(model, str) else type(model).__name__,
            weights_sha256=sha256,
            tool=f"everyframe {__version__}",
            passes=("export",) if pruned is None else ("prune", "export"),
            notes=notes,
            pruned=pruned,
        ),
    )
    modelfile.attach(graph, metadata)
    if path is not None:
        modelfile.save(graph, path)
    return Exported(
        path,
        shape,
        classes,
        difference,
        dict(Counter(node.op_type for node in graph.graph.node).most_common()),
        metadata,
        notes,
        graph,
    )


def published_preprocess(entry: Entry, size: tuple[int, int], given: modelfile.Preprocess | None = None) -> modelfile.Preprocess:
    """The published preprocessing (that of `given` weights) for frames of another size: resize and crop keep their
    proportion.
    """
    given = given or entry.preprocess
    published = given.crop or entry.size
    if size == published:
        return given
    scale = [new / old for new, old in zip(size, published, strict=True)]
    if isinstance(given.resize, int):
        resize: int | tuple[int, int] | None = round(given.resize * max(scale))
    elif given.resize is not None:
        resize = (round(given.resize[0] * scale[0]), round(given.resize[1] * scale[1]))
    else:
        resize = None
    return given.model_copy(update={"resize": resize, "crop": size})


def _own_shape(
    frames: int | None, size: int | tuple[int, int] | None, weights: object, num_classes: object
) -> tuple[int, tuple[int, int]]:
    """frames and (height, width) for a user's own module."""
    if weights is not None or num_classes is not None:
        raise UsageError(
            "A network of your own comes with its weights and classes.",
            got="weights or num_classes",
            hint="load them into the module before exporting it",
        )
    if frames is None or size is None:
        raise UsageError(
            "A network of your own needs a clip shape.",
            expected="frames and size",
            hint="export(net, path, frames=16, size=112)",
        )
    height, width = (size, size) if isinstance(size, int) else size
    if min(frames, height, width) < 1:
        raise UsageError("The clip shape must be positive.", got=f"{frames} frames of {height} x {width}")
    return frames, (height, width)


def _check_preprocess(preprocess: modelfile.Preprocess, size: tuple[int, int]) -> None:
    """Raises UsageError when frames would come out of `preprocess` in another size than the network takes."""
    given = preprocess.crop or (preprocess.resize if isinstance(preprocess.resize, tuple) else size)
    if tuple(given) != size:
        raise UsageError(
            "The preprocessing does not give frames of the network's size.",
            expected=f"{size[0]} x {size[1]}",
            got=f"{given[0]} x {given[1]}",
            hint="set its crop, or export with that size",
        )


def _check_labels(names: tuple[str, ...] | None, classes: int) -> None:
    if names is not None and len(names) != classes:
        raise UsageError(
            "The label list does not fit the network.",
            expected=f"{classes} labels, one a class",
            got=f"{len(names)}",
            hint="give one label a line in the order of training, or --num-classes for a new classifier",
        )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random weights that depend on `seed` alone; the caller's generator is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
