"""Is this file a model that can be run? What is wrong with one is said when it is opened, not frames later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from everyframe.errors import ModelError, SourceError
from everyframe.modelfile.file import metadata_of
from everyframe.modelfile.schema import BESIDE, Metadata, Preprocess, Task


@dataclass(frozen=True, slots=True)
class Input:
    """What a model takes beside its states. shape: of a step, frames first, or of a clip (1, C, T, ...); None where dynamic.
    frame: of one frame: (C,), (C, V), (C, V, M), or of pictures (C, H, W). every: frames of the stream between two of its own; 0
    where it has none. preprocess: how its pictures are made; None: it takes arrays. folded: it takes uint8 (hop, H, W, C), and
    the model normalizes by itself.
    """

    name: str
    shape: tuple[int | None, ...]
    frame: tuple[int | None, ...]
    every: int = 1
    preprocess: Preprocess | None = None
    folded: bool = False

    @property
    def pictures(self) -> bool:
        return self.preprocess is not None

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of the pictures, where both are fixed."""
        height, width = self.frame[-2:] if self.pictures else (None, None)
        return (height, width) if height is not None and width is not None else None


@dataclass(frozen=True, slots=True)
class Interface:
    """inputs: what is no state, the one first that counts the stream's frames; most models have this one only. logits, others:
    the names of the main output and of those beside it. task: what the file says the main one is.
    """

    inputs: tuple[Input, ...]
    logits: str
    classes: int | None
    others: tuple[str, ...] = ()
    task: Task | None = None

    @property
    def several(self) -> bool:
        return len(self.inputs) > 1

    @property
    def frames(self) -> str:
        return self.inputs[0].name

    @property
    def shape(self) -> tuple[int | None, ...]:
        return self.inputs[0].shape

    @property
    def folded(self) -> bool:
        return self.inputs[0].folded

    @property
    def frame(self) -> tuple[int | None, ...]:
        return self.inputs[0].frame

    @property
    def pictures(self) -> bool:
        """What goes in is made of a video, and of nothing else."""
        return self.inputs[0].pictures and not self.several

    @property
    def size(self) -> tuple[int, int] | None:
        return self.inputs[0].size


def metadata_or_raise(model: onnx.ModelProto, where: object) -> Metadata:
    metadata = metadata_of(model, where)
    if metadata is None:
        raise ModelError(
            "The model has no everyframe metadata, so its labels, preprocessing and timing are unknown.",
            where=where,
            expected="a file written by `everyframe export` or `everyframe stream`",
            hint="run `everyframe stream CLIP.onnx` on it, or `everyframe import` with a file that says what its tensors are",
        )
    if metadata.kind == "stage":
        raise ModelError(
            "This is one stage of a split model; alone it predicts nothing.",
            where=where,
            hint="give the whole step model",
        )
    return metadata


