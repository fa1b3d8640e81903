"""The end of a decode process: killed, and waited for until it is gone, which on a busy machine or in a driver takes a while."""

from __future__ import annotations

import contextlib
import subprocess
import threading

#: seconds for which whoever ends it waits; then a thread does, so that none stays behind as a zombie
LAST_S = 2.0


def end(process: subprocess.Popen[bytes]) -> None:
    """Calling it again does nothing."""
    process.kill()
    try:
        process.wait(LAST_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(RuntimeError):  # at the end of everything no thread begins
            threading.Thread(target=process.wait, name="end of a decode process", daemon=True).start()
