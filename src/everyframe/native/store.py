"""The cache of compiled models: one library a model, processor and state of the generator, found again or made once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import onnx

from everyframe.errors import EngineError, ModelError, OutputError
from everyframe.files import cache_folder
from everyframe.modelfile.file import metadata_of
from everyframe.modelfile.schema import StateSpec
from everyframe.native import artifact
from everyframe.native.build import link
from everyframe.native.check import check, compared
from everyframe.native.compilers import compiler
from everyframe.native.emit import Source
from everyframe.native.generate import digest, generate
from everyframe.native.library import Library
from everyframe.native.locks import alone, unwritable
from everyframe.native.target import Target
from everyframe.native.tuned import ROUNDINGS, Rounding, Row, Tables

_ROOM = Path(__file__).resolve().parent
#: what is kept, in GB; $EVERYFRAME_CACHE_GB is another limit
LIMIT_GB = 2.0
#: what nobody used for so long is removed in any case: mostly code of versions that are gone
UNUSED_DAYS = 30


def place(model: onnx.ModelProto, target: Target) -> Path:
    """The file that the library has, or would have. A change of the generator is another file: no old code is ever run."""
    key = hashlib.sha256(f"{digest(model)} {target} {_own_digest()}".encode()).hexdigest()[:32]
    return cache_folder("native") / f"{key}.so"


def outdated(path: Path, target: Target) -> bool:
    """Is there a library that would be made otherwise, with what was measured since?"""
    try:
        return not Tables.would_tell(artifact.told(path)["tables"], target)
    except (OSError, ValueError, KeyError):
        return False


def library(
    model: onnx.ModelProto,
    states: Sequence[StateSpec],
    target: Target,
    where: object,
    progress: Callable[[str], None],
    *,
    stale: bool = False,
) -> Library:
    """The model's library, compiled on first use; processes that want the same one at the same time compile it once.

    progress: called with a line before long work. stale: one that would be made otherwise now will do. Raises what compiling
    raises, and OutputError for a cache that cannot be written.
    """
    path = place(model, target)
    if (found := _found(path, target, stale)) is not None:
        return found
    compiler(target)  # what is missing is said before the long work
    with alone(path.with_suffix(".lock"), progress):
        if (found := _found(path, target, stale)) is not None:
            return found
        progress(f"compiling {where} for {target.name} (only the first time)")
        made = made_at(model, states, target, where, path)
    trim(path.parent, keep=path)
    return made


def made_at(
    model: onnx.ModelProto, states: Sequence[StateSpec], target: Target, where: object, path: Path, rows: Sequence[Row] = ()
) -> Library:
    """Compiled; with what rounds more where a comparison with the model shows that it may (as `compile` does). rows: of measured
    choices that are in no table yet."""
    metadata = metadata_of(model, where)
    roundings = ROUNDINGS["auto"] if metadata is not None else (Rounding(),)

    def generated(rounding: Rounding) -> tuple[Source, Target]:
        tables = Tables.found()
        tables.given += rows
        tables.rounding = rounding
        source, _, fitting = generate(model, states, target, where=where, choose=tables)
        source.facts["tables"] = tables.told(target)
        return source, fitting

    def made(rounding: Rounding, source: Source, fitting: Target) -> Library:
        fresh = path.with_suffix(f".{roundings.index(rounding)}.new")  # a library that is loaded stays what it is
        try:
            link(source, fitting, model, fresh)
            if metadata and (source.inexact or source.halved):
                check(model, metadata, Library(fresh))
            fresh.replace(path)
        except OutputError as error:
            raise (unwritable(path, error.got) if error.where == fresh else error) from None
        finally:
            fresh.unlink(missing_ok=True)
        return Library(path)

    return compared(roundings, generated, made)


def _found(path: Path, target: Target, stale: bool = False) -> Library | None:
    """None if it is not there, damaged or outdated."""
    try:
        os.utime(path)  # used now: the last to be removed
        found = Library(path)
    except (OSError, ModelError, EngineError):
        return None
    return found if stale or Tables.would_tell(found.facts["tables"], target) else None


def trim(folder: Path, keep: Path) -> None:
    """Removes what was not used for long, then the least recently used files above the limit. A library that runs may go: the
    system keeps its memory until the process ends.
    """
    try:
        limit = float(os.environ.get("EVERYFRAME_CACHE_GB", "")) * 1e9
    except ValueError:
        limit = LIMIT_GB * 1e9
    files = []
    for file in folder.iterdir():
        with contextlib.suppress(OSError):  # gone meanwhile
            files.append((file.stat().st_mtime, file.stat().st_size, file))
    total, oldest = sum(size for _, size, _ in files), time.time() - UNUSED_DAYS * 86400
    for used, size, file in sorted(files):
        if file.stem.startswith(keep.stem) or file.suffix == ".lock" or not (used < oldest or total > limit):
            continue
        with contextlib.suppress(OSError):
            file.unlink()
        total -= size


@cache
def _own_digest() -> str:
    """Changes with every change of the generator, so that no old code is taken from the cache."""
    from everyframe.version import __version__

    made = hashlib.sha256(__version__.encode())
    for file in sorted([*_ROOM.glob("*.py"), *(_ROOM / "c").iterdir()]):
        made.update(file.read_bytes())
    return made.hexdigest()
