"""What makes a model faster while it already runs: a process of its own compiles it, compares the engines, and measures choices.

    parent: auto.load     -> `begin`: the process is started, unless another is at it, and its results are waited for
    process: `preparing`  -> the library, the verdict, rows of measured choices, in the cache
    parent: `_Waiting`    -> `Handover.offer`, whenever there is something better

The process works at the lowest priority, with one thread, in a session of its own. It outlives whoever started it, or short runs
would never gain anything, but for LIFE_S at most; what it had not ended is begun again by the next run, TRIES times a day.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import onnx

from everyframe.errors import EveryframeError
from everyframe.modelfile import saturation
from everyframe.native.locks import held
from everyframe.runtime.engine import Job, Loaded
from everyframe.runtime.handover import APART, QUANTIZED_APART, Handover

#: seconds of measuring choices for convolutions, 0 for none, or `off`: nothing is done in the background
SETTING = "EVERYFRAME_BACKGROUND"
MEASURED_S, MOST_S = 20.0, 600.0
#: what Linux knows of batteries and chargers
POWER = Path("/sys/class/power_supply")
LIFE_S = 1800.0
TRIES, AGAIN_S = 3, 86_400.0
LOOK_S = 1.0
_START = "import sys; sys.path[:] = sys.argv[5:]; from everyframe.runtime.preparing import main; main(*sys.argv[1:5])"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def seconds() -> float | None:
    """For measuring, which waits for the mains unless it is asked for; None: nothing is to be done in the background."""
    said = os.environ.get(SETTING, "").strip().lower()
    if said in ("off", "no", "never"):
        return None
    with suppress(ValueError):
        if math.isfinite(asked := float(said)):
            return min(max(asked, 0.0), MOST_S)
    return 0.0 if on_battery() else MEASURED_S


def on_battery() -> bool:
    """Does the machine live on what its battery holds? Batteries of mice and of other devices are none of its own."""
    return any(
        (_told(supply, "type"), _told(supply, "status")) == ("Battery", "Discharging") and _told(supply, "scope") != "Device"
        for supply in POWER.glob("*")
    )


def _told(supply: Path, what: str) -> str:
    try:
        return (supply / what).read_text().strip()
    except OSError:
        return ""


Stamp: TypeAlias = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class Files:
    """Of one model in the cache: its library, what a race found (see `auto`), and beside it how often that was tried in vain; who
    prepares it holds the lock."""

    library: Path
    verdict: Path

    @property
    def tries(self) -> Path:
        return self.verdict.with_suffix(".tries")

    @property
    def lock(self) -> Path:
        return self.library.with_suffix(".prepared.lock")

    def stamp(self) -> Stamp:
        """Changes with what is there: of verdict and library."""
        found: list[tuple[int, int] | None] = []
        for path in (self.verdict, self.library):
            try:
                at = path.stat()
                found.append((at.st_ino, at.st_size))
            except OSError:
                found.append(None)
        return tuple(found)


def tried(files: Files) -> tuple[int, str]:
    """How often today, and why it was in vain."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        if time.time() - files.tries.stat().st_mtime < AGAIN_S:
            told = json.loads(files.tries.read_text())
            return int(told["tries"]), str(told["why"])
    return 0, ""


def tell(files: Files, tries: int, why: str) -> None:
    files.tries.write_text(json.dumps({"tries": tries, "why": why}))


#: (files, job without its model, what runs, is its library still that?) -> what is better
Better = Callable[[Files, Job, Loaded, bool], Loaded | None]


def begin(job: Job, first: Loaded, files: Files, better: Better) -> Loaded | None:
    """What runs now, and goes on with what `better` finds when that is there. None where nothing can be prepared: a
    cache that cannot be written, no program to be started."""
    before = files.stamp()
    try:
        files.library.parent.mkdir(parents=True, exist_ok=True)
        with held(files.lock) as lock:
            process = None
            if lock is not None:
                tell(files, tried(files)[0] + 1, "")
                words = (str(Path(job.where).absolute()), str(files.library), str(files.verdict), str(lock))
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _START, *words, *sys.path],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                    pass_fds=(lock,), env={**os.environ, **_ONE_THREAD},
                )  # fmt: skip
    except OSError:
        with suppress(OSError):
            files.lock.unlink(missing_ok=True)
        return None
    apart = QUANTIZED_APART if saturation.quantized(job.model) else APART
    made = Handover(first, job.steps, apart)
    _Waiting(made, replace(job, model=onnx.ModelProto()), files, better, before, process).start()
    return replace(first, session=made)


class _Waiting(threading.Thread):
    """Looks for results while somebody has use for them. A daemon, since it has nothing to lose; it stays until its process has
    ended, so that no dead one is left."""

    def __init__(
        self, made: Handover, job: Job, files: Files, better: Better, before: Stamp, process: subprocess.Popen[bytes] | None
    ) -> None:
        super().__init__(name="everyframe background", daemon=True)
        self.made, self.job, self.files, self.better, self.process = weakref.ref(made), job, files, better, process
        self.seen = self.running = before
        self._loading, self._leaving = threading.Lock(), False

    def run(self) -> None:
        over = False
        atexit.register(self._leave)
        while not (over or self._leaving) and self.made() is not None:
            over = self._over()
            if (now := self.files.stamp()) != self.seen and now[0] is not None:  # a verdict, with or without generated code
                self.seen = now
                self._offer(now)
            elif not over:
                time.sleep(LOOK_S)
        atexit.unregister(self._leave)
        if self.process is not None:
            self.process.wait()

    def _leave(self) -> None:
        """The interpreter ends, but not in the middle of loading an engine: their C++ would not survive that."""
        self._leaving = True
        with self._loading:
            pass

    def _over(self) -> bool:
        """Is nobody at it any more?"""
        if self.process is not None:
            return self.process.poll() is not None
        if not self.files.lock.exists():
            return True
        try:
            with held(self.files.lock) as lock:
                return lock is not None
        except OSError:
            return True

    def _offer(self, stamp: Stamp) -> None:
        made = self.made()
        with self._loading, suppress(EveryframeError, OSError, MemoryError):
            if made is None or self._leaving:
                return
            better = self.better(self.files, self.job, made.now, stamp[1] == self.running[1])
            if better is not None:
                made.offer(better)
                self.running = stamp
