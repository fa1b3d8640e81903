"""The models that are served, by name. One can be exchanged while it runs: streams go on with the new one at their next frame."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everyframe.errors import EveryframeError, ModelError, UsageError
from everyframe.modelfile.interface import check_pictures
from everyframe.runtime import Program
from everyframe.video.preprocess import resized_size

#: what of a model its clients rely on
INTERFACE = ("labels", "task", "kind", "rate", "hop", "feature_delay", "events")
#: a picture as cameras give them, to try a model with
_SIDE = (480, 640)


@dataclass(frozen=True, slots=True)
class Edition:
    """A program as it was loaded: `generation` counts them, from 1."""

    program: Program
    generation: int
    loaded_at: float  # seconds since 1970


class Served:
    """One model: the edition that new frames go to, and how it is loaded again."""

    def __init__(self, name: str, path: Any, load: Callable[[Any], Program]) -> None:
        self.name, self.path = name, path
        self._load, self._lock = load, threading.Lock()
        self._stamp = self._seen = stamp(path)  # of the file that was loaded, and as it was last seen
        self.edition = Edition(tried(load(path)), 1, time.time())
        self.streams = 0  # that are open
        self.trouble: EveryframeError | None = None  # of the last try to exchange it
        self.exchanged: list[Callable[[Edition, Edition], None]] = []  # told of each, with the one before

    @property
    def program(self) -> Program:
        return self.edition.program

    @property
    def watched(self) -> bool:
        return isinstance(self.path, str) and self.path != "builtin"

    def reload(self) -> tuple[str, ...]:
        """Loads the file again, beside the program that runs, which goes on if that fails. What has changed of INTERFACE."""
        if not self._lock.acquire(blocking=False):
            raise ModelError("The file is being loaded already.", where=self.path, hint="wait until that is done")
        try:
            self._stamp = stamp(self.path)
            try:
                program = tried(self._load(self.path))
            except EveryframeError as error:
                self.trouble = error
                raise
            before, self.trouble = self.edition, None
            self.edition = Edition(program, before.generation + 1, time.time())
            for tell in self.exchanged:
                tell(before, self.edition)
            return tuple(swapped(before, self.edition)["changes"])
        finally:
            self._lock.release()

    def changed(self) -> bool:
        """Whether the file is another one than that which was loaded, and whole: it looks the same as at the last call."""
        now = stamp(self.path)
        settled, self._seen = now == self._seen, now
        return settled and now is not None and now != self._stamp


class Shelf:
    """Models by name, the first of which is meant where none is named. models: paths, whose stems are their names; or by name,
    paths and models in memory.
    """

    def __init__(self, models: Sequence[str] | Mapping[str, Any], load: Callable[[Any], Program]) -> None:
        self.models: dict[str, Served] = {}
        named = models.items() if isinstance(models, Mapping) else [(Path(path).stem, path) for path in models]
        for name, path in named:
            name = re.sub(r"[^\w.-]+", "_", name)
            if name in self.models:
                raise UsageError(
                    "Two models have the same name.", where=path, got=f"{name}, as {self.models[name].path}",
                    hint="a model is called by its file's name without the suffix: rename one of them",
                )  # fmt: skip
            self.models[name] = Served(name, path, load)

    def find(self, name: str | None) -> Served | None:
        return next(iter(self.models.values())) if name is None else self.models.get(name)


def facts(program: Program) -> dict[str, Any]:
    """What a client needs to know of a model."""
    meta = program.metadata
    return {
        "labels": list(program.labels or ()), "task": program.ending.task, "kind": meta.kind, "rate": program.rate,
        "hop": meta.hop, "feature_delay": meta.feature_delay, "events": meta.events.model_dump() if meta.events else None,
    }  # fmt: skip


def swapped(before: Edition, now: Edition) -> dict[str, Any]:
    """What clients are told. changes: what of INTERFACE is no longer as it was."""
    old, new = facts(before.program), facts(now.program)
    changes = [key for key in INTERFACE if old[key] != new[key]]
    return {"type": "swapped", "generation": now.generation, "changes": changes, "model": new}


def tried(program: Program) -> Program:
    """The program, which has answered once: what it needs is compiled and in memory. Raises ModelError for one of no pictures."""
    check_pictures(program.interface, program.path)
    height, width = _SIDE
    crop = program.metadata.preprocess.crop or program.size or (1, 1)
    while any(a < b for a, b in zip(resized_size(height, width, program.metadata.preprocess.resize), crop, strict=True)):
        height, width = 2 * height, 2 * width
    if program.metadata.preprocess.resize is None and program.metadata.preprocess.crop is None and program.size:
        height, width = program.size
    gray = np.full((height, width, 3), 128, np.uint8)
    with program.stream() as stream:
        for _ in range(stream.hop if program.metadata.kind == "step" else program.metadata.frames):
            stream.push(gray, None)
    return program


def stamp(path: Any) -> tuple[Any, ...] | None:
    """What changes when a file, or one in a folder, is written again; None where it is not there, or no file."""
    if not isinstance(path, str):
        return None
    try:
        files = sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]
        return tuple((str(file), found.st_mtime_ns, found.st_size, found.st_ino) for file in files if (found := file.stat()))
    except OSError:
        return None
