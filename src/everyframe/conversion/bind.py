"""A network as it was exported -> one for one clip of known size, in float32. What has to be settled before all else:

a symbolic batch               one clip
symbolic T, H, W               what `frames` and `size` say
an input of bytes              floats of the same values
float16 inside or at its ends  float32, with the same weights
weights that are inputs        constants
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from everyframe.conversion.facts import Options
from everyframe.conversion.inputs import layouts, real_inputs
from everyframe.errors import ModelError


def bind(model: onnx.ModelProto, options: Options) -> tuple[onnx.ModelProto, list[str]]:
    """(the network, a note for what was changed). The model is copied where anything is. Raises ModelError."""
    inputs = real_inputs(model)
    if len(inputs) < len(model.graph.input):
        model = _without_defaults(model)
    found = layouts(options.layout, {value.name: len(value.type.tensor_type.shape.dim) for value in inputs})
    symbolic = any(not dim.HasField("dim_value") for value in inputs for dim in value.type.tensor_type.shape.dim)
    kinds = {tensor.data_type for tensor in model.graph.initializer} | {value.type.tensor_type.elem_type for value in inputs}
    half = TensorProto.FLOAT16 in kinds or any(_casts_to_half(node) for node in model.graph.node)
    if not (symbolic or half or TensorProto.UINT8 in kinds or options.frames or options.size):
        return model, []
    made, notes = onnx.ModelProto(), []
    made.CopyFrom(model)
    for value in real_inputs(made):
        if symbolic or options.frames or options.size:
            _sizes(value, found[value.name], options, alone=len(inputs) == 1)
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            _only_cast(made, value)
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    if symbolic or options.frames or options.size:
        _forget_sizes(made)
    if half:
        _widen(made)
        notes.append("the network's float16 is computed in float32, with the same weights")
    return made, notes


def _without_defaults(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights are constants: before IR version 4 they were inputs with a default, which is never folded."""
    made, names = onnx.ModelProto(), {value.name for value in real_inputs(model)}
    made.CopyFrom(model)
    made.ir_version = max(made.ir_version, 4)
    for i in reversed(range(len(made.graph.input))):
        if made.graph.input[i].name not in names:
            del made.graph.input[i]
    return made


def _sizes(value: onnx.ValueInfoProto, layout: str, options: Options, *, alone: bool) -> None:
    """alone: sizes that are asked for are this input's; of several, they fill in what is open."""
    dims = value.type.tensor_type.shape.dim
    shape = "(" + ", ".join(dim.dim_param or str(dim.dim_value) for dim in dims) + ")"
    if len(dims) != len(layout):
        return  # said where the layout is compared with the input
    height, width = options.size or (None, None)
    given = {"N": 1, "T": options.frames, "H": height, "W": width}
    for letter, dim in zip(layout, dims, strict=True):
        fixed = dim.dim_value if dim.HasField("dim_value") else None
        size = given.get(letter) if letter != "N" else (fixed or 1)
        if fixed and size and size != fixed and alone:
            raise ModelError(
                "The clip network's input has another size than the one asked for.", where=f"input {value.name!r}",
                expected=f"{letter} = {fixed}", got=f"{letter} = {size}",
                hint="leave --frames and --size away, or export the network for this size",
            )  # fmt: skip
        if not fixed and not size:
            raise ModelError(
                "The clip network's input has a dynamic shape.",
                where=f"input {value.name!r}",
                expected="static (1, C, T, H, W)",
                got=shape,
                hint="say what it was trained on, --frames T --size HxW, or export it with that; it is part of what was learned",
            )
        dim.Clear()
        dim.dim_value = fixed or size


def _forget_sizes(model: onnx.ModelProto) -> None:
    """Sizes of inner tensors and outputs follow from the input's."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")


def _casts_to_half(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == TensorProto.FLOAT16 for a in node.attribute)


#: operators that give bytes on as they are
_MOVES = frozenset(["Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Concat", "Identity"])


def _only_cast(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> None:
    """Bytes that are only moved until they are cast to floats can as well come as floats."""
    names = {value.name}
    for node in model.graph.node:
        if not names & set(node.input) or node.op_type in ("Cast", "Shape"):
            continue
        if node.op_type not in _MOVES:
            raise ModelError(
                "The network computes with bytes before it makes floats of them.", where=f"input {value.name!r}, {node.op_type}",
                expected="a Cast to float32 before anything is computed", got="uint8",
                hint="export the network with a float32 input",
            )  # fmt: skip
        names |= set(node.output)


def _widen(model: onnx.ModelProto) -> None:
    graph = model.graph
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            if attribute.name == "dtype" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        wide = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
        tensor.CopyFrom(wide)
