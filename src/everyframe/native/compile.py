"""`everyframe compile`: a model file becomes C, and the C a library."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everyframe.errors import ModelError
from everyframe.files import check_writable, write_bytes
from everyframe.modelfile.file import Held, load, metadata_of
from everyframe.native.build import link, write_sources
from everyframe.native.check import check
from everyframe.native.compilers import compiler
from everyframe.native.generate import generate
from everyframe.native.hosted import Hosted, node
from everyframe.native.library import Library
from everyframe.native.target import WASM, Target, runs_here, target
from everyframe.native.wasm import link_wasm


@dataclass(frozen=True)
class Compiled:
    """memory: see `native.memory`. files: what was written. difference: largest relative distance to the reference (see
    `native.check`), None where the code cannot run here. macs: multiply-adds of a step that are really done; weights: their share
    of the model's, zeros left out.
    """

    target: Target
    memory: dict[str, Any]
    files: tuple[Path, ...]
    library: Path | None
    difference: float | None
    macs: int
    weights: float
    memory_bytes: int
    weight_bytes: int


def compile_model(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    cpu: str = "native",
    emit_c: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Compiled:
    """Compiles a step or clip model. output: the library to write; emit_c: a folder for the C file, its header and the weights.

    At least one of both should be given. The library is compared with a reference before it is written, where it can run.
    Raises ModelError, UnsupportedOperator, ConversionMismatch, EngineError, OutputError, UsageError.
    """
    progress = progress or (lambda _: None)
    chosen, given = target(cpu), path
    path = Path("model.onnx") if isinstance(given, Held) else Path(given)
    if output is not None:
        check_writable(output)
        compiler(chosen)
    model = load(given)
    metadata = metadata_of(model, path)
    if metadata is None or metadata.kind == "stage":
        raise ModelError(
            "Only step and clip models with everyframe metadata can be compiled.", where=path,
            expected="a file written by `everyframe export` or `everyframe stream`",
            hint="run `everyframe stream CLIP.onnx` on it",
        )  # fmt: skip
    progress("generating C")
    stem = _stem(path)
    command = f"everyframe compile {shlex.quote(path.name)} --cpu {chosen.name} --emit-c DIR"
    source, _, chosen = generate(model, metadata.states, chosen, where=path.name, stem=stem, command=command)
    difference, library = None, None
    with tempfile.TemporaryDirectory(prefix="everyframe-") as folder:
        if output is not None:
            progress(f"compiling for {chosen.name}")
            made = Path(folder) / "model"
            if chosen.machine == WASM:
                link_wasm(source, chosen, made, embed=True, bgr=metadata.preprocess.color == "bgr")
            else:
                link(source, chosen, model, made)
            words = node() if chosen.machine == WASM else None
            hosted = Hosted(words, made, None, source.facts) if words else None
            if runs_here(chosen.name) or (hosted is not None and hosted.known()):
                progress("comparing with the model over a stream of pictures")
                difference = check(model, metadata, hosted or Library(made))
            library = write_bytes(made.read_bytes(), output)
        written = write_sources(source, emit_c) if emit_c is not None else []
    kept = [(layer.kept, layer.macs / max(layer.kept, 1e-9)) for layer in source.layers]
    share = sum(k * n for k, n in kept) / max(1.0, sum(n for _, n in kept))
    return Compiled(
        chosen, source.facts["memory"], (*([library] if library else []), *written), library, difference, source.macs, share,
        source.facts["memory_bytes"], len(source.weights),
    )  # fmt: skip


def _stem(path: Path) -> str:
    """A name for the C files: letters, digits and underscores of the model's."""
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in path.name.removesuffix(".onnx")).strip("_")
    return name or "model"
