"""ONNX Runtime on the CPU; inputs and states are bound to buffers, so that a step copies nothing but the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import onnx
import onnxruntime

from everyframe.errors import EngineError, EveryframeError, ModelError, first_line
from everyframe.modelfile import saturation
from everyframe.modelfile.exact import Exact
from everyframe.modelfile.noise import noise
from everyframe.modelfile.ort import AS_FLOATS, create
from everyframe.modelfile.states import first_states
from everyframe.runtime.engine import Frames, Job, cores
from everyframe.runtime.states import Rotation, without_copies

#: weights in int8 become uint8, which another kernel multiplies without saturating; onnxruntime itself fails at some models then
_AS_UNSIGNED: Mapping[str, str] = MappingProxyType({"session.x64quantprecision": "1"})
#: largest relative distance between the answers of both ways, which round values between two steps by their last bits
_NEAR = 0.1


def load(job: Job) -> OrtSession:
    return OrtSession(job)


class OrtSession:
    """reason: how it computes, where that is not the usual way. warning: what is wrong with its answers."""

    def __init__(self, job: Job) -> None:
        self.job = replace(job, model=onnx.ModelProto())  # the inference session has its own copy of the weights
        self.reason = self.warning = ""
        model = without_copies(job.model, job.states)
        cut_off = saturation.hits(model, saturation.ORT)
        if not cut_off:
            self.inference = _session(model, job)
            return
        floats = None if _has_integer_operators(model) else _session(model, job, AS_FLOATS)
        if (unsigned := _unsigned(model, job, floats, cut_off)) is not None:
            self.inference, self.reason = unsigned, saturation.AS_UNSIGNED
        elif floats is not None:
            self.inference, self.reason = floats, saturation.AS_FLOATS
        else:
            self.inference, self.warning = _session(model, job), saturation.warning(cut_off, saturation.ORT)

    def start(self) -> OrtRun:
        return OrtRun(self)


class OrtRun:
    """Ping-pong: the buffer that a state's output is written to becomes its input in the next step (see `states`)."""

    def __init__(self, session: OrtSession) -> None:
        self.session = session
        self.rotation = Rotation(session.job.states)
        self.binding = session.inference.io_binding()
        self._values: dict[int, onnxruntime.OrtValue] = {}  # buffer id -> its OrtValue; the buffers live in the rotation
        self._given: dict[str, tuple[np.ndarray, onnxruntime.OrtValue]] = {}  # input -> the array that is bound to it
        for name in (session.job.logits, *session.job.others):
            self.binding.bind_output(name, "cpu")
        self.others: dict[str, np.ndarray] = {}
        self._bind()

    def reset(self) -> None:
        self.rotation.reset()
        self._values = {}
        self._bind()

    def step(self, frames: Frames) -> np.ndarray:
        job = self.session.job
        for name, array in job.feeds(frames).items():
            if name not in self._given or array is not self._given[name][0]:  # one that is filled again is bound only once
                array = np.ascontiguousarray(array)
                self._given[name] = array, onnxruntime.OrtValue.ortvalue_from_numpy(array)
                self.binding.bind_ortvalue_input(name, self._given[name][1])
        try:
            self.session.inference.run_with_iobinding(self.binding)
        except Exception as error:
            raise EngineError("ONNX Runtime failed to run the model.", where=job.where, got=first_line(error)) from None
        found = self.binding.get_outputs()  # in the order they were bound
        logits = np.array(found[0].numpy())  # a copy: its memory is used again
        self.others = {name: np.array(value.numpy()) for name, value in zip(job.others, found[1:], strict=False)}
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


def _session(model: onnx.ModelProto, job: Job, more: Mapping[str, str] = MappingProxyType({})) -> onnxruntime.InferenceSession:
    try:
        return create(model, threads=job.threads or cores(), settings=more)
    except ModelError as error:
        raise EngineError(
            "ONNX Runtime cannot load the model.", where=job.where, got=error.got, hint="check it with `everyframe info`"
        ) from None


def _has_integer_operators(model: onnx.ModelProto) -> bool:
    """Those that multiply bytes by definition, which no setting turns into floats."""
    return any(node.op_type in saturation.INTEGER for node in model.graph.node)


def _unsigned(
    model: onnx.ModelProto, job: Job, floats: onnxruntime.InferenceSession | None, cut_off: list[saturation.SaturatingLayer]
) -> onnxruntime.InferenceSession | None:
    """A session with unsigned weights, where onnxruntime can make one and its first step is that of floats or, where floats
    are not to be had, of exact arithmetic.
    """
    given = _first_step(model, job)
    if given is None or any(layer.pair is None for layer in cut_off):  # what is no constant stays signed
        return None
    try:
        made = _session(model, job, _AS_UNSIGNED)
        found = made.run([job.logits], given)[0]
        wanted = floats.run([job.logits], given)[0] if floats else Exact(model, job.where).run(given, [job.logits])[job.logits]
    except EveryframeError:
        return None
    except Exception:  # as above; its kernels refuse some models only when they run
        return None
    distance = np.linalg.norm(np.asarray(found) - wanted)
    return made if distance <= _NEAR * max(float(np.linalg.norm(np.asarray(wanted))), 1e-3) else None


def _first_step(model: onnx.ModelProto, job: Job) -> dict[str, np.ndarray] | None:
    """Noise and the states before it; None where the input has no fixed size."""
    made = something(model, job.inputs)
    return None if made is None else {**made, **first_states(job.states.specs)}


def something(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Something for each of these inputs; None where one has no fixed size."""
    made, random = {}, np.random.default_rng(0)
    for value in model.graph.input:
        kind = value.type.tensor_type
        if value.name in names:
            shape = [dim.dim_value for dim in kind.shape.dim]
            if not all(shape):
                return None
            dtype = np.uint8 if kind.elem_type == onnx.TensorProto.UINT8 else np.float32
            made[value.name] = noise(shape, dtype, random)
    return made
