"""An engine: ONNX Runtime without any of its options, states fed back by hand."""

from __future__ import annotations

import numpy as np
import onnxruntime

from everyframe.modelfile.states import first_states, next_states
from everyframe.runtime.engine import Job


def load(job: Job) -> PlainSession:
    return PlainSession(job)


class PlainSession:
    """The weights, shared by all streams."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.inference = onnxruntime.InferenceSession(job.model.SerializeToString(), providers=["CPUExecutionProvider"])
        self.outputs = [job.logits, *(spec.output for spec in job.states.heads)]

    def start(self) -> PlainRun:
        return PlainRun(self)


class PlainRun:
    """One stream: it owns its states."""

    def __init__(self, session: PlainSession) -> None:
        self.session = session
        self.reset()

    def reset(self) -> None:
        self.states = first_states(self.session.job.states.specs)

    def step(self, frames: np.ndarray) -> np.ndarray:
        session, job = self.session, self.session.job
        found = session.inference.run(session.outputs, {job.frames: frames, **self.states})
        self.states = next_states(job.states.specs, self.states, dict(zip(session.outputs, found, strict=True)))
        return found[0]
