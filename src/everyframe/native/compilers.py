"""Which compiler makes code for a processor, and how it is run."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from everyframe.errors import EngineError, pip_install
from everyframe.files import cache_folder
from everyframe.native.target import WASM, Target, machine
from everyframe.processes import kill

#: how often the main thread looks for signals: one that comes just before it waits does not end the wait
LOOK_S = 0.2
#: what zig calls a kind of machine that is not Linux's
_SYSTEMS = {WASM: "wasm32-wasi"}
#: flags that zig would take for another processor, whose libc it would build once more
_PAST_ZIG = {
    "-msimd128": ("-Xclang", "-target-feature", "-Xclang", "+simd128"),
    "-mrelaxed-simd": ("-Xclang", "-target-feature", "-Xclang", "+relaxed-simd"),
}


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
        aim = ["-target", _SYSTEMS.get(target.machine, f"{target.machine}-linux-gnu")] if target.machine else []
        return [sys.executable, "-m", "ziglang", "cc", *aim]
    debian = f"on Debian: apt install {package}; anywhere: " if package else ""
    raise EngineError(
        "There is no C compiler.", where=f"--cpu {target.name}",
        expected=own[0] if own else " or ".join((*known, "the package ziglang")),
        hint=f"install one ({debian}{pip_install('ziglang')}) or name one in $CC, "
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
    flags = [word for flag in flags for word in _PAST_ZIG.get(flag, (flag,))]
    return [*words, *flags, f"-mcpu={target.zig_cpu}", "-fno-sanitize=all"]


def run(words: Sequence[str], folder: Path) -> None:
    """Compiles in `folder`. An interrupted compiler is ended with all that it started. Raises EngineError with its words."""
    compiling = _Compiling(words, folder)
    try:
        compiling.start()
        while not compiling.over.wait(LOOK_S):
            pass
    except BaseException:
        compiling.end()
        raise
    if compiling.wrong is not None:
        raise compiling.wrong
    if compiling.code:
        raise EngineError(
            "The C compiler failed.", where=words[0], got="; ".join(compiling.said.strip().splitlines()[:3]),
            hint="gcc 9 or clang 12 or newer is needed; look at the C with --emit-c",
        )  # fmt: skip


class _Compiling(threading.Thread):
    """A compiler from its start to its end. The main thread handles signals: there, Ctrl-C in the middle of Popen would leave
    a compiler that nobody knows.
    """

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        super().__init__(name="everyframe compiler", daemon=True)
        self.words, self.folder = words, folder
        self.over = threading.Event()
        self.code, self.said = 0, ""
        self.wrong: BaseException | None = None
        self._unwanted = False
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        try:
            if not self._unwanted:
                self._compile()
        except BaseException as error:
            self.wrong = error
        finally:
            self.over.set()

    def _compile(self) -> None:
        # zig keeps what it built of its own libraries: in our cache, not beside it
        environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache_folder("zig")), **os.environ}
        with subprocess.Popen(
            self.words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            process_group=0, env=environment,  # not a session: Linux would share the processor with it as with another user's
        ) as process:  # fmt: skip
            self._process = process
            if self._unwanted:  # since it was started
                self._kill()
            _, self.said = process.communicate()
            self.code = process.returncode

    def end(self) -> None:
        """Kills what runs, and what is just being started, and waits until it is over."""
        self._unwanted = True
        self._kill()
        if self.is_alive():
            self.join()

    def _kill(self) -> None:
        if self._process is not None:
            kill(self._process)
