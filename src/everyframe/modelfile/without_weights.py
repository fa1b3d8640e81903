"""Models without the values of their weights: shapes and operators can be looked at and changed without copying them about."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import IO

import onnx

#: constants of more values than this are weights; others may be shapes and axes, and are kept
SMALL = 256


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the values of its weights, which is quick to look at and to change; `with_weights` puts them back."""
    bare = onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions,
        producer_name=model.producer_name, producer_version=model.producer_version, metadata_props=model.metadata_props,
        graph=onnx.GraphProto(
            name=model.graph.name, node=model.graph.node, input=model.graph.input, output=model.graph.output,
            value_info=model.graph.value_info,
        ),
    )  # fmt: skip
    for tensor in model.graph.initializer:
        small = prod(tensor.dims) <= SMALL
        empty = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        bare.graph.initializer.append(tensor if small else empty)
    return bare


#: numbers of ModelProto's fields that hold a graph: its own, of training, of functions
_GRAPHS = frozenset(onnx.ModelProto.DESCRIPTOR.fields_by_name[name].number for name in ("graph", "training_info", "functions"))
_VARINT, _BYTES = 0, 2  # of protobuf's wire


def without_graph(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """What a file says beside its graph, which is not read: the metadata of one of gigabytes takes no time. Raises OSError,
    ValueError for what is no model.
    """
    kept = bytearray()
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while (key := _varint(file)) is not None:
            number, kind = key >> 3, key & 7
            value = _varint(file)
            if kind not in (_VARINT, _BYTES) or value is None or (kind == _BYTES and value > size - file.tell()):
                raise ValueError("no model, or one that is cut short")
            if kind == _BYTES and number in _GRAPHS:
                file.seek(value, os.SEEK_CUR)
            else:
                kept += _coded(key) + _coded(value) + (file.read(value) if kind == _BYTES else b"")
    try:
        return onnx.ModelProto.FromString(bytes(kept))
    except Exception as error:  # of protobuf, which is not ours to import
        raise ValueError(str(error)) from None


def _varint(file: IO[bytes]) -> int | None:
    """The next number; None at the end of the file. Raises ValueError for one that is cut short or too long."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte and not shift:
            return None
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("no number")


def _coded(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def with_weights(bare: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of what became of a `without_weights` model, with the weights of `source`."""
    whole, weights = onnx.ModelProto(), {tensor.name: tensor for tensor in source.graph.initializer}
    whole.CopyFrom(bare)
    for tensor in whole.graph.initializer:
        if prod(tensor.dims) > SMALL and tensor.name in weights:
            tensor.CopyFrom(weights[tensor.name])
    return whole
