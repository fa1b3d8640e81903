"""The ONNX reference evaluator, states fed from output to input by the plainest loop. Slow; the truth that tests
compare with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.reference

from everyframe.errors import EngineError
from everyframe.modelfile.states import next_states
from everyframe.runtime.engine import Frames, Job


def load(job: Job) -> ReferenceSession:
    return ReferenceSession(job)


class ReferenceSession:
    def __init__(self, job: Job) -> None:
        self.job = job
        try:
            self.evaluator = onnx.reference.ReferenceEvaluator(job.model)
        except Exception as error:
            raise EngineError("The reference evaluator cannot load the model.", where=job.where, got=str(error)) from None

    def start(self) -> ReferenceRun:
        return ReferenceRun(self)


class ReferenceRun:
    def __init__(self, session: ReferenceSession) -> None:
        self.session = session
        self.others: dict[str, np.ndarray] = {}
        self.reset()

    def reset(self) -> None:
        self.state = {s.input: np.full(s.shape, s.fill, s.dtype) for s in self.session.job.states.specs}

    def step(self, frames: Frames) -> np.ndarray:
        job = self.session.job
        names = [job.logits, *job.others, *(spec.output for spec in job.states.heads)]
        try:
            found: Any = self.session.evaluator.run(names, {**job.feeds(frames), **self.state})
        except Exception as error:
            raise EngineError("The reference evaluator failed to run the model.", where=job.where, got=str(error)) from None
        values = dict(zip(names, found, strict=True))
        self.state = next_states(job.states.specs, self.state, values)
        self.others = {name: np.asarray(values[name]) for name in job.others}
        return np.asarray(found[0])
