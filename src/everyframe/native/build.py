"""C source -> shared library, with the system's compiler."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from everyframe.files import check_writable, results_in, write_together
from everyframe.native import artifact
from everyframe.native.compilers import command, run
from everyframe.native.emit import Source
from everyframe.native.generate import BASE_FLAGS
from everyframe.native.target import Target


def files(source: Source) -> dict[str, bytes]:
    """What belongs together: C file, header, weights."""
    stem = source.stem
    return {f"{stem}.c": source.text.encode(), f"{stem}.h": source.header.encode(), f"{stem}.weights": source.weights}


def write_sources(source: Source, folder: str | os.PathLike[str], more: Mapping[str, bytes] | None = None) -> list[Path]:
    """Writes C file, header and weights into `folder`, which is made if it is not there, and more by name: all or none. Raises
    OutputError."""
    folder = Path(folder)
    with results_in(folder):
        return write_together({folder / name: data for name, data in {**files(source), **(more or {})}.items()})


def link(source: Source, target: Target, model: onnx.ModelProto, path: str | os.PathLike[str], extra: Sequence[str] = ()) -> Path:
    """Compiles and writes the library to `path`, weights inside. extra: more flags. Raises EngineError with its words."""
    check_writable(path)
    with tempfile.TemporaryDirectory(prefix="everyframe-") as name:
        folder = Path(name)
        write_sources(source, folder)
        flags = [*BASE_FLAGS, *extra, f'-DEF_EMBED="{source.stem}.weights"', "-shared", "-fPIC", "-fvisibility=hidden"]
        run([*command(target), *flags, "-o", "model.so", f"{source.stem}.c", "-lm", "-lpthread"], folder)
        return artifact.write(folder / "model.so", source.facts, model, path)
