"""A compiled model in this process: the library, and streams on it."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Mapping
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from everyframe.errors import EngineError, StateError
from everyframe.native import artifact
from everyframe.native.target import runs_here

#: threads that streams of earlier versions' libraries can have, which do not say it
_THREADS = 64
_ERRORS = {
    -1: "an argument it cannot take",
    -2: "too little memory",
    -3: "weights that do not belong to this code",
    -4: "no threads from the system",
}


class Library:
    """Code and weights, shared by all streams. Raises ModelError and EngineError for what cannot be loaded."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.facts: dict[str, Any] = artifact.read(path)
        if not runs_here(self.facts["cpu"]):
            raise EngineError(
                "The compiled model is for another processor.", where=path, got=self.facts["cpu"],
                hint="compile it on this machine, or with --cpu generic",
            )  # fmt: skip
        try:
            self.code = _loaded(self.path.resolve())
        except OSError as error:
            raise EngineError("The compiled model cannot be loaded.", where=path, got=str(error)) from None
        size, pointer = ctypes.c_size_t, ctypes.c_void_p
        self.code.ef_init.argtypes = [pointer, size, pointer, size, ctypes.c_int, ctypes.POINTER(pointer)]
        for name in ("ef_step", "ef_reset", "ef_free"):
            getattr(self.code, name).argtypes = [pointer] * (3 if name == "ef_step" else 1)
        self.code.ef_free.restype = None
        f = self.facts
        # libraries of earlier versions give one answer
        self.answers = [(name, tuple(shape)) for name, shape in f.get("answers", [["logits", [1, f["classes"]]]])]
        self.floats = sum(prod(shape) for _, shape in self.answers)
        frame = (f["height"], f["width"])
        shape = (1, f["channels"], f["frames"], *frame) if f["clip"] else (f["frames"], f["channels"], *frame)
        #: what a step takes, one behind the other; libraries of earlier versions take one array
        self.inputs = [(name, tuple(shape)) for name, shape in f.get("inputs", [["frames", shape]])]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.inputs[0][1]

    def start(self, threads: int) -> LibraryStream:
        return LibraryStream(self, threads)


def _loaded(path: Path) -> ctypes.CDLL:
    """The linker knows libraries by their names: one that has taken the place of another gets a name that is new to it."""
    with suppress(OSError):
        if f"{path} (deleted)" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"):
            other = path.with_name(f".{path.stem}.{path.stat().st_ino}{path.suffix}")
            other.unlink(missing_ok=True)
            other.hardlink_to(path)
            try:
                return ctypes.CDLL(str(other))
            finally:
                other.unlink(missing_ok=True)
    return ctypes.CDLL(str(path))


class LibraryStream:
    """One stream: its arena and threads. Not thread-safe."""

    def __init__(self, library: Library, threads: int) -> None:
        self.library = library
        self.others: dict[str, np.ndarray] = {}
        size = library.facts["memory_bytes"]
        try:
            raw = np.empty(size + 64, np.uint8)
        except MemoryError:
            raise EngineError("There is not enough memory for a stream.", where=library.path, expected=f"{size} bytes") from None
        start = -raw.ctypes.data % 64
        memory = raw[start : start + size]
        handle = ctypes.c_void_p()
        count = max(1, min(threads, library.facts.get("threads", _THREADS)))
        code = library.code.ef_init(memory.ctypes.data, size, None, 0, count, ctypes.byref(handle))
        if code:
            raise EngineError("The compiled model cannot start a stream.", where=library.path, got=_ERRORS.get(code, code))
        self._handle = handle
        # the last reference to the memory is the finalizer's, so that the threads end before it is freed
        self._close = weakref.finalize(self, _free, library, handle, memory)

    def step(self, frames: np.ndarray | Mapping[str, np.ndarray]) -> np.ndarray:
        """frames: float32 of the library's input shape, or of each by name -> logits. `others` holds what the network says
        beside, by name.
        """
        wanted = self.library.inputs
        given = [frames[name] for name, _ in wanted] if isinstance(frames, Mapping) else [frames]
        got = [tuple(array.shape) for array in given]
        if got != [shape for _, shape in wanted]:
            raise StateError(
                "The frames do not have the shape this code was made for.",
                expected=", ".join(f"{name} {shape}" for name, shape in wanted) if len(wanted) > 1 else wanted[0][1],
                got=", ".join(map(str, got)),
            )
        frames = given[0] if len(given) == 1 else np.concatenate([np.ravel(array) for array in given])
        frames = np.ascontiguousarray(frames, np.float32)
        said = np.empty(self.library.floats, np.float32)
        code = self.library.code.ef_step(self._handle, frames.ctypes.data, said.ctypes.data)
        if code:
            raise EngineError("The compiled model failed.", where=self.library.path, got=_ERRORS.get(code, code))
        parts = np.split(said, np.cumsum([prod(shape) for _, shape in self.library.answers])[:-1])
        (_, logits), *others = [
            (name, part.reshape(shape)) for (name, shape), part in zip(self.library.answers, parts, strict=True)
        ]
        self.others = dict(others)
        return logits

    def reset(self) -> None:
        self.library.code.ef_reset(self._handle)

    def close(self) -> None:
        self._close()


def _free(library: Library, handle: ctypes.c_void_p, memory: np.ndarray) -> None:
    library.code.ef_free(handle)
