"""clip ONNX -> the same network with constants folded and BatchNorm merged into convolutions.

Exporters leave Shape/If/ConstantOfShape chains; onnxruntime's basic optimizer removes them all and emits only standard
operators, so it is used instead of a folder of our own. Also where bad weights are found, before anything leans on them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from everyframe.errors import ModelError
from everyframe.modelfile.session import session


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the folded model. Raises ModelError if weights are not finite or onnxruntime refuses the model."""
    check_finite(model)
    _check_float32(model)
    folded = _optimized(model)
    if any(node.op_type == "Shape" for node in folded.graph.node):  # of operators that onnxruntime wrote out (GroupNormalization)
        folded = _optimized(folded)
    check_finite(folded)  # what stood in Constant nodes, too
    return folded


def _optimized(model: onnx.ModelProto) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        session(model, save_to=str(path))
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


def check_finite(model: onnx.ModelProto) -> None:
    """Raises ModelError naming the first weight tensor that holds NaN or infinity (a single -inf is a pad value)."""
    for tensor in model.graph.initializer:
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
            array = numpy_helper.to_array(tensor)
            bad = int((np.isnan(array) if array.size == 1 else ~np.isfinite(array)).sum())
            if bad:
                raise ModelError(
                    "A weight tensor holds NaN or infinite values.",
                    where=f"initializer {tensor.name!r}",
                    got=f"{bad} of {array.size} values",
                    hint="the training run diverged or the file is damaged: use another checkpoint",
                )
