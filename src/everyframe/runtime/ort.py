"""ONNX Runtime on the CPU; inputs and states are bound to buffers, so that a step copies nothing but the logits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime

from everyframe.errors import EngineError
from everyframe.runtime.engine import Job, cores
from everyframe.runtime.states import Rotation, without_copies


def load(job: Job) -> OrtNetwork:
    return OrtNetwork(job)


class OrtNetwork:
    def __init__(self, job: Job) -> None:
        self.job = replace(job, model=onnx.ModelProto())  # the session has its own copy of the weights
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = job.threads or cores()
        options.inter_op_num_threads = 1
        # threads that spin while they wait take the cores from the decoder and from everybody else: with two cores and some
        # load a step took 44 ms instead of 14, and a camera's pauses were burnt
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = without_copies(job.model, job.states)
        try:
            self.session = onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                # it takes zeros in front of a max pool for the pool's own padding, which is -inf: wrong for negative values
                disabled_optimizers=["Pad_Fusion"],
            )
        except Exception as error:  # onnxruntime raises a dozen types of its own, with no common base
            raise EngineError(
                "ONNX Runtime cannot load the model.",
                where=job.where,
                got=_short(error),
                hint="check it with `everyframe info`",
            ) from None

    def start(self) -> OrtRun:
        return OrtRun(self)


class OrtRun:
    """Ping-pong: the buffer that a state's output is written to becomes its input in the next step (see `states`)."""

    def __init__(self, network: OrtNetwork) -> None:
        self.network = network
        self.rotation = Rotation(network.job.states)
        self.binding = network.session.io_binding()
        self._values: dict[int, onnxruntime.OrtValue] = {}  # buffer id -> its OrtValue; the buffers live in the rotation
        self._frames: np.ndarray | None = None
        self._frames_value: onnxruntime.OrtValue | None = None
        self.binding.bind_output(network.job.logits, "cpu")
        self._bind()

    def reset(self) -> None:
        self.rotation.reset()
        self._values = {}
        self._bind()

    def step(self, frames: np.ndarray) -> np.ndarray:
        job = self.network.job
        if frames is not self._frames:  # a caller that fills the same array again is bound only once
            self._frames = frames = np.ascontiguousarray(frames)
            self._frames_value = onnxruntime.OrtValue.ortvalue_from_numpy(frames)
            self.binding.bind_ortvalue_input(job.frames, self._frames_value)
        try:
            self.network.session.run_with_iobinding(self.binding)
        except Exception as error:
            raise EngineError("ONNX Runtime failed to run the model.", where=job.where, got=_short(error)) from None
        logits = np.array(self.binding.get_outputs()[0].numpy())  # the first output bound; its memory is used again
        if job.states.specs:
            self.rotation.advance()
            self._bind()
        return logits

    def _bind(self) -> None:
        for name, buffer in self.rotation.inputs.items():
            self.binding.bind_ortvalue_input(name, self._value(buffer))
        for name, buffer in self.rotation.outputs.items():
            self.binding.bind_ortvalue_output(name, self._value(buffer))

    def _value(self, buffer: np.ndarray) -> onnxruntime.OrtValue:
        value = self._values.get(id(buffer))
        if value is None:
            value = self._values[id(buffer)] = onnxruntime.OrtValue.ortvalue_from_numpy(buffer)  # shares the memory
        return value


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
