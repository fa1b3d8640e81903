"""What tests start and wait for: processes and threads, over when the test is. Nothing here knows how long something takes: what
hangs is ended by the test runner's limit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

Result = TypeVar("Result")

#: what a process begins with: before it waits for a lock, it leaves a file PID.locks in the folder that is its first argument
TELLS_LOCKS = """
import fcntl, os, pathlib, sys
def told(*how, flock=fcntl.flock):
    pathlib.Path(sys.argv[1], f"{os.getpid()}.locks").touch()
    return flock(*how)
fcntl.flock = told
"""


@contextlib.contextmanager
def started(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own, output in pipes unless options say otherwise. What still runs is killed at the end."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with _hearing_ctrl_c():
        process = subprocess.Popen(command, start_new_session=True, **(pipes | options))
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _hearing_ctrl_c() -> Iterator[None]:
    """A process that is started meanwhile takes Ctrl-C as in a terminal. One of tests that were started with `nohup` or `&` would
    ignore it: what is ignored is inherited, what is handled is not.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def until(ready: Callable[[], object], *needed: subprocess.Popen[str]) -> None:
    """Waits for what cannot be waited for otherwise. Fails if one of the processes that it needs ends before."""
    while not ready():
        for process in needed:
            if process.poll() is not None and not ready():
                pytest.fail(f"a process ended with {process.returncode} before: {process.communicate()}")
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether the process has ended. Its parent may not have looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def at_once(work: Callable[[int], Result], count: int) -> list[Result]:
    """What work(0), work(1), … return in threads that begin together. Raises what one of them raises."""
    begin, found = threading.Barrier(count), dict[int, Result]()
    wrong: list[BaseException] = []

    def one(place: int) -> None:
        begin.wait()
        try:
            found[place] = work(place)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=one, args=(place,), daemon=True) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise wrong[0]
    return [found[place] for place in range(count)]
