"""clip ONNX -> the same network with constants folded and BatchNorm merged into convolutions.

Exporters leave Shape/If/ConstantOfShape chains; onnxruntime's basic optimizer removes them all and emits only standard
operators, so it is used instead of a folder of our own. What is no network at all is refused before.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from everyframe.errors import ModelError
from everyframe.modelfile.session import session

OLDEST = 9  # opset with which everything that exporters write is standard


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the folded model, which was looked at before (`bounds`). Raises ModelError if onnxruntime refuses it."""
    _check_float32(model)
    folded = _optimized(model)
    if any(node.op_type == "Shape" for node in folded.graph.node):  # of operators that onnxruntime wrote out (GroupNormalization)
        folded = _optimized(folded)
    return folded


def _optimized(model: onnx.ModelProto) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        try:
            session(model, save_to=str(path))
        except ModelError as error:
            opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
            if opset >= OLDEST:
                raise
            raise ModelError(
                error.what, where=f"opset {opset}", got=error.got, expected=f"opset {OLDEST} or newer",
                hint="export it again with a newer opset (torch: opset_version=17): older exporters wrote operators that no "
                "runtime knows",
            ) from None  # fmt: skip
        return onnx.load(str(path))


def _check_float32(model: onnx.ModelProto) -> None:
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        kind = value.type.tensor_type.elem_type
        if value.name not in weights and kind != onnx.TensorProto.FLOAT:
            raise ModelError(
                "Only float32 networks can be streamed.",
                where=f"input {value.name!r}",
                got=onnx.TensorProto.DataType.Name(kind).lower(),
                hint="export the network in float32",
            )
