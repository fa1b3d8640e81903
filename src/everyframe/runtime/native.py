"""Generated C: compiled with the system's compiler on first use, or a library that `everyframe compile` made."""

from __future__ import annotations

import os
import sys

import numpy as np

from everyframe.errors import EngineError, ModelError
from everyframe.native import artifact
from everyframe.native.build import cached
from everyframe.native.library import Library, LibraryStream
from everyframe.native.target import target
from everyframe.runtime.engine import Job, cores


def load(job: Job) -> NativeNetwork:
    return NativeNetwork(job)


class NativeNetwork:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.threads = job.threads or cores()
        if artifact.is_library(job.where):
            self.library = Library(job.where)
            return
        try:
            path = cached(job.model, job.states.specs, target("native"), os.path.basename(job.where), _say)  # noqa: PTH119
        except ModelError as error:
            raise EngineError(
                "The native engine cannot load the model.", where=error.where or job.where, expected=error.expected,
                got=" ".join(str(part) for part in (error.what, error.got) if part), hint="choose --engine ort",
            ) from None  # fmt: skip
        self.library = Library(path)

    def start(self) -> NativeRun:
        return NativeRun(self.library.start(self.threads))


class NativeRun:
    def __init__(self, stream: LibraryStream) -> None:
        self.stream = stream

    def step(self, frames: np.ndarray) -> np.ndarray:
        return self.stream.step(frames)

    def reset(self) -> None:
        self.stream.reset()


def _say(line: str) -> None:
    if sys.stderr.isatty():
        print(line, file=sys.stderr)
