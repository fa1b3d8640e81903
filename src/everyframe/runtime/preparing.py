"""The process in the background (see `background`): what it does, and how little it may be in the way."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from everyframe.errors import EveryframeError
from everyframe.files import write_bytes
from everyframe.modelfile.file import load, metadata_of
from everyframe.native.improve import improve
from everyframe.native.locks import alone
from everyframe.native.target import target
from everyframe.progress import silent
from everyframe.runtime import auto
from everyframe.runtime.background import LIFE_S, Files, seconds, tell, tried
from everyframe.runtime.program import Program

#: generated code that is so much slower than the fastest engine is not measured further: choices gain a tenth, not a half
NEAR = 1.3
#: after so many seconds a stream that takes the whole processor leaves a tenth of it, where the system shares it between sessions
PATIENCE_S = 120.0


def main(path: str, library: str, verdict: str, lock: str) -> None:
    """lock: its descriptor; whoever holds it prepares this model. One process after the other: of many models that were run in
    turn, the others wait before they take memory."""
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, _leave)
    signal.alarm(int(LIFE_S))
    _step_back()
    os.set_inheritable(int(lock), False)
    files = Files(Path(library), Path(verdict))
    try:
        with alone(files.library.with_name("preparing.lock"), silent):
            if auto.files_of(load(path)) == files:  # else it is another file by now
                prepare(path, files)
    except Exception as error:  # nobody reads what is printed here
        tell(files, tried(files)[0], f"{type(error).__name__}: {error}")
        raise
    finally:
        files.lock.unlink(missing_ok=True)


def _leave(*_: object) -> NoReturn:
    """Compilers and what measures are ended on the way out."""
    sys.exit(1)


def _step_back() -> None:
    """Runs only where nothing else wants to, and is the first to go where memory is short."""
    with suppress(OSError):
        os.nice(19)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # Linux shares the processor between sessions first: in a session of its own, a nice process would get half of it
    for name, value in (("autogroup", "19"), ("oom_score_adj", "1000")):
        _write(name, value)
    patience = threading.Timer(PATIENCE_S, _write, ("autogroup", "10"))
    patience.daemon = True
    patience.start()


def _write(name: str, value: str) -> None:
    with suppress(OSError):
        Path("/proc/self", name).write_text(value)


def prepare(path: str, files: Files) -> None:
    """As the first run would have done it by itself; then choices of how convolutions are computed are measured, if there is time
    for that now. Else a later run begins with them.
    """
    with Program(path, threads=1) as program:
        why = program.engine_reason
    told = auto.read(files.verdict)
    if told is None:
        tell(files, tried(files)[0], why)
        return
    if measured := seconds():
        if told.times.get("native", float("inf")) <= NEAR * min(told.times.values()):
            model = load(path)
            metadata = metadata_of(model, path)
            with suppress(EveryframeError):
                ms = improve(model, metadata.states if metadata else (), target("native"), path, files.library, measured)
                told = auto.Verdict({**told.times, **({"native": ms} if ms is not None else {})})
        write_bytes(json.dumps({**told.to_dict(), "measured_s": measured}).encode(), files.verdict)
    files.tries.unlink(missing_ok=True)
