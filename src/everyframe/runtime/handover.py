"""From one engine to a faster one while streams run, without a wrong answer in between.

Engines keep states in forms of their own, so none are handed over: the new engine runs beside the old one, on the same frames,
until all that a step network remembers is of frames that the new one has seen too. From then on it says
what it would say had it run from the beginning, bit by bit. A clip network remembers nothing. What remembers for ever is
exchanged where it forgets: with the next stream, or after a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx

from everyframe.errors import EveryframeError
from everyframe.modelfile.schema import Metadata
from everyframe.runtime.engine import Frames, Loaded, Run
from everyframe.runtime.states import StatePlan, steps_remembered

#: largest relative distance between the answers of both at the exchange: what is further off stays out
APART = 1e-3
#: of quantized networks, where engines round values between two steps either way
QUANTIZED_APART = 0.1


def steps_until_known(metadata: Metadata, model: onnx.ModelProto) -> int | None:
    """So many steps after it was started, an engine's state is that of one which saw everything. None: never.

    Counters tell what lies before the first frame: as long as a frame is on its way through the network.
    """
    remembered = None if metadata.unbounded else steps_remembered(model, StatePlan(metadata.states))
    if remembered is None:
        return None
    counts = not all(spec.floats for spec in metadata.states)
    return 1 + remembered + (-(-(metadata.receptive_field + metadata.delay) // metadata.hop) if counts else 0)


class Handover:
    """A session whose streams move to what is offered. steps: see `steps_until_known`. apart: largest relative distance."""

    def __init__(self, first: Loaded, steps: int | None, apart: float = APART) -> None:
        self.first = self.now = first
        self.steps, self.apart = steps, apart

    def offer(self, better: Loaded) -> None:
        """From any thread. New streams begin with it, others move to it at a step."""
        before = "" if better.engine == self.first.engine else f"{self.first.engine} until that was ready"
        self.now = replace(better, reason="; ".join(filter(None, (better.reason, before))))

    def refuse(self, offered: Loaded, kept: Loaded, why: str) -> None:
        """Streams go on with what was kept, also those that begin."""
        if self.now.session is offered.session:
            self.now = replace(kept, reason=f"no {offered.engine}: {why}")

    def start(self) -> HandoverRun:
        return HandoverRun(self)


class HandoverRun:
    """One stream. using: what it runs on now."""

    def __init__(self, session: Handover) -> None:
        self.session, self.using = session, session.now
        self._run = self.using.start()
        self._next: tuple[Loaded, Run, int] | None = None  # what is to take over, and how many steps it has seen

    @property
    def others(self) -> Mapping[str, np.ndarray]:
        return self._run.others

    def step(self, frames: Frames) -> np.ndarray:
        answer = self._run.step(frames)
        if (better := self.session.now).session is not self.using.session and self.session.steps is not None:
            try:
                return self._beside(better, self.session.steps, frames, answer)
            except EveryframeError as error:
                self.session.refuse(better, self.using, str(error.what))
        self._next = None
        return answer

    def reset(self) -> None:
        self._next = None
        better = self.session.now
        if better.session is not self.using.session:
            try:
                self._run, self.using = better.start(), better
                return
            except EveryframeError as error:
                self.session.refuse(better, self.using, str(error.what))
        self._run.reset()

    def _beside(self, better: Loaded, steps: int, frames: Frames, answer: np.ndarray) -> np.ndarray:
        """The same step on the engine that is to take over; it does when it has seen enough."""
        if self._next is None or self._next[0].session is not better.session:
            self._next = (better, better.start(), 0)
        _, run, seen = self._next
        said = run.step(frames)
        self._next = (better, run, seen + 1)
        if seen + 1 < steps:
            return answer
        pairs = [(answer, said), *((value, run.others[name]) for name, value in self.others.items())]
        if not all(self._alike(*pair) for pair in pairs):
            self.session.refuse(better, self.using, f"it said something else than {self.using.engine} in a stream")
            return answer
        self.using, self._run, self._next = better, run, None
        return said

    def _alike(self, wanted: np.ndarray, got: np.ndarray) -> bool:
        return bool(np.linalg.norm(got - wanted) <= self.session.apart * max(float(np.linalg.norm(wanted)), 1e-3))
