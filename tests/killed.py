"""`python killed.py N VERB …` is `everyframe VERB …` in a process that is killed before it saves its checkpoint N + 1."""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from typing import Any


def main(most: int, arguments: list[str]) -> None:
    from everyframe.cli.main import run
    from everyframe.training import checkpoint

    save, saved = checkpoint.save_checkpoint, count()

    def save_or_end(*state: Any) -> None:
        if next(saved) == most:
            os.kill(os.getpid(), signal.SIGKILL)
        save(*state)

    checkpoint.save_checkpoint = save_or_end
    run(arguments)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
