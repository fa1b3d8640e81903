"""Which compiler makes code for a processor, and how it is run."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from everyframe.errors import EngineError
from everyframe.native.target import Target, machine


def compiler(target: Target) -> list[str]:
    """The words that begin a command: $CC, else the first known compiler that is installed, else that of the `ziglang` package.

    Raises EngineError that says what to install.
    """
    own = shlex.split(os.environ.get("CC", ""))
    known, package = _known(target)
    for words in [own] if own else [[name] for name in known]:
        if found := shutil.which(words[0]):
            return [found, *words[1:]]
    if not own and importlib.util.find_spec("ziglang"):
        aim = ["-target", f"{target.machine}-linux-gnu"] if target.machine else []
        return [sys.executable, "-m", "ziglang", "cc", *aim]
    debian = f"on Debian: apt install {package}; anywhere: " if package else ""
    raise EngineError(
        "There is no C compiler.", where=f"--cpu {target.name}",
        expected=own[0] if own else " or ".join((*known, "the package ziglang")),
        hint=f"install one ({debian}pip install 'everyframe[cross]') or name one in $CC, "
        "or write the C with --emit-c and compile it elsewhere",
    )  # fmt: skip


def _known(target: Target) -> tuple[tuple[str, ...], str]:
    """Compilers, tried in this order, and the Debian package that brings the first."""
    if target.machine in ("", machine()):
        return ("cc", "gcc", "clang"), "gcc"
    if target.cross_gcc:
        return (f"{target.machine}-linux-gnu-gcc",), f"gcc-{target.machine.replace('_', '-')}-linux-gnu"
    return (), ""


def command(target: Target) -> list[str]:
    """The compiler and the flags that choose the processor, in its own words."""
    words = compiler(target)
    if Path(words[0]).stem != "zig" and "ziglang" not in words:
        return [*words, *target.flags]
    flags = [flag for flag in target.flags if not flag.startswith("-march=")]  # zig has names of its own for processors
    return [*words, *flags, f"-mcpu={target.zig_cpu}", "-fno-sanitize=all"]


def run(words: Sequence[str], folder: Path) -> None:
    """Compiles in `folder`. An interrupted compiler is ended with all that it started. Raises EngineError with its words."""
    with subprocess.Popen(
        words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            _, said = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # gcc is a driver: the work is done by its children
            raise
    if process.returncode:
        raise EngineError(
            "The C compiler failed.", where=words[0], got="; ".join(said.strip().splitlines()[:3]),
            hint="gcc 9 or clang 12 or newer is needed; look at the C with --emit-c",
        )  # fmt: skip
