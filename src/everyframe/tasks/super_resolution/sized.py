"""A model that enlarges, for pictures of any size. The file is made for one; engines want to know theirs beforehand.

Nothing in such a graph depends on the size but what its inputs, outputs and states say, so that a copy for another size is made
by writing that there. Whatever else names a size is found, since the shapes of the copy are derived anew and checked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx
from onnx import shape_inference

from everyframe import modelfile
from everyframe.errors import ModelError
from everyframe.modelfile.graph import Graph
from everyframe.modelfile.interface import Interface
from everyframe.modelfile.schema import Metadata


@dataclass(frozen=True)
class Facts:
    """scale: how many times larger both sides become. size: (height, width) of pictures that the file is made for. squares: the
    sides of others are multiples of this.
    """

    scale: int
    size: tuple[int, int]
    squares: int = 1


def facts(model: onnx.ModelProto, metadata: Metadata, taken: Interface, where: object) -> Facts:
    """Raises ModelError for a model that does not enlarge luma frame by frame."""
    if metadata.task != "enhance":
        raise ModelError("This model does not enhance pictures.", where=where, expected="task enhance", got=metadata.task)
    if metadata.kind != "step":
        raise ModelError(
            "This is a clip model; pictures and videos are enlarged by the step model.", where=where,
            hint="`everyframe stream` makes one, or take the step.onnx beside it",
        )  # fmt: skip
    made = _shape(next(value for value in model.graph.output if value.name == taken.logits))
    shape = taken.shape
    fits = len(shape) == len(made) == 4 and None not in (*shape, *made) and shape[:2] == made[:2] == (1, 1)
    height, width = shape[-2:] if fits else (0, 0)
    scale = (made[2] or 0) // (height or 1)
    if not fits or not height or not width or scale < 1 or made[2:] != (height * scale, width * scale) or taken.several:
        raise ModelError(
            "This model's answer is not its picture, enlarged.", where=where,
            expected="(1, 1, H, W) in, (1, 1, sH, sW) out: luma", got=f"{shape} in, {made} out",
        )  # fmt: skip
    return Facts(scale, (height, width), _walked(model, taken)[1])


def sized(model: onnx.ModelProto, metadata: Metadata, found: Facts, size: tuple[int, int], where: object) -> onnx.ModelProto:
    """A copy for pictures of this (height, width). Raises ModelError where something in the graph depends on another."""
    if size == found.size:
        return model
    states = {name for spec in metadata.states for name in (spec.input, spec.output)}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]
    for value in (*made.graph.input, *made.graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims) < 4:
            continue
        for dim, old, new in zip(dims[-2:], found.size, size, strict=True):
            if value.name in states and dim.dim_value != old:
                raise _fixed(where, value.name)
            dim.dim_value = dim.dim_value // old * new
    specs = tuple(
        spec.model_copy(update={"shape": (*spec.shape[:-2], *size)}) for spec in metadata.states if len(spec.shape) == 4
    )
    if len(specs) != len(metadata.states):
        raise _fixed(where, metadata.states[0].input)
    preprocess = metadata.preprocess.model_copy(update={"resize": size})
    modelfile.attach(made, metadata.model_copy(update={"states": specs, "preprocess": preprocess}))
    try:
        shape_inference.infer_shapes(made, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # onnx raises its own InferenceError
        raise _fixed(where, str(error).strip().splitlines()[-1]) from None
    return made


def _fixed(where: object, what: str) -> ModelError:
    return ModelError(
        "This model cannot be made for another size of pictures.", where=where, got=what,
        hint="export it again for the size of your pictures (model.size of the recipe)",
    )  # fmt: skip


def reach(model: onnx.ModelProto, taken: Interface, squares: int = 1) -> int:
    """Pixels of the input, on each side, that one of its pixels can influence in a step: how far parts of a picture must overlap
    to be enlarged one by one. The sum of what convolutions look beyond their middle, on the longest way, in whole squares.
    """
    return -(-_walked(model, taken)[0] // squares) * squares


def _walked(model: onnx.ModelProto, taken: Interface) -> tuple[int, int]:
    """How far a pixel reaches, and the side of the squares of pixels that the network works on."""
    graph = Graph.of(model)
    found: dict[str, tuple[float, float]] = {taken.frames: (0.0, 1.0)}  # wire -> (reach, pixels of the input that a pixel is)
    squares = 1.0
    for node in graph.nodes:
        known = [found[name] for name in node.inputs if name in found]
        if not known:
            continue
        far, pixel = max(known)
        if node.op in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
            taps = node.attr("kernel_shape") or graph.constants[node.inputs[1]].shape[2:]
            dilations = node.attr("dilations", [1] * len(taps))
            far += pixel * max((k - 1) * d / 2 for k, d in zip(taps, dilations, strict=True))
            pixel *= max(node.attr("strides", [1])) if node.op != "ConvTranspose" else 1
        elif node.op == "DepthToSpace":
            pixel /= node.attr("blocksize")
        squares = max(squares, pixel)
        for name in node.outputs:
            found[name] = (far, pixel)
    return math.ceil(found[taken.logits][0] if taken.logits in found else 0), math.ceil(squares)


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    return tuple(dim.dim_value or None for dim in value.type.tensor_type.shape.dim)
