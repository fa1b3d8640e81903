"""Is this file a model that can be run? What is wrong with one is said when it is opened, not frames later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from everyframe.errors import ModelError, SourceError
from everyframe.modelfile.file import metadata_of
from everyframe.modelfile.schema import Metadata


@dataclass(frozen=True, slots=True)
class Interface:
    """frames, logits: the names of the tensors that are not states. shape: of the frames input, None where dynamic;
    (hop, C, H, W) for a step model, (1, C, T, H, W) for a clip model. folded: the model takes uint8 (hop, H, W, C) and
    normalizes by itself. pictures: what goes in is made of a video, not given as arrays. others: outputs beside logits and
    states. clip: a clip model's.
    """

    frames: str
    logits: str
    shape: tuple[int | None, ...]
    folded: bool
    classes: int | None
    pictures: bool = True
    others: tuple[str, ...] = ()
    clip: bool = False

    @property
    def frame(self) -> tuple[int | None, ...]:
        """The shape of one frame: (C,), (C, V), (C, V, M), or of pictures (C, H, W)."""
        if self.folded:
            return (self.shape[3], *self.shape[1:3])
        return (self.shape[1], *self.shape[3:]) if self.clip else self.shape[1:]

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of the pictures, where both are fixed."""
        if not self.pictures:
            return None
        height, width = self.shape[1:3] if self.folded else self.shape[-2:]
        return (height, width) if height is not None and width is not None else None


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
    frames = _other(inputs, {spec.input for spec in metadata.states}, "frames", "input", where)
    others = tuple(spec.name for spec in metadata.outputs)
    if gone := [name for name in others if name not in outputs]:
        raise ModelError(
            "An output named in the metadata is not in the graph.",
            where=f"{where}, {gone[0]}",
            hint="convert the clip model again",
        )
    logits = _other(outputs, {*others, *(spec.output for spec in metadata.states)}, "logits", "output", where)
    shape = _shape(inputs[frames])
    folded = inputs[frames].type.tensor_type.elem_type == TensorProto.UINT8
    _check_frames(shape, folded, metadata, f"{where}, input {frames}")
    out = _shape(outputs[logits])
    classes = classes_of(out, metadata.frames if metadata.kind == "clip" else None)
    if metadata.labels is not None:
        check_labels(metadata.labels, classes, where)
    return Interface(frames, logits, shape, folded, classes, metadata.axes == "CHW", others, metadata.kind == "clip")


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


def check_pictures(taken: Interface, where: object) -> None:
    """Raises ModelError for a model that takes arrays where a video is to be run."""
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
