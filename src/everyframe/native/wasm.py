"""C source -> a WebAssembly module without imports, for browsers and node."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from everyframe.files import write_bytes
from everyframe.native.build import write_sources
from everyframe.native.compilers import command, run
from everyframe.native.emit import C_FILES, Source
from everyframe.native.generate import BASE_FLAGS
from everyframe.native.target import Target

#: memory beside the network's own grows with the pictures; its stack holds the pointers of a step
_LINK = ("-mexec-model=reactor", "-Wl,--strip-all", "-Wl,-z,stack-size=262144", "-Wno-unknown-pragmas", "-Wno-pass-failed")


def link_wasm(
    source: Source, target: Target, path: str | os.PathLike[str], *, embed: bool = False, bgr: bool = False,
    extra: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Compiles and writes the module to `path`. embed: weights inside; else the host hands them over before it starts.

    bgr: the order of the network's channels. extra: more flags. Raises EngineError with the compiler's words.
    """
    with tempfile.TemporaryDirectory(prefix="everyframe-") as name:
        folder = Path(name)
        write_sources(source, folder)
        (folder / "wasm.c").write_bytes((C_FILES / "wasm.c").read_bytes())
        # the whole path of the code: zig keeps objects by the names of what they include
        defined = [f'-DMODEL="{folder}/{source.stem}.c"', f"-DEF_BGR={int(bgr)}"]
        defined += [f'-DWASM_EMBED="{folder}/{source.stem}.weights"'] if embed else []
        standard = ["-std=gnu2x", "-Wno-c23-extensions"] if embed else []
        run([*command(target), *BASE_FLAGS, *standard, *extra, *defined, *_LINK, "-o", "model.wasm", "wasm.c", "-lm"], folder)
        return write_bytes((folder / "model.wasm").read_bytes(), path)
