"""Programs that are ended together with what they started. Each was started as the head of a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Any


def kill(process: subprocess.Popen[Any]) -> None:
    """Kills the program and all of its group (a compiler's driver leaves the work to children); not what is over already."""
    if os.name != "posix":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):  # over, or another user's by now
        os.killpg(process.pid, signal.SIGKILL)
