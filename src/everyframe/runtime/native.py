"""Generated C: compiled with the system's compiler on first use, or a library that `everyframe compile` made."""

from __future__ import annotations

import os

import numpy as np

from everyframe.errors import EngineError, ModelError
from everyframe.native import artifact
from everyframe.native.library import Library, LibraryStream
from everyframe.native.store import library
from everyframe.native.target import target
from everyframe.progress import status
from everyframe.runtime.engine import Frames, Job, cores


def load(job: Job) -> NativeSession:
    return NativeSession(job)


class NativeSession:
    def __init__(self, job: Job) -> None:
        self.threads = job.threads or cores()
        if artifact.is_library(job.where):
            self.library = Library(job.where)
            return
        name = os.path.basename(job.where)  # noqa: PTH119
        try:
            with status() as progress:
                self.library = library(job.model, job.states.specs, target("native"), name, progress, stale=not job.wait)
        except ModelError as error:
            raise EngineError(
                "The native engine cannot load the model.", where=error.where or job.where, expected=error.expected,
                got=" ".join(str(part) for part in (error.what, error.got) if part), hint="choose --engine ort",
            ) from None  # fmt: skip

    def start(self) -> NativeRun:
        return NativeRun(self.library.start(self.threads))


class NativeRun:
    def __init__(self, stream: LibraryStream) -> None:
        self.stream = stream

    @property
    def others(self) -> dict[str, np.ndarray]:
        return self.stream.others

    def step(self, frames: Frames) -> np.ndarray:
        return self.stream.step(frames)

    def reset(self) -> None:
        self.stream.reset()