def interface(model: onnx.ModelProto, metadata: Metadata, where: object) -> Interface:
    """Compares graph and metadata. Raises ModelError at the first disagreement."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in weights}
    outputs = {value.name: value for value in model.graph.output}
    for spec in metadata.states:
        given = spec.output in outputs or spec.copy_of is not None  # a host may move what only repeats another state
        if spec.input not in inputs or not given:
            missing = spec.input if spec.input not in inputs else spec.output
            raise ModelError(
                "A state named in the metadata is not in the graph.",
                where=f"{where}, {missing}",
                hint="convert the clip model again",
            )
        shape = _shape(inputs[spec.input])
        if shape != spec.shape:
            raise ModelError(
                "A state's shape in the graph is not the one in the metadata.",
                where=f"{where}, {spec.input}",
                expected=spec.shape,
                got=shape,
            )
    others = tuple(spec.name for spec in metadata.outputs)
    if gone := [name for name in others if name not in outputs]:
        raise ModelError(
            "An output named in the metadata is not in the graph.",
            where=f"{where}, {gone[0]}",
            hint="convert the clip model again",
        )
    logits = _other(outputs, {*others, *(spec.output for spec in metadata.states)}, "logits", "output", where)
    taken = _inputs(inputs, metadata, where)
    out = _shape(outputs[logits])
    classes = classes_of(out, metadata.frames if metadata.kind == "clip" else None)
    if metadata.labels is not None:
        check_labels(metadata.labels, classes, where)
    return Interface(taken, logits, classes, others, metadata.task)


def _inputs(there: dict[str, onnx.ValueInfoProto], metadata: Metadata, where: object) -> tuple[Input, ...]:
    """What the model takes beside its states, the one first whose frames the stream counts."""
    if metadata.inputs:
        made = []
        for spec in metadata.inputs:
            if spec.name not in there or _shape(there[spec.name]) != spec.shape:
                raise ModelError(
                    "An input named in the metadata is not in the graph, or of another shape.", where=f"{where}, {spec.name}",
                    expected=spec.shape, got=_shape(there[spec.name]) if spec.name in there else "no such input",
                    hint="convert the clip model again",
                )  # fmt: skip
            made.append(Input(spec.name, spec.shape, spec.shape[1:], spec.every, spec.preprocess))
        return tuple(sorted(made, key=lambda each: each.every or metadata.hop + 1))
    name = _other(there, {spec.input for spec in metadata.states}, "frames", "input", where)
    shape, clip = _shape(there[name]), metadata.kind == "clip"
    folded = there[name].type.tensor_type.elem_type == TensorProto.UINT8
    _check_frames(shape, folded, metadata, f"{where}, input {name}")
    frame = (shape[3], *shape[1:3]) if folded else (shape[1], *shape[3:]) if clip else shape[1:]
    return (Input(name, shape, frame, 1, metadata.preprocess if metadata.axes == "CHW" else None, folded),)


def classes_of(shape: tuple[int | None, ...], frames: int | None = None) -> int | None:
    """Classes of an answer (n, classes) or, of maps, (n, classes, H, W). frames: of a clip, which may be answered one by one:
    (1, classes, T) or (1, T, classes).
    """
    if frames is not None and len(shape) == 3:
        return shape[1 if shape[2] == frames else 2]
    return shape[1 if len(shape) == 4 else -1] if shape else None


def check_labels(labels: tuple[str, ...], classes: int | None, where: object) -> None:
    if classes is not None and len(labels) != classes:
        raise ModelError(
            "The label list does not fit the network.",
            where=where,
            expected=f"{classes} labels, one per logit",
            got=f"{len(labels)}",
            hint="give one label per line, in the order the network was trained with",
        )


def check_picture(picture: np.ndarray, taken: Interface, where: object) -> None:
    """Raises SourceError if a prepared picture (H, W, C) does not have the size that the model takes."""
    if taken.size is not None and picture.shape[:2] != taken.size:
        height, width = taken.size
        raise SourceError(
            "The video does not have the size the model takes, and the model does not say how to resize it.",
            where=where,
            expected=f"{height}x{width} (height x width)",
            got=f"{picture.shape[0]}x{picture.shape[1]}",
            hint="set `resize` and `crop` in the metadata's preprocess when converting the model",
        )


def one_kind(taken: Interface, where: object, but: str, hint: str | None = None) -> Interface:
    """The interface of a model with one input. Raises ModelError for one with several. but: what cannot be done with them."""
    if taken.several:
        names = ", ".join(f"{each.name} {each.shape}" for each in taken.inputs)
        raise ModelError(f"This model takes several inputs, and {but}.", where=where, expected="one input", got=names, hint=hint)
    return taken


def check_pictures(taken: Interface, where: object) -> None:
    """Raises ModelError for a model that takes arrays, or scans, where a video is to be run."""
    if taken.task is not None and taken.task in BESIDE and not taken.pictures:
        what, hint = BESIDE[taken.task]
        raise ModelError(f"This model {what}, so a video cannot be run through it.", where=where, hint=hint)
    one_kind(
        taken, where, "a video gives only pictures",
        hint="`everyframe predict MODEL FILE.npz` takes arrays by these names, `ef.predict` and `stream.push` a dict of them",
    )  # fmt: skip
    if not taken.pictures:
        raise ModelError(
            "This model takes arrays, not pictures, so a video cannot be run through it.", where=where,
            expected="pictures (C, H, W)", got=f"input {taken.shape}",
            hint="`everyframe predict MODEL FILE` takes .npy, .npz and .csv, and `ef.predict` arrays and iterators",
        )  # fmt: skip


def _check_frames(shape: tuple[int | None, ...], folded: bool, metadata: Metadata, where: str) -> None:
    clip, c, hop, t = metadata.kind == "clip", metadata.preprocess.channels, metadata.hop, metadata.frames
    if metadata.axes != "CHW":
        _check_arrays(shape, metadata, where)
        return
    wanted = f"(1, {c}, {t}, H, W)" if clip else f"({hop}, H, W, {c}) uint8" if folded else f"({hop}, {c}, H, W)"
    if len(shape) != (5 if clip else 4):
        raise ModelError("The model's input is not a sequence of pictures.", where=where, expected=wanted, got=shape)
    channels = shape[3] if folded and not clip else shape[1]
    if channels not in (c, None):
        raise ModelError(
            "The model takes pictures with another number of channels than its preprocessing makes.",
            where=where,
            expected=f"{c} for color {metadata.preprocess.color!r}",
            got=channels,
            hint="set `color` in the metadata's preprocess to what the network was trained with",
        )
    length, stated, what = (shape[2], t, "clip length") if clip else (shape[0], hop, "hop")
    if length not in (stated, None):
        raise ModelError(
            f"The model's {what} in the graph is not the one in the metadata.", where=where, expected=stated, got=length
        )


def _check_arrays(shape: tuple[int | None, ...], metadata: Metadata, where: str) -> None:
    clip, axes = metadata.kind == "clip", metadata.axes
    place, length = (2, metadata.frames) if clip else (0, metadata.hop)
    if len(shape) != len(axes) + 1 + clip or shape[place] not in (length, None):
        front, rest = (f"1, {axes[0]}, {length}", axes[1:]) if clip else (str(length), axes)
        raise ModelError(
            "The model's input is not what its metadata says.", where=where, expected=f"({', '.join((front, *rest))})", got=shape
        )


def _other(values: dict[str, onnx.ValueInfoProto], states: set[str], usual: str, what: str, where: object) -> str:
    rest = [name for name in values if name not in states]
    if usual in rest and what == "output":
        return usual
    if len(rest) != 1:
        raise ModelError(
            f"The model must have one {what} beside its states.",
            where=where,
            expected=usual,
            got=", ".join(rest) or "none",
            hint="convert the clip model again",
        )
    return rest[0]


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim)
