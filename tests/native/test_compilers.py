"""How a compiler is run: what is said when it fails, and that an interruption leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from everyframe.errors import EngineError
from everyframe.native.compilers import run


def test_what_it_says_is_told(tmp_path: Path) -> None:
    run(["sh", "-c", "pwd > here; echo a warning >&2"], tmp_path)
    assert (tmp_path / "here").read_text() == f"{tmp_path}\n"
    with pytest.raises(EngineError, match=r"compiler failed(.|\n)*one; two; three\n"):
        run(["sh", "-c", "printf 'one\\ntwo\\nthree\\nfour\\n' >&2; exit 3"], tmp_path)


def test_one_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-compiler"):
        run(["no-such-compiler"], tmp_path)


def test_an_interruption_while_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is there, and who started it does not have it yet."""
    made: list[subprocess.Popen[str]] = []
    heard = threading.Event()

    class Interrupted(subprocess.Popen):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            made.append(self)
            os.kill(os.getpid(), signal.SIGINT)
            heard.wait()

    def interrupted(*_: object) -> None:
        heard.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    before = signal.signal(signal.SIGINT, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(["sh", "-c", "while :; do sleep 1; done"], tmp_path)
        assert [process.returncode for process in made] == [-signal.SIGKILL]
    finally:
        signal.signal(signal.SIGINT, before)
        for process in made:
            with process:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
