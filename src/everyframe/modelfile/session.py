"""Runs ONNX models with onnxruntime: for folding, shapes, verification, and step by step (`walk`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from everyframe.errors import ModelError
from everyframe.modelfile import ort, saturation

# MatMulAddFusion flattens a linear layer on (N, T, H, W, C) to a Gemm on (T*H*W, C), TransposeOptimizer moves channel shuffles
# to channels last: neither can be followed in time
_OBSCURE = ["MatMulAddFusion", "TransposeOptimizer", "CommonSubexpressionElimination"]
# what changes the values of a quantized model that is only to be folded: float biases would be rounded to integers, and what
# rounds would move to other places
_ROUNDS = ["WeightBiasQuantization", "QDQPropagationTransformer", "WhereDummyDq", "QDQS8ToU8Transformer"]


def session(
    model: onnx.ModelProto, *, optimize: bool = True, save_to: str | None = None, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """An onnxruntime CPU session. Raises ModelError with the runtime's own first line if it refuses the model.

    Where the integers of a quantized model (QDQ) would saturate on this processor, float32 takes their place, so that what is
    measured and compared with the model is what it says elsewhere, too.
    """
    if save_to is not None:
        return ort.create(model, save_to=save_to, without=_OBSCURE + _ROUNDS, threads=threads)
    floats = optimize and bool(saturation.hits(model, saturation.ORT))
    return ort.create(model, optimized=optimize, threads=threads, settings=ort.AS_FLOATS if floats else {})


def run(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, Any]:
    """One run, unoptimized so that a reference does not share the optimizer's mistakes; returns {output name: array}."""
    made = session(model, optimize=False)
    return _run(made, list(outputs or [o.name for o in made.get_outputs()]), feeds)


def run_all(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """One unoptimized run that returns every intermediate tensor."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    present = {o.name for o in probe.graph.output}
    for node in probe.graph.node:
        for name in node.output:
            if name and name not in present:
                probe.graph.output.append(onnx.ValueInfoProto(name=name))
    made = session(probe, optimize=False)
    return _run(made, [o.name for o in made.get_outputs()], feeds)


def _run(made: onnxruntime.InferenceSession, names: list[str], feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    try:
        return dict(zip(names, made.run(names, dict(feeds)), strict=True))
    except Exception as error:  # onnxruntime raises many private types, with no common base
        raise ModelError(
            "onnxruntime cannot run the model.", got=ort.first_line(error), hint="check its shapes, and export it again"
        ) from None
