"""Jobs for worker processes: ones that end their process, one that refuses. Importing them costs a worker nothing."""

from __future__ import annotations

import os
import signal

from everyframe.errors import SourceError


class Deadly:
    """Ends its process at task 3."""

    def __call__(self, task: int) -> int:
        if task == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task


class DeadlyBesideSlow(Deadly):
    """Task 0 goes on until somebody ends it."""

    def __call__(self, task: int) -> int:
        while task == 0:
            signal.pause()
        return super().__call__(task)


class Refusing:
    def __call__(self, task: int) -> int:
        if task == 3:
            raise SourceError("No.", where="here")
        return task
