"""C source -> shared library, with the system's compiler; and the cache of what was compiled."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from everyframe.errors import EngineError
from everyframe.native import artifact
from everyframe.native.emit import Source
from everyframe.native.generate import BASE_FLAGS, digest, generate
from everyframe.native.target import Target
from everyframe.program.cache import cache_folder
from everyframe.program.contract import StateSpec, check_writable, write_bytes

_ROOM = Path(__file__).resolve().parent


def compiler(target: Target) -> list[str]:
    """A compiler for the target: $CC, else the first that is installed. Raises EngineError that says what to install."""
    own = shlex.split(os.environ.get("CC", ""))
    candidates = [own] if own else [[name] for name in target.compilers]
    for words in candidates:
        found = shutil.which(words[0])
        if found:
            return [found, *words[1:]]
    names = [words[0] for words in candidates]
    packages = {"aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu", "riscv64-linux-gnu-gcc": "gcc-riscv64-linux-gnu"}
    raise EngineError(
        "There is no C compiler.",
        where=f"--cpu {target.name}",
        expected=" or ".join(names),
        hint=f"install one (on Debian: apt install {packages.get(names[0], 'gcc')}) or name one in $CC, "
        "or write the C with --emit-c and compile it elsewhere",
    )


def files(source: Source) -> dict[str, bytes]:
    """What belongs together: C file, header, weights."""
    stem = source.stem
    return {f"{stem}.c": source.text.encode(), f"{stem}.h": source.header.encode(), f"{stem}.weights": source.weights}


def write_sources(source: Source, folder: str | os.PathLike[str]) -> list[Path]:
    """Writes C file, header and weights into `folder`, which is made if it is not there. Raises OutputError."""
    folder = Path(folder)
    if not folder.exists() and folder.parent.is_dir():
        folder.mkdir()
    return [write_bytes(data, folder / name) for name, data in files(source).items()]


def link(source: Source, target: Target, model: onnx.ModelProto, path: str | os.PathLike[str], extra: Sequence[str] = ()) -> Path:
    """Compiles and writes the library to `path`, weights inside. extra: more flags. Raises EngineError with its words."""
    check_writable(path)
    with tempfile.TemporaryDirectory(prefix="everyframe-") as name:
        folder = Path(name)
        write_sources(source, folder)
        command = [
            *compiler(target), *target.flags, *BASE_FLAGS, *extra, f'-DEF_EMBED="{source.stem}.weights"', "-shared", "-fPIC",
            "-fvisibility=hidden", "-o", "model.so", f"{source.stem}.c", "-lm", "-lpthread",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EngineError(
                "The C compiler failed.", where=command[0], got="; ".join(done.stderr.strip().splitlines()[:3]),
                hint="gcc 9 or clang 12 or newer is needed; look at the C with --emit-c",
            )  # fmt: skip
        return artifact.write(folder / "model.so", source.facts, model, path)


def cached(model: onnx.ModelProto, states: Sequence[StateSpec], target: Target, where: object, say: Any = None) -> Path:
    """The library of a model, compiled on first use. say: called with a line before long work."""
    folder = cache_folder("native")
    key = hashlib.sha256(f"{digest(model)} {target} {_own_digest()}".encode()).hexdigest()[:32]
    path = folder / f"{key}.so"
    if path.exists():
        return path
    if say:
        say(f"compiling {where} for {target.name} (only the first time)")
    compiler(target)  # what is missing is said before the long work
    source, _, fitting = generate(model, states, target, where=where)
    folder.mkdir(parents=True, exist_ok=True)
    return link(source, fitting, model, path)


@cache
def _own_digest() -> str:
    """Changes with every change of the generator, so that no old code is taken from the cache."""
    from everyframe import __version__

    made = hashlib.sha256(__version__.encode())
    for file in sorted([*_ROOM.glob("*.py"), *(_ROOM / "c").iterdir()]):
        made.update(file.read_bytes())
    return made.hexdigest()
