"""Where the command begins: Ctrl-C is heard before what takes time to load, which would answer it with a traceback."""

from __future__ import annotations

import os
import signal
import sys


def run(argv: list[str] | None = None) -> None:
    """The command line (`main.run`). Nothing has begun while it is loaded, so that Ctrl-C may end it on the spot."""
    ours = False
    try:
        if ours := signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            signal.signal(signal.SIGINT, lambda *_: os._exit(130))
        from everyframe.cli import main

        main.register()
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        main.run(argv)
    except KeyboardInterrupt:
        sys.exit(130)
