"""The peers that run ONNX files: clip networks and step networks on OpenVINO, and on onnxruntime without everyframe.

Each is a class with `step(frames)` that returns the logits; making one loads the model. All get the same number of threads
and compute in float32 (OpenVINO would choose bfloat16 by itself where the processor has it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from everyframe.modelfile.file import load, metadata_of
from everyframe.runtime.states import Rotation, plan, without_copies


def ort_session(model: bytes, threads: int, spin: bool = True) -> onnxruntime.InferenceSession:
    """spin: idle threads keep their core for a while, onnxruntime's default."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def openvino_settings(threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_HYPER_THREADING": True,  # or it would use one thread of a core with two
    }


def _openvino(model: Any, threads: int) -> Any:
    import openvino

    return openvino.Core().compile_model(model, "CPU", openvino_settings(threads)).create_infer_request()


class OrtClip:
    name = "clip network, onnxruntime"

    def __init__(self, path: Path, threads: int) -> None:
        self.session = ort_session(path.read_bytes(), threads)
        self.input = self.session.get_inputs()[0].name

    def step(self, clip: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input: clip})[0]


class OpenVinoClip:
    name = "clip network, OpenVINO"

    def __init__(self, path: Path, threads: int) -> None:
        self.request = _openvino(str(path), threads)

    def step(self, clip: np.ndarray) -> np.ndarray:
        return self.request.infer([clip], share_inputs=True, share_outputs=True)[0]


class OrtHostLoop:
    """What one writes first: outputs are fetched and fed again. Otherwise set up like everyframe's engine."""

    name = "step network, onnxruntime, outputs fed back"

    def __init__(self, path: Path, threads: int) -> None:
        model = load(path)
        self.specs = metadata_of(model, path).states
        self.session = ort_session(model.SerializeToString(), threads, spin=False)
        self.names = ["logits", *(spec.output for spec in self.specs)]
        self.state = {spec.input: np.full(spec.shape, spec.fill, spec.dtype) for spec in self.specs}

    def step(self, frames: np.ndarray) -> np.ndarray:
        logits, *states = self.session.run(self.names, {"frames": frames, **self.state})
        self.state = {spec.input: value for spec, value in zip(self.specs, states, strict=True)}
        return logits


class OpenVinoBound:
    """States in buffers that change places after each step, so nothing is copied: what everyframe's own engine does."""

    name = "step network, OpenVINO, states bound"

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        model = load(path)
        states = plan(metadata_of(model, path).states, path)
        network = openvino.Core().read_model(without_copies(model, states).SerializeToString())
        self.request = _openvino(network, threads)
        self.rotation = Rotation(states)
        self.tensor = lambda array: openvino.Tensor(array, shared_memory=True)
        self.tensors: dict[int, Any] = {}  # buffer id -> its tensor; the buffers live in the rotation

    def step(self, frames: np.ndarray) -> np.ndarray:
        self.request.set_tensor("frames", self.tensor(frames))
        for name, buffer in (*self.rotation.inputs.items(), *self.rotation.outputs.items()):
            if id(buffer) not in self.tensors:
                self.tensors[id(buffer)] = self.tensor(buffer)
            self.request.set_tensor(name, self.tensors[id(buffer)])
        self.request.infer()
        self.rotation.advance()
        return self.request.get_tensor("logits").data.copy()


class OpenVinoStateful:
    """States inside OpenVINO: its make-stateful transformation turns the pairs into variables."""

    name = "step network, OpenVINO, make_stateful"

    def __init__(self, path: Path, threads: int) -> None:
        import openvino
        from openvino._offline_transformations import apply_make_stateful_transformation

        model = load(path)
        network = openvino.Core().read_model(model.SerializeToString())
        states = {spec.input: spec.output for spec in metadata_of(model, path).states}
        apply_make_stateful_transformation(network, states)
        self.request = _openvino(network, threads)

    def step(self, frames: np.ndarray) -> np.ndarray:
        return self.request.infer([frames], share_inputs=True)["logits"]


class OpenVinoSwapped:
    """Two buffers for each state, which change roles after each step: for files in which a state's output is computed from what
    it repeats, so that copies cannot be left out."""

    name = "step network, OpenVINO, states in two buffers"

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        model = load(path)
        self.specs = metadata_of(model, path).states
        self.request = _openvino(openvino.Core().read_model(model.SerializeToString()), threads)
        self.tensor = lambda array: openvino.Tensor(array, shared_memory=True)
        self.now = [self.tensor(np.full(spec.shape, spec.fill, spec.dtype)) for spec in self.specs]
        self.next = [self.tensor(np.full(spec.shape, spec.fill, spec.dtype)) for spec in self.specs]

    def step(self, frames: np.ndarray) -> np.ndarray:
        self.request.set_tensor("frames", self.tensor(frames))
        for spec, now, new in zip(self.specs, self.now, self.next, strict=True):
            self.request.set_tensor(spec.input, now)
            self.request.set_tensor(spec.output, new)
        self.request.infer()
        self.now, self.next = self.next, self.now
        return self.request.get_tensor("logits").data.copy()
