"""The command line as the tests see it: the verbs' parsers, and commands in a process of their own."""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer.main

from everyframe.cli import main


@functools.cache
def parsers() -> dict[str, Any]:
    """Verb -> its parser."""
    main.register()
    group: Any = typer.main.get_command(main.app)
    return dict(group.commands)


def problem(line: str) -> str | None:
    """Why a written command would not even be accepted (unknown verb or option, missing argument), or None.

    The command is parsed, not run. A pipe, a redirection or a comment ends it.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, words = True, []
    for word in lexer:
        if set(word) <= set("|&;<>"):
            break
        words.append(word)
    if words[:1] != ["everyframe"]:
        return "does not start with `everyframe`"
    if len(words) == 1 or words[1] in ("--help", "--version"):
        return None
    parser = parsers().get(words[1])
    if parser is None:
        return f"there is no verb {words[1]!r}"
    if "--help" in words:
        return None
    try:
        parser.make_context(words[1], words[2:])
    except Exception as error:  # the parser's own usage errors; their classes are private to typer
        say = getattr(error, "format_message", None)
        return str(say() if say else f"{type(error).__name__}: {error}")
    return None


def environment(**changes: str) -> dict[str, str]:
    """For commands: this environment's programs first, plain text of a known width."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONOPTIMIZE", "FORCE_COLOR", "PYTHONPATH")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"} | changes


def everyframe(*arguments: str, cwd: Path | None = None, python: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """`everyframe ARGUMENTS` in a new process. python: options of the interpreter, such as -O."""
    code = "from everyframe.cli.main import run; run()"
    command = [sys.executable, *python, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
