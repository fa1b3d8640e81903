"""A shorter memory for the head of a step model: the window over which it averages, without converting again.

A head keeps its newest n feature frames and averages those that exist: a product with a row of zeros and ones (`.band`), or a
Sum of slots, times a share from a table (`.share`) that counts the first frames. Averaging fewer needs other constants only.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from everyframe.errors import UsageError
from everyframe.modelfile.schema import Metadata


def shortened(given: onnx.ModelProto, metadata: Metadata, window: int) -> tuple[onnx.ModelProto, Metadata]:
    """The step model with a head that averages `window` feature frames. Raises UsageError where that cannot be."""
    if window == metadata.window:
        return given, metadata
    model = onnx.ModelProto()
    model.CopyFrom(given)
    tables = [t for t in model.graph.initializer if t.name.endswith(".share")]
    if len(tables) != 1 or not 1 <= window < metadata.window:
        raise UsageError(
            "The window of this step model cannot be changed so.", where="--window",
            expected=f"1 to {metadata.window}" if len(tables) == 1 else "a step model with one mean over time, at its end",
            got=window, hint="give the clip model it was made from instead",
        )  # fmt: skip
    name = tables[0].name.removesuffix(".share")
    share = numpy_helper.to_array(tables[0])
    _replace(tables[0], np.maximum(share, np.float32(1 / window)))
    for tensor in model.graph.initializer:
        if tensor.name == f"{name}.band":
            band = numpy_helper.to_array(tensor).copy()
            for row in band:
                row[np.flatnonzero(row)[:-window]] = 0
            _replace(tensor, band)
    for node in model.graph.node:
        if node.op_type == "Sum" and node.name == f"{name}::sum":
            del node.input[window:]  # newest first
    spacing = (metadata.delay - metadata.feature_delay) // (metadata.window - 1)
    fewer = (metadata.window - window) * spacing
    changes = {
        "features": (),
        "window": window,
        "delay": metadata.delay - fewer,
        "receptive_field": metadata.receptive_field - fewer,
    }
    return model, metadata.model_copy(update=changes)


def _replace(tensor: onnx.TensorProto, value: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
