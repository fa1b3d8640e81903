"""The end of a decode process: killed, and looked after until it is gone, which on a busy machine may take a while."""

from __future__ import annotations

import contextlib
import subprocess
import threading

#: seconds for which the end of one that was killed is waited for
LAST_S = 2.0
_late: list[subprocess.Popen[bytes]] = []
_lock = threading.Lock()


def end(process: subprocess.Popen[bytes]) -> None:
    """Calling it again does nothing. Those that took too long before are seen to as well, so that none stays a zombie."""
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LAST_S)
    with _lock:
        _late[:] = [each for each in {*_late, process} if each.poll() is None]
