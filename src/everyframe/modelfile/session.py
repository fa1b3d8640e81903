"""Runs ONNX models with onnxruntime, for the converter's own needs (folding, shapes, verification)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from everyframe.errors import ModelError
from everyframe.modelfile import saturation

# Pad_Fusion takes zeros in front of a max pool for the pool's own padding, which is -inf: wrong where values are negative
_WRONG = ["Pad_Fusion"]
# MatMulAddFusion flattens a linear layer on (N, T, H, W, C) to a Gemm on (T*H*W, C), TransposeOptimizer moves channel shuffles
# to channels last: neither can be followed in time
_OBSCURE = ["MatMulAddFusion", "TransposeOptimizer", "CommonSubexpressionElimination"]
# what changes the values of a quantized model that is only to be folded: float biases would be rounded to integers, and what
# rounds would move to other places
_ROUNDS = ["WeightBiasQuantization", "QDQPropagationTransformer", "WhereDummyDq", "QDQS8ToU8Transformer"]


def session(model: onnx.ModelProto, *, optimise: bool = True, save_to: str | None = None) -> ort.InferenceSession:
    """An onnxruntime CPU session. Raises ModelError with the runtime's own first line if it refuses the model.

    Where the integers of a quantised model (QDQ) would saturate on this processor, float32 takes their place, so that what is
    measured and compared with the model is what it says elsewhere, too.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the cores to the decoder
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    if save_to is not None:
        options.graph_optimization_level = level.ORT_ENABLE_BASIC
        options.optimized_model_filepath = save_to
    elif optimise and saturation.hits(model, saturation.ORT):
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    disabled = _WRONG + (_OBSCURE + _ROUNDS if save_to is not None else [])
    try:
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
        )
    except Exception as error:  # onnxruntime raises many private exception types
        raise ModelError(
            "onnxruntime does not accept this model.",
            got=str(error).splitlines()[0],
            hint="check it with `python -m onnx.checker`-style tools or export it again with a newer exporter",
        ) from None


def run(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, Any]:
    """One run, unoptimised so that a reference does not share the optimiser's mistakes; returns {output name: array}."""
    made = session(model, optimise=False)
    names = list(outputs or [o.name for o in made.get_outputs()])
    return dict(zip(names, made.run(names, dict(feeds)), strict=True))


def run_all(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """One unoptimised run that returns every intermediate tensor."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    present = {o.name for o in probe.graph.output}
    for node in probe.graph.node:
        for name in node.output:
            if name and name not in present:
                probe.graph.output.append(onnx.ValueInfoProto(name=name))
    made = session(probe, optimise=False)
    names = [o.name for o in made.get_outputs()]
    return dict(zip(names, made.run(names, dict(feeds)), strict=True))
