"""Where onnxruntime sessions are made: all of them, so that what onnxruntime gets wrong is avoided in one place.

`session` is what most need; this is for those who choose by themselves how bytes are computed that would saturate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import onnx
import onnxruntime

from everyframe.errors import ModelError, first_line
from everyframe.modelfile.padding import written_out

#: Pad_Fusion takes zeros in front of a max pool for the pool's own padding, which is -inf: wrong where values are negative
WRONG = ("Pad_Fusion",)
#: what lies between DequantizeLinear and QuantizeLinear is computed in float32
AS_FLOATS: Mapping[str, str] = MappingProxyType({"session.disable_quant_qdq": "1"})


def create(
    model: onnx.ModelProto,
    *,
    optimized: bool = True,
    threads: int | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
    save_to: str | None = None,
    without: Sequence[str] = (),
    profile_to: Path | None = None,
) -> onnxruntime.InferenceSession:
    """A session on the CPU. Raises ModelError with the runtime's own first line if it refuses the model.

    optimized: False computes node by node. threads: within an operator; None lets onnxruntime choose. settings: more of
    onnxruntime's session entries. save_to: only the basic optimizations, written to this file. without: optimizers left out
    beside those that are wrong. profile_to: how the names of the profile's files begin.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it would log is raised
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    # threads that spin while they wait take the cores from the decoder and from everybody else: with two cores and some
    # load a step took 44 ms instead of 14, and a camera's pauses were burnt
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, value in settings.items():
        options.add_session_config_entry(name, value)
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    if save_to is not None:
        options.graph_optimization_level = level.ORT_ENABLE_BASIC
        options.optimized_model_filepath = save_to
    if profile_to is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_to)
    try:
        return onnxruntime.InferenceSession(
            written_out(model).SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=[*WRONG, *without],
        )
    except Exception as error:  # onnxruntime raises many private types, with no common base
        raise ModelError(
            "onnxruntime does not accept this model.",
            got=first_line(error),
            hint="check it with `python -m onnx.checker`-style tools or export it again with a newer exporter",
        ) from None
