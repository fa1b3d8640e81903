"""A split step model: its parts run one after another, or each stage in a thread of its own.

In the second form stage i works on step t while stage i+1 works on step t-1. The parts and what they are given are the same, so
the answers are too; they come later. A worker is a stage with the host's parts before it.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime

from everyframe.errors import EngineError, ModelError, first_line
from everyframe.modelfile import saturation
from everyframe.modelfile.manifest import Manifest, Part, read_parts
from everyframe.modelfile.session import session
from everyframe.modelfile.states import first_states
from everyframe.runtime.engine import Frames, cores

Values = dict[str, np.ndarray]


def load(path: str | os.PathLike[str], manifest: Manifest, threads: int | None, overlap: bool) -> PipelineSession:
    """Raises ModelError for a folder whose files are missing or not those of the manifest, EngineError."""
    return PipelineSession(manifest, read_parts(path, manifest), threads, overlap)


class PipelineSession:
    """Sessions, shared by all streams. threads: of each part. overlap: stages work at the same time, one thread each.
    reason, warning: as an engine has them.
    """

    def __init__(
        self,
        manifest: Manifest,
        models: list[onnx.ModelProto],
        threads: int | None = None,
        overlap: bool = False,
        optimize: bool = True,
    ) -> None:
        self.manifest, self.overlap = manifest, overlap
        threads = threads or (1 if overlap else cores())
        sessions = (_session(model, part.file, threads, optimize) for part, model in zip(manifest.parts, models, strict=True))
        self.parts = [_Runner(part, made) for part, made in zip(manifest.parts, sessions, strict=True)]
        cut_off = [layer for model in models for layer in saturation.hits(model, saturation.ORT)]
        still = [layer for layer in cut_off if layer.op in saturation.INTEGER]
        self.reason = saturation.AS_FLOATS if cut_off and not still else ""
        self.warning = saturation.warning(still, saturation.ORT) if still else ""

    def start(self) -> SerialRun | OverlappedRun:
        return OverlappedRun(self) if self.overlap else SerialRun(self)


def _session(model: onnx.ModelProto, where: str, threads: int, optimize: bool) -> onnxruntime.InferenceSession:
    """Not optimized it computes node by node, so that it does not matter what is cut where. A part is not asked whether it can
    do with unsigned weights: bytes that would saturate on this processor are computed as float32.
    """
    try:
        return session(model, optimize=optimize, threads=threads)
    except ModelError as error:
        raise EngineError("ONNX Runtime cannot load the model.", where=where, got=error.got) from None


class _Runner:
    def __init__(self, part: Part, made: onnxruntime.InferenceSession) -> None:
        self.part, self.session = part, made
        self.inputs = [port.name for port in part.inputs]
        self.outputs = [port.name for port in part.outputs]

    def run(self, values: Values) -> Values:
        try:
            made = self.session.run(self.outputs, {name: values[name] for name in self.inputs})
        except Exception as error:
            raise EngineError("ONNX Runtime failed to run a part.", where=self.part.file, got=first_line(error)) from None
        return dict(zip(self.outputs, made, strict=True))


def _given(manifest: Manifest, frames: Frames) -> Values:
    given = frames if isinstance(frames, Mapping) else {manifest.frames.name: frames}
    return {name: np.ascontiguousarray(array) for name, array in given.items()}


class SerialRun:
    """One part after another. values: all tensors of the last step; spent: seconds that each part took in it, by file."""

    def __init__(self, session: PipelineSession) -> None:
        self.session = session
        self.spent: dict[str, float] = {}
        self.values: Values = {}
        self.others: Values = {}
        self.reset()

    def reset(self) -> None:
        self.state = first_states(self.session.manifest.metadata.states)

    def step(self, frames: Frames) -> np.ndarray:
        manifest = self.session.manifest
        self.values = values = {**_given(manifest, frames), **self.state}
        for runner in self.session.parts:
            begun = time.perf_counter()
            values |= runner.run(values)
            self.spent[runner.part.file] = time.perf_counter() - begun
        self.state = {spec.input: values[spec.output] for spec in manifest.metadata.states}
        self.others = {port.name: values[port.name] for port in manifest.others}
        return values[manifest.logits.name]


@dataclass(frozen=True)
class _Worker:
    """Parts that run in one thread. needs: what it is sent. serves: tensor -> (worker, the name it has there, steps later)."""

    runners: list[_Runner]
    needs: frozenset[str]
    serves: dict[str, list[tuple[int, str, int]]]


class OverlappedRun:
    """`submit` starts a step, `result` waits for the oldest. No more than `depth` steps are under way."""

    def __init__(self, session: PipelineSession) -> None:
        self.session = session
        self.workers = _workers(session)
        self.depth = len(self.workers)
        self._begin()

    def _begin(self) -> None:
        self.under_way = self._step = 0
        self._inboxes: list[queue.SimpleQueue[tuple[int, str, np.ndarray] | None]] = [queue.SimpleQueue() for _ in self.workers]
        self._answers: queue.SimpleQueue[tuple[str, np.ndarray] | BaseException] = queue.SimpleQueue()
        manifest = self.session.manifest
        self._early: dict[str, deque[np.ndarray]] = {port.name: deque() for port in (manifest.logits, *manifest.others)}
        self.others: Values = {}
        self._stop = weakref.finalize(self, _send_all, self._inboxes)
        first = first_states(self.session.manifest.metadata.states)
        for worker, inbox in zip(self.workers, self._inboxes, strict=True):
            for name in worker.needs & first.keys():
                inbox.put((0, name, first[name]))
            work = (worker, inbox, self._inboxes, self._answers)
            threading.Thread(target=_work, args=work, daemon=True, name="everyframe stage").start()

    def reset(self) -> None:
        self._stop()
        self._begin()

    def submit(self, frames: Frames) -> None:
        for name, array in _given(self.session.manifest, frames).items():
            array = array.copy()  # the caller may fill its array again
            for worker, inbox in zip(self.workers, self._inboxes, strict=True):
                if name in worker.needs:
                    inbox.put((self._step, name, array))
        self._step += 1
        self.under_way += 1

    def result(self) -> np.ndarray:
        """Logits of the oldest step under way; `others` are of the same. Raises what went wrong in a worker, and again until
        `reset`.
        """
        while not all(self._early.values()):  # stages give what they know, one of them ahead of another
            answer = self._answers.get()
            if isinstance(answer, BaseException):
                self._stop()
                self._answers.put(answer)
                raise answer
            self._early[answer[0]].append(answer[1])
        self.under_way -= 1
        found = {name: waiting.popleft() for name, waiting in self._early.items()}
        logits = found.pop(self.session.manifest.logits.name)
        self.others = found
        return logits

    def step(self, frames: Frames) -> np.ndarray:
        self.submit(frames)
        return self.result()


def _workers(session: PipelineSession) -> list[_Worker]:
    groups: list[list[_Runner]] = [[]]
    for runner in session.parts:
        groups[-1].append(runner)
        if runner.part.place == "stage":
            groups.append([])
    if len(groups) > 1:
        tail = groups.pop()
        groups[-1] += tail  # what the host does behind the last stage
    made = [{name for runner in group for name in runner.outputs} for group in groups]
    reads = [frozenset(name for runner in group for name in runner.inputs) - own for group, own in zip(groups, made, strict=True)]
    states = session.manifest.metadata.states
    answers = [port.name for port in (session.manifest.logits, *session.manifest.others)]
    workers: list[_Worker] = []
    for group, own in zip(groups, made, strict=True):
        serves: dict[str, list[tuple[int, str, int]]] = {}
        for name in own:
            serves[name] = [(k, name, 0) for k, needs in enumerate(reads) if name in needs]
        for spec in states:
            if spec.output in own:
                serves[spec.output] += [(k, spec.input, 1) for k, needs in enumerate(reads) if spec.input in needs]
        for name in answers:
            if name in own:
                serves[name] = [*serves[name], (-1, name, 0)]
        workers.append(_Worker(group, reads[len(workers)], serves))
    return workers


def _work(worker: _Worker, inbox: Any, inboxes: list[Any], answers: Any) -> None:
    """A worker's thread: collects what a step needs, runs, sends on. None ends it."""
    waiting: dict[int, Values] = {}
    step = 0
    try:
        while True:
            while worker.needs - waiting.setdefault(step, {}).keys():
                message = inbox.get()
                if message is None:
                    return
                number, name, value = message
                waiting.setdefault(number, {})[name] = value
            values = waiting.pop(step)
            for runner in worker.runners:
                values |= runner.run(values)
            for name, readers in worker.serves.items():
                for reader, as_name, later in readers:
                    if reader < 0:
                        answers.put((name, values[name]))
                    else:
                        inboxes[reader].put((step + later, as_name, values[name]))
            step += 1
    except BaseException as error:
        answers.put(error)


def _send_all(inboxes: list[Any]) -> None:
    for inbox in inboxes:
        inbox.put(None)
