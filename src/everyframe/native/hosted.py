"""A WebAssembly module in node, where there is one: what it says is compared with the model like any library."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from math import prod
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from everyframe.errors import EngineError
from everyframe.native.emit import C_FILES

_RELAXED = "--experimental-wasm-relaxed-simd"


@cache
def node() -> list[str] | None:
    """The words that run a script, with relaxed SIMD where this node must be asked for it; None: there is no node."""
    found = shutil.which("node")
    if found is None:
        return None
    try:
        asked = subprocess.run([found, _RELAXED, "-e", "0"], capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return [found, _RELAXED] if asked.returncode == 0 else [found]


class Hosted:
    """A module by its file and its weights, None where they are inside. facts: of the source that it was made from."""

    def __init__(self, words: list[str], module: Path, weights: Path | None, facts: dict[str, Any]) -> None:
        self.words = [*words, str(C_FILES / "hosted.mjs"), str(module), *([str(weights)] if weights else [])]
        self.answers = [(name, tuple(shape)) for name, shape in facts["answers"]]
        frame = (facts["channels"], facts["height"], facts["width"])
        shape = (1, frame[0], facts["frames"], *frame[1:]) if facts["clip"] else (facts["frames"], *frame)
        self.inputs = [(name, tuple(size)) for name, size in facts.get("inputs", [["frames", shape]])]
        self._known = [*words, "-e", "process.exit(+!WebAssembly.validate(fs.readFileSync(process.argv[1])))", str(module)]

    def known(self) -> bool:
        """Whether this node has the module's instructions, and what it is given is frames alone."""
        return len(self.inputs) == 1 and subprocess.run(self._known, capture_output=True, check=False).returncode == 0

    def start(self, threads: int = 1) -> _Running:
        return _Running(self)


class _Running:
    def __init__(self, hosted: Hosted) -> None:
        self._hosted, self.others = hosted, dict[str, np.ndarray]()
        self._node = subprocess.Popen(hosted.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._given, self._said = cast(IO[bytes], self._node.stdin), cast(IO[bytes], self._node.stdout)

    def step(self, frames: np.ndarray | Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 of the inputs' shapes -> logits. Raises EngineError where node ends."""
        given = [frames[name] for name, _ in self._hosted.inputs] if isinstance(frames, Mapping) else [frames]
        sizes = [prod(shape) for _, shape in self._hosted.answers]
        with suppress(BrokenPipeError):
            self._given.write(b"".join(np.ascontiguousarray(array, np.float32).tobytes() for array in given))
            self._given.flush()
        said = self._said.read(4 * sum(sizes))
        if len(said) < 4 * sum(sizes):
            _, wrong = self._node.communicate()
            words = wrong.decode(errors="replace").strip().splitlines()
            raise EngineError("The module does not run in node.", got=words[-1] if words else "it ended", hint="update node")
        parts = np.split(np.frombuffer(said, np.float32), np.cumsum(sizes)[:-1])
        (_, logits), *others = [
            (name, part.reshape(shape)) for (name, shape), part in zip(self._hosted.answers, parts, strict=True)
        ]
        self.others = dict(others)
        return logits

    def close(self) -> None:
        if self._node.returncode is None:
            self._node.communicate()
