"""Completion in shells: what is typed so far in, what may follow out; and how it is set up, in a home of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from command_line import environment
from everyframe.cli.main import VERBS

RUN = "from everyframe.cli.main import run; run()"


def ask(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, with changes of the environment."""
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**changes), check=False)


def complete(line: str) -> list[str]:
    """What bash is offered after `line`."""
    words = line.split(" ")
    done = ask(_EVERYFRAME_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("everyframe ", set(VERBS)),
        ("everyframe pr", {"predict", "prune"}),
        ("everyframe predict --eng", {"--engine"}),
        ("everyframe nons", set()),
    ],
)
def test_offers_what_may_follow(line: str, offered: set[str]) -> None:
    assert set(complete(line)) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_is_set_up_for_the_shell(shell: str, tmp_path: Path) -> None:
    """The script that a shell reads calls the program by its name, also where Python was started instead."""
    done = ask(
        "--install-completion",
        shell,
        HOME=str(tmp_path),
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    assert done.returncode == 0, done.stderr
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_EVERYFRAME_COMPLETE=complete_" in text for text in texts), texts
